"""Kernels and the op: shapes in tracing and at run time, dispatch by token count, keys."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from epiq.errors import EpiqError
from epiq.pipeline import RowProgram, TensorSpec
from epiq.runtime import Kernel, OutputSpec, lookup, register
from epiq.runtime.op import row_program
from epiq.runtime.shapes import Tiles, column_strides, leading_rank

WIDTH = 32


def program(key: str = "k") -> RowProgram:
    rows = TensorSpec("f32", (None, WIDTH), True, WIDTH)
    return RowProgram(
        name="epiq_double_32",
        symbol="p0",
        ir="",
        inputs=(rows, TensorSpec("f32", (), False, 1)),
        outputs=(rows, TensorSpec("f32", (None, 4), True, 4, "column_major")),
        row_width=WIDTH,
        full_row=True,
        composites=(),
        key=key,
    )


def kernel(key: str = "k") -> tuple[Kernel, list[tuple[int, list[int]]]]:
    """Doubles its input and writes the amax of each group of 8; counts its launches."""
    launches: list[tuple[int, list[int]]] = []

    def launch(inputs: list[Tensor], outputs: list[Tensor], num_rows: int, strides: list[int]) -> None:
        launches.append((num_rows, strides))
        outputs[0].copy_((inputs[0] * inputs[1]).view(outputs[0].shape))
        outputs[1].copy_(inputs[0].view(num_rows, 4, 8).amax(-1))

    made = Kernel(
        program(key),
        [
            OutputSpec(torch.float32, ((0, 0), WIDTH), WIDTH),
            OutputSpec(torch.float32, ("M", 4), 4, "column_major"),
        ],
    )
    for rows in (1, 16, 64):
        made.prefer(torch.device("cpu"), rows, launch)
    return made, launches


def test_outputs_have_the_promised_strides_and_values() -> None:
    made, launches = kernel()
    x = torch.randn(6, WIDTH)
    doubled, amax = made([x, torch.tensor(2.0)])
    assert torch.equal(doubled, x * 2)
    assert torch.equal(amax, x.view(6, 4, 8).amax(-1))
    assert amax.stride() == (1, 6)
    assert launches == [(6, [WIDTH])]


def test_no_rows_launch_nothing() -> None:
    made, launches = kernel()
    doubled, amax = made([torch.empty(0, WIDTH), torch.tensor(2.0)])
    assert (doubled.shape, amax.shape, launches) == ((0, WIDTH), (0, 4), [])


def test_strided_rows_are_read_in_place() -> None:
    made, launches = kernel()
    made([torch.randn(6, 2 * WIDTH)[:, :WIDTH], torch.tensor(2.0)])
    assert launches == [(6, [2 * WIDTH])]


def test_the_op_traces_and_runs() -> None:
    made, _ = kernel("op")
    register(made)
    x, two = torch.randn(6, WIDTH), torch.tensor(2.0)
    doubled, amax = row_program(made.key, [x, two])
    assert torch.equal(doubled, x * 2)
    with FakeTensorMode() as mode:
        fakes = row_program(made.key, [mode.from_tensor(x), mode.from_tensor(two)])
    for fake, real in zip(fakes, (doubled, amax), strict=True):
        assert (fake.shape, fake.stride(), fake.dtype) == (real.shape, real.stride(), real.dtype)
    torch.library.opcheck(row_program, (made.key, [x, two]), test_utils=("test_schema", "test_faketensor"))


def test_equal_programs_share_a_kernel() -> None:
    first, _ = kernel("shared")
    second, _ = kernel("shared")
    other, _ = kernel("other")
    assert register(first) is register(second)
    assert lookup(first.key) is first
    assert register(other).key != first.key


def test_a_key_of_another_process_is_an_error() -> None:
    with pytest.raises(EpiqError, match="'gone' was not compiled in this process"):
        lookup("gone")


def test_rows_with_several_leading_dimensions() -> None:
    assert leading_rank((2, 3, 4, 8), 32) == 2
    assert leading_rank((2, 3, 32), 32) == 2
    assert leading_rank((7,), 1) == 1
    assert column_strides((2, 3, 4), 4, 6) == (3, 1, 6)
    with pytest.raises(ValueError, match=r"shape \(2, 3\) hold a row of 32"):
        leading_rank((2, 3), 32)


@pytest.mark.parametrize("rows", [1, 4, 5, 129])
def test_memory_of_each_layout(rows: int) -> None:
    x = torch.empty(rows, WIDTH)

    def made(spec: OutputSpec) -> Tensor:
        return spec.allocate([x], rows, torch.device("cpu"))

    aligned = -(-rows // 4) * 4
    columns = made(OutputSpec(torch.float32, ("M", 5), 5, "tma_aligned"))
    assert (columns.shape, columns.stride()) == ((rows, 5), (1, aligned))
    words = made(OutputSpec(torch.int32, ((0, 0), 2), 2, "packed_ue8m0"))
    assert (words.shape, words.stride()) == ((rows, 2), (1, aligned))
    blocks = -(-rows // 128)
    tiles = made(OutputSpec(torch.uint8, (Tiles(128, 1), 2, 32, 4, 4), 8, "swizzled_128x4"))
    assert (tiles.shape, tiles.is_contiguous()) == ((blocks, 2, 32, 4, 4), True)
    flat = made(OutputSpec(torch.uint8, (Tiles(128, 1024),), 8, "swizzled_128x4"))
    assert flat.shape == (blocks * 1024,)


def test_columns_of_rows_in_batches() -> None:
    assert column_strides((2, 3, 4), 4, 6, 4) == (3, 1, 8)
