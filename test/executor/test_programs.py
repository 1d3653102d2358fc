"""Printing, assertions, assumptions, barriers; modules and ops that are refused."""

from __future__ import annotations

import pytest
import torch

from epiq.errors import IRError, UnsupportedError
from epiq.executor import ExecutionError, Executor, run

HEAD = """tt.func public @kernel(%x: !tt.ptr<i32>, %n: i32) {
  %pid = tt.get_program_id x : i32
  %p = tt.addptr %x, %pid : !tt.ptr<i32>, i32
  %v = tt.load %p : !tt.ptr<i32>
  %ok = arith.cmpi slt, %v, %n : i32
"""
TAIL = "\n  tt.return\n}"


def launch(body: str, values: list[int], n: int = 100, check: bool = True) -> tuple[str, ...]:
    x = torch.tensor(values, dtype=torch.int32)
    return run(HEAD + body + TAIL, len(values), [x, n], check=check).printed


def test_print_goes_to_the_report() -> None:
    body = 'tt.print " v: " {hex = false, isSigned = array<i32: 1>} : %v : i32'
    assert launch(body, [7, -1]) == ("pid (0, 0, 0) v: 7", "pid (1, 0, 0) v: -1")


def test_print_of_tensors_in_hexadecimal() -> None:
    body = """%r = tt.make_range {end = 2 : i32, start = 0 : i32} : tensor<2xi32>
  %s = tt.splat %v : i32 -> tensor<2xi32>
  %t = arith.subi %r, %s : tensor<2xi32>
  tt.print ": " {hex = true, isSigned = array<i32: 1>} : %t : tensor<2xi32>"""
    assert launch(body, [1]) == ("pid (0, 0, 0): [0xffffffff, 0x00000000]",)


def test_an_assertion_that_fails_names_its_program() -> None:
    body = 'tt.assert %ok, "v is too large" : i1'
    launch(body, [1, 2, 3], n=4)
    with pytest.raises(ExecutionError, match=r"assertion failed: v is too large") as error:
        launch(body, [1, 2, 9], n=4, check=False)
    assert error.value.program == (2, 0, 0) and error.value.op == "tt.assert"


def test_a_false_assumption_is_an_error() -> None:
    body = "llvm.intr.assume %ok : i1"
    launch(body, [1, 2, 3], n=4)
    with pytest.raises(ExecutionError, match=r"the assumption is false") as error:
        launch(body, [1, 9, 9], n=4)
    assert error.value.program == (1, 0, 0) and error.value.location.endswith(":6:1")
    launch(body, [1, 9, 9], n=4, check=False)


@pytest.mark.parametrize("op", ["gpu.barrier"])
def test_barriers_do_nothing(op: str) -> None:
    launch(op, [1])


def test_an_op_that_cannot_run_is_named_with_its_line() -> None:
    with pytest.raises(UnsupportedError, match=r":7:\d+: foo.bar: the executor cannot run this op"):
        launch('\n  "foo.bar"(%v) : (i32) -> ()', [1])


def test_a_type_that_cannot_be_held_is_named_with_its_line() -> None:
    with pytest.raises(
        UnsupportedError, match=r":6:\d+: arith.extsi: the executor has no values of type i128"
    ):
        launch("%w = arith.extsi %v : i32 to i128", [1])


def test_text_that_is_no_ir() -> None:
    with pytest.raises(IRError, match=r"k.ttir:1:\d+"):
        Executor("tt.func public @k(", filename="k.ttir")


def test_locations_of_a_text_without_any_name_the_file() -> None:
    executor = Executor(HEAD + 'tt.assert %ok, "no" : i1' + TAIL, filename="k.ttir")
    with pytest.raises(ExecutionError) as error:
        executor.run(1, [torch.tensor([5], dtype=torch.int32), 1])
    assert error.value.location == "k.ttir:6:1"


def test_the_entry_must_be_single_or_named() -> None:
    two = "tt.func public @a() { tt.return }\ntt.func public @b() { tt.return }"
    with pytest.raises(ValueError, match=r"the module has 2 public functions, name one of \['a', 'b'\]"):
        run(two, 1, [])
    assert run(two, 3, [], entry="b").programs == 3
    with pytest.raises(ValueError, match=r"the module has no function @c"):
        run(two, 1, [], entry="c")


def test_a_function_that_calls_itself_is_refused() -> None:
    text = """tt.func public @k() { tt.call @f() : () -> () tt.return }
tt.func private @f() { tt.call @f() : () -> () tt.return }"""
    with pytest.raises(UnsupportedError, match=r"@f calls itself"):
        run(text, 1, [])


def test_an_executor_runs_from_several_threads() -> None:
    from concurrent.futures import ThreadPoolExecutor

    threads = torch.get_num_threads()
    text = """tt.func public @k(%y: !tt.ptr<i32>, %n: i32) {
  %pid = tt.get_program_id x : i32
  %v = arith.muli %pid, %n : i32
  %p = tt.addptr %y, %pid : !tt.ptr<i32>, i32
  tt.store %p, %v : !tt.ptr<i32>
  tt.return
}"""
    executor = Executor(text)

    def work(n: int) -> list[int]:
        y = torch.zeros(50, dtype=torch.int32)
        executor.run(50, [y, n])
        return y.tolist()

    with ThreadPoolExecutor(4) as pool:
        for n, found in enumerate(pool.map(work, range(40))):
            assert found == [n * i for i in range(50)]
    assert torch.get_num_threads() == threads
