"""The schedules that a row program could have: what measurements choose from."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from epiq.pipeline.program import RowProgram, Schedule
from epiq.pipeline.schedule import default_schedule, lane_elements

if TYPE_CHECKING:
    from epiq.codegen import Target

_THREADS_OF_WARP = 32
_WARPS = (1, 2, 4, 8, 16, 32)
_ROWS = (1, 2, 4)
# Elements of a row that a thread holds: fewer leave its loads narrow, more spill.
_LEAST_ELEMENTS, _MOST_ELEMENTS = 4, 96
_MOST_CHUNKS = 12
_LEAST_CHUNK_COLS = 128
_MOST_CUT_ELEMENTS = 64
_MOST_CUT_WARPS = 8


def all_schedules(program: RowProgram, num_rows: int, target: Target) -> list[Schedule]:
    """The default schedule of `program` at `num_rows`, then every other one that is worth a try."""
    cuts = _cut_schedules(program) if not program.full_row else []
    default = default_schedule(program, num_rows, target)
    fitting = [schedule for schedule in _whole_schedules(program) + cuts if schedule.block_rows <= num_rows]
    return list(dict.fromkeys([default, *fitting]))


def near_schedules(program: RowProgram, num_rows: int, target: Target) -> list[Schedule]:
    """The few of `all_schedules` that differ from the default in one number by a factor of two."""
    default, *others = all_schedules(program, num_rows, target)
    return [default, *(other for other in others if _steps(default, other) == 1)]


def _steps(a: Schedule, b: Schedule) -> int:
    """How many doublings or halvings lie between two schedules; a cut row is far from a whole one."""
    total = 0
    for name in ("block_rows", "block_cols", "chunk_cols", "num_warps"):
        left, right = getattr(a, name), getattr(b, name)
        if bool(left) != bool(right):
            return 99
        if left:
            total += abs(left.bit_length() - right.bit_length()) + (max(left, right) % min(left, right) != 0)
    return total


def _columns(program: RowProgram) -> list[int]:
    """Widths that a row can be split or cut into."""
    unit = program.column_unit
    if not unit:
        return []
    return [unit << power for power in range(16) if unit << power < program.row_width]


def _whole_schedules(program: RowProgram) -> list[Schedule]:
    found = []
    for columns, warps, rows in itertools.product([0, *_columns(program)], _WARPS, _ROWS):
        width = columns or program.row_width
        chunks = -(-program.row_width // width)
        each = rows * width / (warps * _THREADS_OF_WARP)
        if columns and (columns < _LEAST_CHUNK_COLS or chunks > _MOST_CHUNKS):
            continue
        if each < lane_elements(program) / 2 or not _LEAST_ELEMENTS <= each * chunks <= _MOST_ELEMENTS:
            continue
        found.append(Schedule(block_rows=rows, num_warps=warps, chunk_cols=columns))
    return found


def _cut_schedules(program: RowProgram) -> list[Schedule]:
    found = []
    for columns, warps, rows in itertools.product(_columns(program), _WARPS, _ROWS):
        each = rows * columns / (warps * _THREADS_OF_WARP)
        if warps <= _MOST_CUT_WARPS and _LEAST_ELEMENTS <= each <= _MOST_CUT_ELEMENTS:
            found.append(Schedule(block_rows=rows, num_warps=warps, block_cols=columns))
    return found
