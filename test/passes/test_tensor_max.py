"""The maximum of a tensor, combined from the parts of all programs: every schedule gives the same bits."""

from __future__ import annotations

import math

import pytest
import torch
from row_chains import Builder, add

from epiq import ir
from epiq.codegen import Target, compile_ttir
from epiq.executor import run, uninitialized


def add_amax(width: int) -> str:
    """y = x + 1, amax(|y|) -> y, amax. What is no element of the tensor would give a 1."""
    b = Builder()
    x = b.input((None, width), "bf16")
    y = add(b, x, b.constant(1.0, x))
    wide = b.apply("math.absf", b.cast(y, "f32"))
    amax = b.emit(f"epiq.reduce max {wide.name} dims [0, 1] : {wide.type} to tensor<f32>", (), "f32")
    return b.program([y, amax])


def lower(text: str, options: str) -> str:
    module = ir.parse(text)
    ir.run_passes(module, f"epiq-lower-row-program{{{options}}}")
    return ir.print_triton(module)


def execute(text: str, x: torch.Tensor, block_rows: int = 1, block_cols: int = 0, chunk_cols: int = 0):
    rows, width = x.shape
    y, amax = uninitialized((rows, width), x.dtype), torch.zeros(())
    columns = math.ceil(width / block_cols) if block_cols else 1
    kernel = lower(text, f"block-rows={block_rows} block-cols={block_cols} chunk-cols={chunk_cols}")
    run(kernel, (math.ceil(rows / block_rows) * columns, 1, 1), [x, y, amax, rows, width])
    return y, amax


@pytest.mark.parametrize(("block_rows", "block_cols", "chunk_cols"), [
    (1, 0, 0),
    (4, 0, 0),
    (1, 64, 0),
    (4, 64, 0),
    (1, 0, 128),
    (2, 0, 128),
])  # fmt: skip
@pytest.mark.parametrize(("rows", "width"), [(1, 328), (5, 328), (6, 192)])
def test_every_schedule_gives_the_maximum(rows, width, block_rows, block_cols, chunk_cols):
    torch.manual_seed(rows)
    text = add_amax(width)
    for place in (0, -1, rows * width // 2):
        x = (torch.rand(rows, width) * 0.25 - 1.125).bfloat16()
        x.view(-1)[place] = -1.75
        y, amax = execute(text, x, block_rows, block_cols, chunk_cols)
        assert torch.equal(y, x + 1)
        assert amax == 0.75


@pytest.mark.parametrize("value", [math.nan, -math.nan, math.inf, 0.0, -1.0])
def test_the_order_of_programs_does_not_matter(value):
    """`value` is in the first, a middle and the last row; with -1 all of them are 0 after the addition."""
    text = add_amax(64)
    for row in (0, 2, 4):
        x = torch.full((5, 64), -1.0).bfloat16()
        x[row, 7] = value
        _, amax = execute(text, x)
        wanted = (x + 1).float().abs().amax()
        assert torch.equal(amax, wanted) or (amax.isnan() and wanted.isnan())


@pytest.mark.parametrize("arch", [90, 100])
def test_compiles_to_one_atomic(arch):
    """Of the program, not of each lane."""
    text = lower(add_amax(4096), "block-cols=1024")
    ptx = compile_ttir(text, Target(arch), num_warps=4, num_stages=1).ptx
    (atomic,) = [line for line in ptx.splitlines() if "atom.global" in line or "red.global" in line]
    assert "relaxed.max.u32" in atomic, atomic
    assert "max.NaN.f32" in ptx
