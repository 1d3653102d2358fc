"""The state of a run: what a launch shares, and the registers of one batch of programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from epiq.executor.errors import ExecutionError, Site
from epiq.executor.values import Value, select

if TYPE_CHECKING:
    from epiq.executor.memory import Memory


@dataclass
class Launch:
    """What all programs of one launch share.

    grid: programs along x, y, z. check: whether races, uninitialized reads, claimed divisibility
    and assumptions are checked (bounds and alignment always are). claims: whether what
    `tl.multiple_of` and the like claim is.
    """

    grid: tuple[int, int, int]
    memory: Memory
    check: bool
    claims: bool
    max_iterations: int
    printed: list[str] = field(default_factory=list)
    steps: int = 0

    def program_id(self, linear: int) -> tuple[int, int, int]:
        x, y, _ = self.grid
        return linear % x, linear // x % y, linear // (x * y)


class Frame:
    """Registers of a batch of programs: `slots[i]` is the value of the i-th SSA value of a function.

    programs: (b,) int64 linear ids (x fastest) of the programs in the batch, in order.
    """

    __slots__ = ("launch", "programs", "slots")

    def __init__(self, launch: Launch, programs: Tensor, slots: list[Value]) -> None:
        self.launch = launch
        self.programs = programs
        self.slots = slots

    @property
    def size(self) -> int:
        return self.programs.shape[0]

    def select(self, rows: Tensor, live: Sequence[int] | None = None) -> Frame:
        """A frame of some programs only. live: the slots that will be read (all when None)."""
        slots: list[Value] = [None] * len(self.slots)
        for slot in range(len(self.slots)) if live is None else live:
            value = self.slots[slot]
            if value is not None:
                slots[slot] = select(value, rows)
        return Frame(self.launch, self.programs.index_select(0, rows), slots)

    def error(self, reason: str, site: Site, row: int = 0) -> ExecutionError:
        """The error of the program at `row` of this batch."""
        linear = int(self.programs[min(row, self.size - 1)])
        return ExecutionError(reason, site, self.launch.program_id(linear))


def agreed(value: Tensor) -> bool:
    """Whether all programs hold the same scalar. value: (b,)."""
    return value.shape[0] == 1 or bool((value == value[0]).all())


def rows_where(flags: Tensor) -> Tensor:
    """Positions of the true flags. flags: (b,) bool."""
    return torch.nonzero(flags).flatten()
