"""One row program and its schedule to Triton IR."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from epiq import ir
from epiq.pipeline.program import RowProgram, Schedule

if TYPE_CHECKING:
    from epiq.codegen import Target

# What every target can run.
_LEAST_ARCH = 90


def lower(
    program: RowProgram, schedule: Schedule, *, target: Target | None = None, version: str = "3.6"
) -> str:
    """Returns Triton IR that Triton `version` parses: one public `tt.func` named `program.name`.

    target: casts that it has instructions for use them; None is IR for any target.

    Its arguments: a pointer per input, a pointer per output, the number of rows (i32), then the
    row stride in elements (i64) of each row-like input.
    Raises: ValueError if the schedule cuts a row that a reduction spans; epiq.errors.PassError
    with the pass's own words if the program cannot be lowered.
    """
    if program.full_row and schedule.block_cols:
        raise ValueError(
            f"block_cols {schedule.block_cols} cuts the row of {program.row_width} that a "
            f"reduction of {program.name} spans"
        )
    return _lower_text(program.ir, schedule, target.arch if target else _LEAST_ARCH, version)


@lru_cache(maxsize=1024)
def _lower_text(text: str, schedule: Schedule, arch: int, version: str) -> str:
    module = ir.parse(text, filename="<row program>")
    ir.run_passes(module, f"builtin.module({pass_text(schedule, arch)})")
    return ir.print_triton(module, version)


def pass_text(schedule: Schedule, arch: int = _LEAST_ARCH) -> str:
    """The passes from a row program to a kernel, as `epiq-opt` takes them."""
    return (
        "epiq-lower-row-program{"
        f"block-rows={schedule.block_rows} block-cols={schedule.block_cols} "
        f"chunk-cols={schedule.chunk_cols} num-warps={schedule.num_warps} target={arch}"
        "},epiq-cheapen-division"
    )
