"""Stores in every layout, run by the executor: each element where the layout says, zeros in the padding, and
nothing anywhere else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from epiq import ir, pipeline
from epiq.executor import run
from epiq.pipeline.extract import extract_programs

POISON = 0xA5


def program(layout: str, groups: int, size: int, rows: str = "?") -> str:
    """One row program: [M, groups * size] f32 to the amax of each group as `layout`, bytes where it packs."""
    width = groups * size
    element = "f32" if layout == "tma_aligned" else "i8"
    matrix = f"tensor<{rows}x{groups}x{element}>"
    count = "?" if rows == "?" else str(-(-int(rows) // 128) * 128 * -(-groups // 4) * 4)
    memory = {
        "packed_ue8m0": f"tensor<{rows}x{-(-groups // 4)}xi32>",
        "swizzled_128x4": f"tensor<{count}xi8>",
    }.get(layout, matrix)
    amax = f"tensor<{rows}x{groups}xf32>"
    cast = "%b = arith.fptosi %m" if element == "i8" else "%b = math.absf %m"
    types = f"{amax} to {matrix}" if element == "i8" else amax
    return f"""
    func.func @f(%x: tensor<{rows}x{width}xf32>) -> {memory} {{
      %r = epiq.row_program @p (%x) {{layouts = [#epiq.layout<{layout}>]}}
          : (tensor<{rows}x{width}xf32>) -> {memory} {{
      ^bb0(%in: tensor<{rows}x{width}xf32>):
        %g = epiq.reshape %in : tensor<{rows}x{width}xf32> to tensor<{rows}x{groups}x{size}xf32>
        %a = math.absf %g : tensor<{rows}x{groups}x{size}xf32>
        %m = epiq.reduce max %a dims [2] : tensor<{rows}x{groups}x{size}xf32> to {amax}
        {cast} : {types}
        %l = epiq.relayout %b to {layout} : {matrix} to {memory}
        epiq.yield %l : {memory}
      }}
      return %r : {memory}
    }}"""


def execute(text: str, x: Tensor, memory: Tensor, **schedule: int) -> None:
    """Runs the lowered program; `memory` is one output pointer."""
    module = ir.parse(text)
    ir.run_passes(module, "builtin.module(epiq-annotate-rows)")
    (extracted,) = extract_programs(module)
    made = pipeline.Schedule(num_warps=4, **schedule)
    lowered = pipeline.lower(extracted, made)
    multiple = extracted.row_multiple
    rows = -(-x.shape[0] // multiple) * multiple
    columns = -(-extracted.row_width // made.block_cols) if made.block_cols else 1
    run(lowered, (-(-rows // made.block_rows) * columns, 1, 1), [x, memory, x.shape[0], x.shape[1]])


def offsets(layout: str, m: np.ndarray, g: np.ndarray, rows: int, groups: int) -> np.ndarray:
    aligned, words = -(-rows // 4) * 4, -(-groups // 4)
    if layout == "row_major":
        return m * groups + g
    if layout == "column_major":
        return g * rows + m
    if layout == "tma_aligned":
        return g * aligned + m
    if layout == "packed_ue8m0":
        return (m + g // 4 * aligned) * 4 + g % 4
    return (m // 128 * words + g // 4) * 512 + m % 32 * 16 + m % 128 // 32 * 4 + g % 4


def check(layout: str, rows: int, groups: int, size: int, static: bool = False, **schedule: int) -> None:
    generator = torch.Generator().manual_seed(rows * 31 + groups)
    x = torch.randint(1, 100, (rows, groups * size), generator=generator).float()
    amax = x.view(rows, groups, size).amax(-1)
    element = torch.float32 if layout == "tma_aligned" else torch.int8
    aligned, words = -(-rows // 4) * 4, -(-groups // 4)
    m, g = np.indices((rows, groups))
    where = offsets(layout, m, g, rows, groups)
    count = int(where.max()) + 1
    zeros = np.zeros(0, np.int64)
    if layout == "packed_ue8m0":
        mm, gg = np.indices((rows, words * 4))
        zeros = offsets(layout, mm, gg, rows, groups)[gg >= groups]
        count = aligned * words * 4
    if layout == "swizzled_128x4":
        count = -(-rows // 128) * 512 * words
        zeros = np.setdiff1d(np.arange(count), where)
    memory = torch.full((count * element.itemsize + 64,), POISON, dtype=torch.uint8)
    execute(program(layout, groups, size, str(rows) if static else "?"), x, memory.view(element), **schedule)
    found = memory.view(element)[:count]
    assert torch.equal(found[torch.from_numpy(where)], amax.to(element))
    assert not found[torch.from_numpy(zeros)].any()
    untouched = np.setdiff1d(
        np.arange(memory.numel() // element.itemsize), np.concatenate([where.ravel(), zeros])
    )
    untouched = memory.view(-1, element.itemsize)[torch.from_numpy(untouched)]
    assert (untouched == POISON).all()


LAYOUTS = ["row_major", "column_major", "tma_aligned", "packed_ue8m0", "swizzled_128x4"]


@pytest.mark.parametrize("rows", [1, 3, 5, 127, 128, 129])
@pytest.mark.parametrize("groups", [1, 3, 4, 5, 30])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_element_lies_where_the_layout_says(layout, groups, rows):
    check(layout, rows, groups, 2)


@pytest.mark.parametrize("block_rows", [2, 64, 256])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_several_rows_of_one_program(layout, block_rows):
    check(layout, 131, 5, 2, block_rows=block_rows)


@pytest.mark.parametrize("schedule", [
    {"chunk_cols": 128}, {"chunk_cols": 64}, {"block_cols": 64}, {"block_cols": 128}, {"block_cols": 256},
    {"block_cols": 128, "block_rows": 4},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("groups", [5, 6, 7])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_in_parts(layout, groups, schedule):
    """Chunks and cuts of one, two and four groups: padding that no tile covers is written all the same."""
    check(layout, 3, groups, 64, **schedule)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_static_number_of_rows(layout):
    check(layout, 5, 6, 128, static=True)
