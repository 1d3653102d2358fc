"""`epiq bench`: a model, eager, with Inductor and with epiq. `epiq report` renders what it wrote again."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from epiq.cli.console import console
from epiq.cli.workloads import MODELS, SCHEMES, STEPS

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from epiq.report.bench import Workload

_MODEL = f"{', '.join(MODELS)} (random weights, nothing is downloaded), or FILE.py:NAME as for explain."


def bench(
    model: Annotated[str, typer.Argument(help=_MODEL)],
    scheme: Annotated[str, typer.Option(help=f"FP8 linears: {' or '.join(SCHEMES)}.")] = "block",
    step: Annotated[
        list[str] | None,
        typer.Option(
            help=f"prefill:BATCHxLENGTH or decode:BATCH@CONTEXT, repeated for more; {len(STEPS)} if none."
        ),
    ] = None,
    layers: Annotated[int, typer.Option(help="Decoder layers; 0 for all that the model has.", min=0)] = 0,
    repeats: Annotated[int, typer.Option(help="Timed calls of each compiled side.", min=2)] = 30,
    max_autotune: Annotated[bool, typer.Option(help="Time Inductor's max-autotune as well.")] = True,
    count: Annotated[bool, typer.Option("--count", help="Count, even where there is a GPU.")] = False,
    budget_s: Annotated[float, typer.Option(help="Start no step after so many seconds; 0: no limit.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for bench.json, bench.md and bench.html.")] = Path(
        "epiq-bench"
    ),
) -> None:
    """Time a model in one process, sides in turn: eager, Inductor, Inductor max-autotune, epiq.

    Outputs are compared with eager's first; compiled sides run as CUDA graphs. Without a GPU, kernels,
    launches and bytes are counted in the traced graphs instead. Exit code 1 when a cell fails or is off.
    """
    import torch

    from epiq.cli.workloads import check_steps
    from epiq.report import bench as bench_report
    from epiq.report.compare import ALL_SIDES, SIDES

    steps = step or list(STEPS)
    check_steps(steps)
    if scheme not in SCHEMES:
        raise ValueError(f"scheme {scheme!r} is not one of {', '.join(SCHEMES)}")
    measured = torch.cuda.is_available() and not count
    device = torch.device("cuda" if measured else "cpu")
    sides = ALL_SIDES if max_autotune else SIDES
    layers_said = f"{layers} layers" if layers else "all layers"
    cells: list[dict[str, Any]] = []
    record = {
        "schema": bench_report.SCHEMA,
        "measured": measured,
        "model": f"{model}, {scheme} FP8, {layers_said}" if model in MODELS else model,
        "command": shlex.join(["epiq", *sys.argv[1:]]),
        "machine": bench_report.describe_machine(device),
        "conditions": _conditions(measured, repeats),
        "copy_gb_per_s": bench_report.measure_copy(device),
        "cells": cells,
    }
    start = time.perf_counter()
    with _progress() as progress, _quiet_autotuning():
        workloads = _workloads(model, scheme, steps, layers, "cuda" if measured else "meta", progress)
        total = len(steps) if model in MODELS else 1
        task = progress.add_task("cells", total=total, what="make the model")
        for workload in workloads:
            used = time.perf_counter() - start
            say = _teller(progress, task, workload.name)
            if budget_s and used > budget_s:
                left_out = f"left out: {used:.0f} s of --budget-s {budget_s:.0f} were used"
                cells.append(bench_report.failed_cell(workload, left_out))
            elif measured:
                cells.append(bench_report.measure_cell(workload, sides=sides, repeats=repeats, on_step=say))
                torch.cuda.empty_cache()
            else:
                say("trace")
                cells.append(bench_report.count_cell(workload))
            # A run that is cut short leaves what it had.
            write_pages(record, out)
            progress.advance(task)
            say(f"{time.perf_counter() - start - used:.0f} s")
    write_all(record, out)
    bad = [cell["name"] for cell in cells if cell["error"] or not cell["ok"]]
    for cell in cells:
        if cell["error"]:
            console.print(Text(f"{cell['name']} failed: {cell['error'].splitlines()[0]}", style="red"))
    if bad:
        raise typer.Exit(1)


def report(
    record: Annotated[Path, typer.Argument(help="bench.json of an earlier run.")],
    out: Annotated[
        Path, typer.Option(help="Folder for bench.md and bench.html; the file's own if none.")
    ] = Path(),
) -> None:
    """Render what epiq bench wrote once more, as Markdown and as a page."""
    try:
        found = json.loads(record.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{record} is no JSON: {error}") from error
    write_all(found, record.parent if out == Path() else out)


def write_all(record: dict[str, Any], folder: Path) -> None:
    """bench.json, bench.md and bench.html; prints the verdict and where they are."""
    from epiq.report.bench_values import BenchPage

    names = write_pages(record, folder)
    console.print(Text(BenchPage(record).verdict))
    console.print(Text(f"bench: {', '.join(names)} in {folder}", style="bold"))


def write_pages(record: dict[str, Any], folder: Path) -> list[str]:
    """The files, each whole or as it was. Returns their names."""
    from epiq.report.bench_markdown import bench_markdown
    from epiq.report.html import bench_page

    texts = {
        "bench.json": json.dumps(record, indent=1) + "\n",
        "bench.md": bench_markdown(record),
        "bench.html": bench_page(record),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        unfinished = folder / f".{name}"
        unfinished.write_text(text)
        unfinished.replace(folder / name)
    return list(texts)


def _workloads(
    model: str, scheme: str, steps: list[str], layers: int, device: str, progress: Progress
) -> Iterator[Workload]:
    from epiq.cli.workloads import make_model, workload, workload_of_file

    if model not in MODELS:
        if ":" not in model:
            raise ValueError(f"model {model!r} is neither {' nor '.join(MODELS)} nor FILE.py:NAME")
        yield workload_of_file(model)
        return
    made = make_model(model, scheme, layers, device)
    for step in steps:
        yield workload(made, step)


def _conditions(measured: bool, repeats: int) -> dict[str, str]:
    if not measured:
        return {"how": "graphs traced without memory, nothing run"}
    return {
        "times": f"medians of {repeats} calls, eager of a third of them, sides in turn, L2 warm",
        "compiled sides": "CUDA-graph replays; outputs poisoned, then compared with eager's before timing",
        "weights": "random",
    }


@contextmanager
def _quiet_autotuning() -> Iterator[None]:
    """Inductor prints a table for each product that it tunes, over our own lines."""
    from torch._inductor import config

    with config.patch(autotune_num_choices_displayed=0):
        yield


@contextmanager
def _progress() -> Iterator[Progress]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[what]}"))
    with Progress(*columns, console=console, transient=True) as progress:
        yield progress


def _teller(progress: Progress, task: TaskID, name: str) -> Any:
    def say(what: str) -> None:
        progress.update(task, what=f"{name}: {what}")
        if not console.is_terminal:
            console.print(Text(f"{name}: {what}"))

    return say
