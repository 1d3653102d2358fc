"""Assembles the commands. Each one imports torch and the compiler only when it runs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from epiq.cli import bench, cache, compile, demo, doctor, explain
from epiq.cli.console import fail
from epiq.errors import EpiqError

app = typer.Typer(
    name="epiq",
    help="Fuses quantization into the kernels that produce the values.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("demo")(demo.demo)
app.command("compile")(compile.compile_)
app.command("explain")(explain.explain)
app.command("bench")(bench.bench)
app.command("report")(bench.report)
app.command("doctor")(doctor.doctor)
app.add_typer(cache.app, name="cache")


def _print_version(wanted: bool) -> None:
    if wanted:
        import epiq

        typer.echo(f"epiq {epiq.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    del version


def main() -> None:
    """Entry point: a caller's mistake ends in one line and exit code 2, not in a traceback."""
    try:
        app()
    except (EpiqError, ValueError, TypeError, FileNotFoundError) as error:
        fail(error)
        sys.exit(2)
