"""`python -m epiq.testing.fuzz --seconds 60`: random models, fused, against unfused and eager.

A graph is clean when fused and unfused give the same bits, eager agrees as far as the order of its sums
allows, nothing of ours raises, and no group that was made is left without a kernel. What is not clean is
shrunk and written as a script.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from epiq.cli.console import console
from epiq.testing.recipe import Recipe
from epiq.testing.script import script
from epiq.testing.session import Session


def fuzz(
    seconds: Annotated[float, typer.Option(help="How long to run.", min=1.0)] = 60.0,
    seed: Annotated[int, typer.Option(help="The first family of graphs; the same seed gives the same.")] = 0,
    count: Annotated[int, typer.Option(help="Stop after so many graphs; 0 for no limit.", min=0)] = 0,
    variants: Annotated[int, typer.Option(help="Graphs of each family.", min=1)] = 8,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    backend_every: Annotated[
        int, typer.Option(help="One family in so many goes through Inductor; 0 for none.", min=0)
    ] = 250,
    out: Annotated[Path, typer.Option(help="Where scripts of findings go.")] = Path("fuzz-findings"),
    only_failures: Annotated[bool, typer.Option(help="Print no tables of what was covered.")] = False,
) -> None:
    """Check random models. Exit code 1 when something is wrong."""
    if device not in ("cpu", "cuda"):
        raise typer.BadParameter(f"device must be cpu or cuda, got {device!r}")
    session = Session(seconds, seed, count, variants, device, backend_every)
    begin = time.monotonic()
    _run(session, begin)
    took = time.monotonic() - begin
    if not only_failures:
        for table in session.coverage.tables():
            console.print(table)
    _write(session, out)
    graphs = session.coverage.graphs
    rate = graphs / max(took, 1e-9)
    console.print(
        Text(f"{graphs} graphs in {took:.0f} s ({rate:.1f} a second), {len(session.found)} findings")
    )
    if graphs == 0:
        console.print(Text("no graph was checked: that is no success"))
    if session.found or graphs == 0:
        raise typer.Exit(1)


def _run(session: Session, begin: float) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not os.isatty(1)) as progress:
        task = progress.add_task("0 graphs", total=session.seconds)

        def on_graph(now: Session) -> None:
            text = f"{now.coverage.graphs} graphs, {len(now.found)} findings"
            progress.update(task, completed=time.monotonic() - begin, description=text)

        session.run(on_graph)


def _write(session: Session, out: Path) -> None:
    for number, (signature, found) in enumerate(session.found.items()):
        console.print(Text(f"\n{found.kind} ({found.count} times, seed {found.seed}): {found.message}"))
        recipe = Recipe.from_json(found.recipe)
        console.print(Text(recipe.source()))
        out.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"\W+", "-", signature.split(":")[0])
        path = out / f"{name}-{found.seed.replace('.', '-')}-{number}.py"
        path.write_text(script(recipe, signature, found.seed, session.device))
        console.print(Text(f"written to {path}"))


if __name__ == "__main__":
    typer.run(fuzz)
