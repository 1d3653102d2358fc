"""Schedules must fit the programs that they are for, and not depend on what they must not."""

from __future__ import annotations

import pytest

from epiq.codegen import Target
from epiq.pipeline import RowProgram, default_schedule
from epiq.pipeline.program import TensorSpec
from epiq.pipeline.schedule import column_cut

H100, B200 = Target(90), Target(100)


def program(width: int, unit: int, *more: TensorSpec) -> RowProgram:
    """`unit` equal to the width: a reduction spans the row."""
    rows = TensorSpec("bf16", (None, width), True, width)
    quantized = TensorSpec("f8E4M3FN", (None, width), True, width)
    return RowProgram(
        name="p",
        symbol="p",
        ir="",
        inputs=(rows, TensorSpec("f32", (width,), False, width)),
        outputs=(quantized, *more),
        row_width=width,
        full_row=unit == width,
        composites=(),
        key="",
        column_unit=unit,
    )


@pytest.mark.parametrize("target", [H100, B200], ids=lambda target: target.name)
@pytest.mark.parametrize("num_rows", [1, 7, 64, 256, 1024, 8192, 1 << 20])
@pytest.mark.parametrize(
    ("width", "unit"),
    [
        (48, 48),
        (128, 128),
        (4096, 4096),
        (14336, 14336),
        (4096, 1),
        (2880, 1),
        (5120, 128),
        (14336, 128),
        (96, 32),
    ],
)
def test_schedule_fits(width, unit, num_rows, target):
    """Cuts are whole groups, no reduction is cut, no thread holds more than 64 elements."""
    schedule = default_schedule(program(width, unit), num_rows, target)
    if width == unit:
        assert schedule.block_cols == 0
    if schedule.block_cols:
        steps = schedule.block_cols // unit
        assert schedule.block_cols % unit == 0 and steps & (steps - 1) == 0
        assert schedule.block_cols < width
    tile = (schedule.block_cols or width) * schedule.block_rows
    assert tile / (32 * schedule.num_warps) <= 64
    assert schedule.block_rows <= num_rows


@pytest.mark.parametrize("num_rows", [1, 64, 256, 8192])
@pytest.mark.parametrize("width", [128, 2880, 4096, 14336])
def test_more_results_do_not_change_the_order_of_sums(width, num_rows):
    """A norm alone and a norm with a residual and scales must add in the same order."""
    alone = default_schedule(program(width, width), num_rows, H100)
    residual = TensorSpec("bf16", (None, width), True, width)
    scales = TensorSpec("f32", (None, width // 16), True, width // 16)
    assert default_schedule(program(width, width, residual, scales), num_rows, H100) == alone


@pytest.mark.parametrize(
    ("width", "unit", "columns"),
    [
        (14336, 128, 2048),
        (4096, 1, 2048),
        (5120, 128, 1024),
        (7168, 128, 1024),
        (256, 128, 256),
        (2880, 1, 1024),
    ],
)
def test_cut_leaves_little_over(width, unit, columns):
    """A divisor of the width near 2048 where there is one."""
    assert column_cut(width, unit, 2048) == columns


def test_few_rows_use_more_threads():
    few, many = (default_schedule(program(4096, 4096), rows, H100).num_warps for rows in (1, 8192))
    assert (few, many) == (16, 4)
