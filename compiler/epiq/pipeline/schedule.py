"""The schedule that a row program starts with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from epiq.pipeline.program import RowProgram, Schedule

if TYPE_CHECKING:
    from epiq.codegen import Target


def default_schedule(program: RowProgram, num_rows: int, target: Target) -> Schedule:
    """One row a program; warps by the row's width."""
    del num_rows, target
    warps = 4 if program.row_width <= 2048 else 8 if program.row_width <= 8192 else 16
    return Schedule(block_rows=1, num_warps=warps)
