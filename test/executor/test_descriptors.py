"""Tensor descriptors made by the kernel and by the host: bounds, padding, alignment, rows."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from epiq.executor import ExecutionError, run, uninitialized


@dataclass
class HostDescriptor:
    """What Triton's TensorDescriptor is to the executor."""

    base: torch.Tensor
    shape: list[int]
    strides: list[int]
    block_shape: list[int]
    padding: str = "zero"


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def made_in_kernel(body: str, element: str = "f32", block: str = "4x8") -> str:
    return f"""tt.func public @kernel(%x: !tt.ptr<{element}>, %y: !tt.ptr<{element}>,
                       %m: i32, %n: i32, %stride: i64, %i: i32, %j: i32) {{
  %one = arith.constant 1 : i64
  %c0 = arith.constant 0 : i32
  %d = tt.make_tensor_descriptor %x, [%m, %n], [%stride, %one] : <{element}>, <tensor<{block}x{element}>>
  %o = tt.make_tensor_descriptor %y, [%m, %n], [%stride, %one] : <{element}>, <tensor<{block}x{element}>>
  {body}
  tt.return
}}"""


COPY = """%v = tt.descriptor_load %d[%i, %j] : !tt.tensordesc<tensor<4x8xf32>> -> tensor<4x8xf32>
  tt.descriptor_store %o[%c0, %c0], %v : !tt.tensordesc<tensor<4x8xf32>>, tensor<4x8xf32>"""


def test_a_block_over_the_edge_is_filled_with_zeros_and_cut() -> None:
    x = torch.randn(6, 12, generator=torch.Generator().manual_seed(0))
    y = uninitialized((6, 12), torch.float32)
    run(made_in_kernel(COPY), 1, [x, y, 6, 12, 12, 3, 8])
    assert torch.equal(y[:3, :4], x[3:, 8:])
    assert (y[3, :8] == 0).all() and (y[:4, 4:8] == 0).all()
    assert y[4:].isnan().all() and y[:, 8:].isnan().all()


def test_negative_indices_are_outside() -> None:
    x, y = torch.ones(6, 12), uninitialized((6, 12), torch.float32)
    run(made_in_kernel(COPY), 1, [x, y, 6, 12, 12, -2, -3])
    assert (y[:2, :8] == 0).all() and (y[2:4, 3:8] == 1).all() and (y[2:4, :3] == 0).all()


def test_a_descriptor_that_claims_more_than_its_memory() -> None:
    with pytest.raises(ExecutionError, match=r"A1: byte 288 of argument 0 is out of bounds") as error:
        run(made_in_kernel(COPY), 1, [torch.ones(6, 12), torch.ones(8, 12), 8, 12, 12, 4, 0])
    assert error.value.op == "tt.descriptor_load"


def test_a_misaligned_stride_or_base() -> None:
    with pytest.raises(ExecutionError, match=r"A2: the descriptor's stride is misaligned: 8 modulo 16"):
        run(made_in_kernel(COPY), 1, [torch.ones(6, 10), torch.ones(6, 10), 6, 10, 10, 0, 0])
    with pytest.raises(ExecutionError, match=r"A2: the descriptor's base is misaligned: 4 modulo 16"):
        run(made_in_kernel(COPY), 1, [torch.ones(80)[1:], torch.ones(6, 12), 6, 12, 12, 0, 0])


HOST = """tt.func public @kernel(%d: !tt.tensordesc<tensor<4x8xf32>>, %m: i32, %n: i32, %s0: i64, %s1: i64,
                       %o: !tt.tensordesc<tensor<4x8xf32>>, %om: i32, %on: i32, %os0: i64, %os1: i64,
                       %check: !tt.ptr<i32>) {
  %c4 = arith.constant 4 : i32
  %c0 = arith.constant 0 : i32
  %pid = tt.get_program_id x : i32
  %i = arith.muli %pid, %c4 : i32
  %v = tt.descriptor_load %d[%i, %c0] : !tt.tensordesc<tensor<4x8xf32>> -> tensor<4x8xf32>
  tt.descriptor_store %o[%i, %c0], %v : !tt.tensordesc<tensor<4x8xf32>>, tensor<4x8xf32>
  %p = tt.addptr %check, %pid : !tt.ptr<i32>, i32
  %mn = arith.muli %m, %n : i32
  tt.store %p, %mn : !tt.ptr<i32>
  tt.return
}"""


@pytest.mark.parametrize("padding", ["zero", "nan"])
def test_host_descriptors_bring_their_shapes_and_strides(padding: str) -> None:
    x, y = (
        torch.randn(10, 8, generator=torch.Generator().manual_seed(0)),
        uninitialized((12, 8), torch.float32),
    )
    source = HostDescriptor(x, [10, 8], [8, 1], [4, 8], padding)
    target = HostDescriptor(y, [12, 8], [8, 1], [4, 8])
    check = torch.zeros(3, dtype=torch.int32)
    run(HOST, 3, [source, target, check])
    assert torch.equal(y[:10], x) and check.tolist() == [80] * 3
    assert y[10:].isnan().all() if padding == "nan" else (y[10:] == 0).all()


def test_a_host_descriptor_of_another_block_is_refused() -> None:
    x = torch.zeros(12, 8)
    wrong = HostDescriptor(x, [12, 8], [8, 1], [8, 8])
    with pytest.raises(ValueError, match=r"argument 0: block shape \(8, 8\) is not the kernel's \(4, 8\)"):
        run(HOST, 3, [wrong, wrong, torch.zeros(3, dtype=torch.int32)])
    with pytest.raises(TypeError, match=r"argument 0 is a descriptor and takes an object with base, shape"):
        run(HOST, 3, [x, 12, 8, 8, 1, x, 12, 8, 8, 1, torch.zeros(3, dtype=torch.int32)])


def test_gather_and_scatter_of_rows() -> None:
    """Rows outside the tensor read as zeros and are not written."""
    body = """%rows = arith.constant dense<[5, 0, 9, 3, -1, 1, 2, 4]> : tensor<8xi32>
  %to = arith.constant dense<[1, 2, 3, 4, 5, 6, 7, 8]> : tensor<8xi32>
  %v = tt.descriptor_gather %d[%rows, %j]
    : (!tt.tensordesc<tensor<1x8xf32>>, tensor<8xi32>, i32) -> tensor<8x8xf32>
  tt.descriptor_scatter %o[%to, %c0], %v
    : !tt.tensordesc<tensor<1x8xf32>>, tensor<8xi32>, i32, tensor<8x8xf32>"""
    x, y = normal(6, 12), uninitialized((6, 12), torch.float32)
    run(made_in_kernel(body, block="1x8"), 1, [x, y, 6, 12, 12, 0, 4])
    expected = torch.zeros(5, 8)
    expected[[0, 1, 3]] = x[[5, 0, 3], 4:]
    assert torch.equal(y[1:, :8], expected) and y[0].isnan().all() and y[:, 8:].isnan().all()


@pytest.mark.parametrize("kind", ["add", "min", "max"])
def test_reduction_into_memory(kind: str) -> None:
    body = f"""%v = tt.descriptor_load %d[%i, %j] : !tt.tensordesc<tensor<4x8xf32>> -> tensor<4x8xf32>
  tt.descriptor_reduce {kind}, %o[%c0, %c0], %v : !tt.tensordesc<tensor<4x8xf32>>, tensor<4x8xf32>"""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(4, 8, generator=generator), torch.randn(4, 8, generator=generator)
    function = {"add": torch.add, "min": torch.minimum, "max": torch.maximum}[kind]
    expected = y
    for _ in range(3):
        expected = function(expected, x)
    run(made_in_kernel(body), 3, [x, y, 4, 8, 8, 0, 0])
    assert torch.equal(y, expected)
