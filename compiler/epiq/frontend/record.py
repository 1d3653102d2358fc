"""What one compilation found and did, kept for reports."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from epiq.frontend.produced import Joined
    from epiq.pipeline.program import Grouped, RowProgram

_KEPT = 64


@dataclass
class CompilationRecord:
    """One graph.

    name: "graph 0", counted in the process or in the `recording` block. device: where its tensors
    are. grouped: the IR at each stage, the row programs and the remarks, with the user's source
    lines as their locations; None when the graph was left alone before that. refused: (program
    symbol, reason) for each program that was not used. num_rows: rows of each program for the
    traced shapes. kernels: key of the kernel of each program, "" where refused. left_alone: why
    the whole graph stays with Inductor, "" if it does not. nodes_before, nodes_after: calls in the
    FX graph. unwrapped: the registered custom ops that programs hold. still_custom: those that
    stay in the graph, each with the reason. modules: the path of the submodule that made a node, by the
    node's name. joined: the programs whose input a matrix product makes, and
    whether the two are one group.
    """

    name: str
    device: str = ""
    grouped: Grouped | None = None
    refused: tuple[tuple[str, str], ...] = ()
    num_rows: tuple[int, ...] = ()
    kernels: tuple[str, ...] = ()
    left_alone: str = ""
    nodes_before: int = 0
    nodes_after: int = 0
    opaque: tuple[str, ...] = field(default=())
    unwrapped: tuple[str, ...] = field(default=())
    still_custom: tuple[tuple[str, str], ...] = field(default=())
    joined: tuple[Joined, ...] = field(default=())
    modules: Mapping[str, str] = field(default_factory=dict)

    @property
    def used(self) -> list[RowProgram]:
        """The programs that run as kernels, or would without `dry_run`."""
        if self.grouped is None or self.left_alone:
            return []
        refused = {symbol for symbol, _ in self.refused}
        return [program for program in self.grouped.programs if program.symbol not in refused]


_recent: deque[CompilationRecord] = deque(maxlen=_KEPT)
_numbers = itertools.count()
_collecting: ContextVar[list[CompilationRecord] | None] = ContextVar("epiq_records", default=None)


def new_record() -> CompilationRecord:
    """A record for the graph that is about to be compiled, filed at once."""
    collected = _collecting.get()
    number = next(_numbers) if collected is None else len(collected)
    record = CompilationRecord(f"graph {number}")
    _recent.append(record)
    if collected is not None:
        collected.append(record)
    return record


def recent_records() -> list[CompilationRecord]:
    """The last compilations of this process, oldest first."""
    return list(_recent)


@contextmanager
def recording() -> Iterator[list[CompilationRecord]]:
    """Collects the records of the graphs that are compiled inside the block."""
    collected: list[CompilationRecord] = []
    token = _collecting.set(collected)
    try:
        yield collected
    finally:
        _collecting.reset(token)
