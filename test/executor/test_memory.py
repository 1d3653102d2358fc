"""Loads and stores, and each check (rules A1 to A5) with its location and program id."""

from __future__ import annotations

import pytest
import torch

from epiq.executor import ExecutionError, Executor, mark_uninitialized, run, uninitialized

# Each program copies 8 elements from x + pid * in_step to y + pid * out_step, masked by i < n.
COPY = """#loc = loc("copy.py":1:0)
tt.func public @copy(%x: !tt.ptr<T> {tt.divisibility = 16 : i32} loc("copy.py":1:10),
                     %y: !tt.ptr<T> {tt.divisibility = 16 : i32} loc("copy.py":1:13),
                     %in_step: i32 loc("copy.py":2:1), %out_step: i32 loc("copy.py":2:2),
                     %n: i32 {tt.divisibility = 2 : i32} loc("copy.py":2:3)) {
  %pid = tt.get_program_id x : i32 loc("copy.py":3:7)
  %r = tt.make_range {end = 8 : i32, start = 0 : i32} : tensor<8xi32> loc("copy.py":4:7)
  %ns = tt.splat %n : i32 -> tensor<8xi32> loc("copy.py":5:7)
  %mask = arith.cmpi slt, %r, %ns : tensor<8xi32> loc("copy.py":5:9)
  %xo = arith.muli %pid, %in_step : i32 loc("copy.py":6:7)
  %xb = tt.addptr %x, %xo : !tt.ptr<T>, i32 loc("copy.py":6:9)
  %xs = tt.splat %xb : !tt.ptr<T> -> tensor<8x!tt.ptr<T>> loc("copy.py":6:11)
  %xp = tt.addptr %xs, %r : tensor<8x!tt.ptr<T>>, tensor<8xi32> loc("copy.py":6:13)
  %v = tt.load %xp, %mask : tensor<8x!tt.ptr<T>> loc("copy.py":7:15)
  %yo = arith.muli %pid, %out_step : i32 loc("copy.py":8:7)
  %yb = tt.addptr %y, %yo : !tt.ptr<T>, i32 loc("copy.py":8:9)
  %ys = tt.splat %yb : !tt.ptr<T> -> tensor<8x!tt.ptr<T>> loc("copy.py":8:11)
  %yp = tt.addptr %ys, %r : tensor<8x!tt.ptr<T>>, tensor<8xi32> loc("copy.py":8:13)
  tt.store %yp, %v, %mask : tensor<8x!tt.ptr<T>> loc("copy.py":9:5)
  tt.return loc("copy.py":10:5)
} loc(#loc)
"""


def copy(element: str = "f32") -> str:
    return COPY.replace("<T>", f"<{element}>")


@pytest.mark.parametrize(
    ("element", "dtype"),
    [
        ("f32", torch.float32),
        ("bf16", torch.bfloat16),
        ("f16", torch.float16),
        ("f8E4M3FN", torch.float8_e4m3fn),
        ("f8E5M2", torch.float8_e5m2),
        ("f8E8M0FNU", torch.float8_e8m0fnu),
        ("i8", torch.uint8),
        ("i64", torch.int64),
        ("f64", torch.float64),
    ],
)
def test_every_dtype_is_copied_bit_for_bit(element: str, dtype: torch.dtype) -> None:
    raw = torch.randint(0, 256, (32 * dtype.itemsize,), generator=torch.Generator().manual_seed(0))
    x = raw.to(torch.uint8).view(dtype)
    y = uninitialized((32,), dtype)
    report = run(copy(element), 4, [x, y, 8, 8, 8])
    assert torch.equal(x.view(torch.uint8), y.view(torch.uint8))
    assert report.bytes_loaded == report.bytes_stored == 32 * dtype.itemsize


def test_masked_lanes_are_neither_read_nor_written() -> None:
    x, y = torch.arange(6.0), torch.full((6,), -1.0)
    run(copy(), 1, [x, y, 0, 0, 6])
    assert y.tolist() == x.tolist()


@pytest.mark.parametrize("batch", [1, 3])
def test_a1_a_load_past_the_end(batch: int) -> None:
    x, y = torch.zeros(20), uninitialized((24,), torch.float32)
    with pytest.raises(ExecutionError) as error:
        Executor(copy()).run(3, [x, y, 8, 8, 8], batch=batch)
    assert error.value.location == "copy.py:7:15" and error.value.program == (2, 0, 0)
    assert str(error.value) == (
        "copy.py:7:15: tt.load: program (2, 0, 0): A1: byte 80 of argument 0 is out of bounds: "
        "the access takes 4 bytes, the argument has 80"
    )


def test_a1_a_store_before_the_start_even_where_other_memory_lies() -> None:
    memory = torch.zeros(64)
    x, y = torch.zeros(8), memory[32:]
    with pytest.raises(ExecutionError, match=r"A1: byte -32 of argument 1 is out of bounds") as error:
        run(copy(), 2, [x, y, 0, -8, 8])
    assert error.value.location == "copy.py:9:5" and error.value.program == (1, 0, 0)


def test_a1_the_holes_of_a_strided_view() -> None:
    view = torch.zeros(4, 16)[:, :6]
    y = torch.zeros(32)
    with pytest.raises(ExecutionError, match=r"A1: byte 24 of argument 0 .* between the view's rows"):
        run(copy(), 2, [view, y, 16, 8, 8])
    run(copy(), 4, [view, y, 16, 8, 6])


def test_a1_holds_without_checks() -> None:
    with pytest.raises(ExecutionError, match=r"A1"):
        run(copy(), 3, [torch.zeros(20), torch.zeros(24), 8, 8, 8], check=False)


def test_a2_a_pointer_that_breaks_its_claimed_divisibility() -> None:
    x, y = torch.zeros(9)[1:], torch.zeros(8)
    with pytest.raises(ExecutionError, match=r"A2: argument 0 is misaligned: tt.divisibility = 16") as error:
        run(copy(), 1, [x, y, 0, 0, 8])
    assert error.value.location == "copy.py:7:15" and error.value.program == (0, 0, 0)
    run(copy(), 1, [x, y, 0, 0, 8], check=False)


def test_a2_an_integer_that_breaks_its_claimed_divisibility() -> None:
    with pytest.raises(
        ExecutionError, match=r"A2: tt.divisibility = 2 is claimed, but the value is 7"
    ) as error:
        run(copy(), 1, [torch.zeros(8), torch.zeros(8), 0, 0, 7])
    assert error.value.location.startswith("copy.py:")


def test_a2_an_element_that_is_not_aligned() -> None:
    text = """tt.func public @kernel(%x: !tt.ptr<i8>, %y: !tt.ptr<i32>) {
  %pid = tt.get_program_id x : i32
  %p = tt.addptr %x, %pid : !tt.ptr<i8>, i32
  %q = tt.bitcast %p : !tt.ptr<i8> -> !tt.ptr<i32>
  %v = tt.load %q : !tt.ptr<i32>
  tt.store %y, %v : !tt.ptr<i32>
  tt.return
}"""
    x, y = torch.zeros(16, dtype=torch.int8), torch.zeros(1, dtype=torch.int32)
    with pytest.raises(
        ExecutionError, match=r"A2: byte 1 of argument 0 is misaligned for an element of 4"
    ) as error:
        run(text, 2, [x, y])
    assert error.value.program == (1, 0, 0)
    assert error.value.location.endswith(":5:8")


def test_a2_a_broken_hint_on_an_op() -> None:
    text = """tt.func public @kernel(%y: !tt.ptr<i32>, %n: i32) {
  %pid = tt.get_program_id x : i32
  %v = arith.muli %pid, %n {tt.divisibility = dense<8> : tensor<1xi32>} : i32
  %p = tt.addptr %y, %pid : !tt.ptr<i32>, i32
  tt.store %p, %v : !tt.ptr<i32>
  tt.return
}"""
    run(text, 4, [torch.zeros(4, dtype=torch.int32), 16])
    with pytest.raises(
        ExecutionError, match=r"A2: tt.divisibility = 8 is claimed, but the value is 12"
    ) as error:
        run(text, 4, [torch.zeros(4, dtype=torch.int32), 12])
    assert error.value.program == (1, 0, 0) and error.value.op == "arith.muli"


def test_a2_a_broken_contiguity_hint() -> None:
    text = """tt.func public @kernel(%y: !tt.ptr<i32>, %m: i32) {
  %r = tt.make_range {end = 8 : i32, start = 0 : i32} : tensor<8xi32>
  %ms = tt.splat %m : i32 -> tensor<8xi32>
  %i = arith.remsi %r, %ms {tt.contiguity = dense<4> : tensor<1xi32>} : tensor<8xi32>
  %ys = tt.splat %y : !tt.ptr<i32> -> tensor<8x!tt.ptr<i32>>
  %p = tt.addptr %ys, %r : tensor<8x!tt.ptr<i32>>, tensor<8xi32>
  tt.store %p, %i : tensor<8x!tt.ptr<i32>>
  tt.return
}"""
    run(text, 1, [torch.zeros(8, dtype=torch.int32), 4])
    with pytest.raises(ExecutionError, match=r"A2: tt.contiguity = 4 is claimed"):
        run(text, 1, [torch.zeros(8, dtype=torch.int32), 3])


def test_a3_a_read_of_memory_that_nothing_wrote() -> None:
    x, y = uninitialized((32,), torch.float32), torch.zeros(32)
    with pytest.raises(
        ExecutionError, match=r"A3: reads byte 0 of argument 0, which nothing has written"
    ) as error:
        run(copy(), 4, [x, y, 8, 8, 8])
    assert error.value.location == "copy.py:7:15" and error.value.program == (0, 0, 0)


def test_a3_what_one_launch_wrote_the_next_may_read() -> None:
    x, y = uninitialized((32,), torch.float32), torch.zeros(32)
    run(copy(), 3, [torch.ones(32), x, 8, 8, 8])
    run(copy(), 3, [x, y, 8, 8, 8])
    with pytest.raises(ExecutionError, match=r"A3: reads byte 96 of argument 0") as error:
        run(copy(), 4, [x, y, 8, 8, 8])
    assert error.value.program == (3, 0, 0)


def test_a3_what_torch_wrote_may_be_read() -> None:
    x, y = uninitialized((8,), torch.float32), torch.zeros(8)
    x.fill_(2.0)
    run(copy(), 1, [x, y, 8, 8, 8])
    assert (y == 2).all()


def test_a3_sees_bytes_of_other_sizes() -> None:
    x = mark_uninitialized(torch.zeros(8, dtype=torch.int32))
    run(copy("i8"), 1, [torch.ones(8, dtype=torch.int8), x, 0, 0, 6])
    y = torch.zeros(8, dtype=torch.int32)
    with pytest.raises(ExecutionError, match=r"A3: reads byte 4 of argument 0"):
        run(copy("i32"), 1, [x, y, 0, 0, 2])


@pytest.mark.parametrize("batch", [1, 4])
def test_a4_two_programs_write_different_values(batch: int) -> None:
    x, y = torch.arange(32.0), uninitialized((32,), torch.float32)
    with pytest.raises(ExecutionError, match=r"A4: writes 0x.* of argument 1, where") as error:
        Executor(copy()).run(4, [x, y, 8, 4, 8], batch=batch)
    assert error.value.location == "copy.py:9:5" and error.value.program in ((0, 0, 0), (1, 0, 0))
    if batch == 1:
        assert str(error.value).endswith(
            "A4: writes 0x41000000 to byte 16 of argument 1, where program (0, 0, 0) wrote 0x40800000"
        )


@pytest.mark.parametrize("batch", [1, 4])
def test_equal_values_may_be_written_twice(batch: int) -> None:
    x, y = torch.full((32,), 3.0), uninitialized((32,), torch.float32)
    Executor(copy()).run(4, [x, y, 8, 4, 8], batch=batch)
    assert (y[:20] == 3.0).all()


@pytest.mark.parametrize("batch", [1, 4])
def test_a4_a_third_value_after_two_equal_ones(batch: int) -> None:
    x, y = torch.full((32,), 3.0), uninitialized((32,), torch.float32)
    x[24:] = 4.0
    with pytest.raises(ExecutionError, match=r"A4"):
        Executor(copy()).run(4, [x, y, 8, 0, 8], batch=batch)


def test_a4_a_store_whose_own_lanes_disagree() -> None:
    text = """tt.func public @kernel(%y: !tt.ptr<i32>) {
  %r = tt.make_range {end = 8 : i32, start = 0 : i32} : tensor<8xi32>
  %ys = tt.splat %y : !tt.ptr<i32> -> tensor<8x!tt.ptr<i32>>
  tt.store %ys, %r : tensor<8x!tt.ptr<i32>>
  tt.return
}"""
    with pytest.raises(ExecutionError, match=r"A4: .* where another lane of the same store wrote"):
        run(text, 1, [torch.zeros(1, dtype=torch.int32)])


def test_a5_a_read_of_what_another_program_wrote() -> None:
    memory = torch.arange(64.0)
    with pytest.raises(ExecutionError, match=r"A5: reads byte 32 .* program \(0, 0, 0\) wrote") as error:
        Executor(copy()).run(2, [memory, memory[8:], 8, 8, 8], batch=1)
    assert error.value.program == (1, 0, 0) and error.value.location == "copy.py:7:15"


def test_in_place_work_of_each_program_on_its_own_rows_is_fine() -> None:
    memory = torch.arange(32.0)
    run(copy(), 4, [memory, memory, 8, 8, 8])
    assert memory.tolist() == list(range(32))


BLOCK_POINTER = """tt.func public @kernel(%x: !tt.ptr<f32>, %y: !tt.ptr<f32>, %m: i64, %n: i64) {
  %c1 = arith.constant 1 : i64
  %c0 = arith.constant 0 : i32
  %c4 = arith.constant 4 : i32
  %a = tt.make_tensor_ptr %x, [%m, %n], [%n, %c1], [%c0, %c0] {order = array<i32: 1, 0>} : <tensor<4x8xf32>>
  %b = tt.advance %a, [%c4, %c0] : <tensor<4x8xf32>>
  %v = tt.load %b {boundaryCheck = array<i32: 0, 1>, padding = 2 : i32} : !tt.ptr<tensor<4x8xf32>>
  %c8 = arith.constant 8 : i64
  %m4 = arith.constant 4 : i64
  %o = tt.make_tensor_ptr %y, [%m4, %c8], [%c8, %c1], [%c0, %c0] {order = array<i32: 1, 0>}
    : <tensor<4x8xf32>>
  tt.store %o, %v : !tt.ptr<tensor<4x8xf32>>
  tt.return
}"""


def test_block_pointers_advance_and_pad() -> None:
    x = torch.randn(6, 7, generator=torch.Generator().manual_seed(0))
    y = uninitialized((4, 8), torch.float32)
    run(BLOCK_POINTER, 1, [x, y, 6, 7])
    assert torch.equal(y[:2, :7], x[4:]) and y[2:].isnan().all() and y[:, 7].isnan().all()


def test_pointers_loaded_from_memory() -> None:
    text = """tt.func public @kernel(%table: !tt.ptr<i64>, %y: !tt.ptr<f32>) {
  %pid = tt.get_program_id x : i32
  %t = tt.addptr %table, %pid : !tt.ptr<i64>, i32
  %a = tt.load %t : !tt.ptr<i64>
  %p = tt.int_to_ptr %a : i64 -> !tt.ptr<f32>
  %v = tt.load %p : !tt.ptr<f32>
  %o = tt.addptr %y, %pid : !tt.ptr<f32>, i32
  tt.store %o, %v : !tt.ptr<f32>
  tt.return
}"""
    tensors = [torch.full((1,), float(i)) for i in range(5)]
    table = torch.tensor([t.data_ptr() for t in tensors])
    y = uninitialized((5,), torch.float32)
    Executor(text).run(5, [table, y], memory=tensors)
    assert y.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    with pytest.raises(ExecutionError, match=r"A1: address 0x.* it is in no argument") as error:
        Executor(text).run(5, [table, y], memory=tensors[:3])
    assert error.value.program == (3, 0, 0)


def test_wrong_arguments_are_named() -> None:
    x, y = torch.zeros(8), torch.zeros(8)
    with pytest.raises(ValueError, match=r"@copy takes 5 arguments, not 2"):
        run(copy(), 1, [x, y])
    with pytest.raises(TypeError, match=r"argument 0 of @copy is a pointer and takes a tensor, not 1.5"):
        run(copy(), 1, [1.5, y, 0, 0, 8])
    with pytest.raises(TypeError, match=r"argument 2 of @copy is an integer i32, not 0.5"):
        run(copy(), 1, [x, y, 0.5, 0, 8])
    with pytest.raises(ValueError, match=r"argument 2 of @copy is 4294967296, which does not fit i32"):
        run(copy(), 1, [x, y, 1 << 32, 0, 8])
    with pytest.raises(ValueError, match=r"grid"):
        run(copy(), (1, 1, 1, 1), [x, y, 0, 0, 8])
    with pytest.raises(ValueError, match=r"argument 0 is on meta"):
        run(copy(), 1, [torch.zeros(8, device="meta"), y, 0, 0, 8])


def test_tensors_without_elements() -> None:
    x, y = torch.zeros(0), torch.zeros(0)
    run(copy(), 1, [x, y, 0, 0, 0])
    with pytest.raises(ExecutionError, match=r"A1"):
        run(copy(), 1, [x, y, 0, 0, 2])
