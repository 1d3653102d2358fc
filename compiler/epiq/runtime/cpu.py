"""Launchers on the CPU: the lowered Triton IR, run by the executor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from epiq import pipeline
from epiq.pipeline.program import Schedule

if TYPE_CHECKING:
    from epiq.pipeline.program import RowProgram
    from epiq.runtime.gpu import Launcher

# One row a program: the executor runs programs side by side, and what one computes does not
# depend on the others.
_SCHEDULE = Schedule(block_rows=1)


def executor_launcher(program: RowProgram) -> Launcher:
    """Lowers `program` and readies it for the executor."""
    from epiq.executor import Executor

    kernel = Executor(pipeline.lower(program, _SCHEDULE), filename=f"<{program.name}>")

    padded, columns = program.row_multiple, program.columns(_SCHEDULE.block_cols)

    def launch(inputs: list[Tensor], outputs: list[Tensor], num_rows: int, strides: list[int]) -> None:
        rows = -(-num_rows // padded) * padded
        kernel.run((rows * columns, 1, 1), [*inputs, *outputs, num_rows, *strides])

    return launch
