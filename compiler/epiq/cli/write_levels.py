"""Writes what each row program becomes to a folder, for one or more targets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from epiq.codegen import Compiled, Resources, Target
    from epiq.frontend import CompilationRecord
    from epiq.pipeline import RowProgram


@dataclass(frozen=True)
class Written:
    """One kernel for one target. stem: its files are `stem.ptx`, `stem.cubin`."""

    stem: str
    compiled: Compiled
    resources: Resources


def write_stages(graphs: Sequence[CompilationRecord], folder: Path) -> list[Path]:
    """Writes the graph's IR after each pass: `graph0.1-import.mlir`, `graph0.2-raise.mlir`, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, graph in enumerate(graphs):
        stages = graph.grouped.stages if graph.grouped is not None else {}
        for index, (stage, text) in enumerate(stages.items(), 1):
            path = folder / f"graph{number}.{index}-{stage}.mlir"
            path.write_text(text)
            files.append(path)
    return files


def write_kernels(
    graphs: Iterable[CompilationRecord], folder: Path, targets: Sequence[Target]
) -> list[Written]:
    """Compiles each different row program for each target; writes every level of it.

    Raises: epiq.codegen.CompileError if Triton refuses a program, OSError for the folder.
    """
    from epiq.codegen import ptxas_report
    from epiq.codegen.levels import dump
    from epiq.pipeline import default_schedule

    written = []
    for program, num_rows in _different(graphs):
        by_schedule = defaultdict(list)
        for target in targets:
            by_schedule[default_schedule(program, num_rows, target)].append(target)
        for schedule, group in by_schedule.items():
            # Files that do not name their target would overwrite one another.
            place = folder if len(by_schedule) == 1 else folder / group[0].name
            for compiled in dump(program, place, group, schedule).kernels:
                stem = f"{program.name}.{compiled.target.name}"
                written.append(Written(stem, compiled, ptxas_report(compiled)))
    return written


def kernels_table(written: Iterable[Written]) -> Table:
    """What ptxas says of each kernel."""
    table = Table(title="compiled kernels", title_justify="left", box=None, pad_edge=False)
    table.add_column("kernel", overflow="fold")
    for column in (
        "target",
        "warps",
        "registers",
        "spilled bytes",
        "shared bytes",
        "PTX lines",
        "cubin bytes",
    ):
        table.add_column(column, justify="right")
    for one in written:
        spilled = one.resources.spill_stores + one.resources.spill_loads
        cells = (
            one.stem.rpartition(".")[0],
            one.compiled.target.name,
            one.compiled.num_warps,
            one.resources.registers,
            spilled,
            one.resources.shared,
            one.compiled.ptx.count("\n"),
            len(one.compiled.cubin),
        )
        table.add_row(*(Text(str(cell)) for cell in cells))
    return table


def _different(graphs: Iterable[CompilationRecord]) -> list[tuple[RowProgram, int]]:
    """Programs by key, with the rows of their first use; names made unique, since files bear them."""
    found: dict[str, tuple[RowProgram, int]] = {}
    names: dict[str, int] = defaultdict(int)
    for graph in graphs:
        if graph.grouped is None:
            continue
        used = {program.symbol for program in graph.used}
        for program, num_rows in zip(graph.grouped.programs, graph.num_rows, strict=True):
            if program.key in found or program.symbol not in used:
                continue
            names[program.name] += 1
            nth = names[program.name]
            named = program if nth == 1 else replace(program, name=f"{program.name}_{nth}")
            found[program.key] = (named, num_rows)
    return list(found.values())
