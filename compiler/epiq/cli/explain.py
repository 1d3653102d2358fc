"""`epiq explain`: what fused, what did not, why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from epiq.cli.console import console

_SPEC_HELP = (
    "FILE.py:NAME, a function or nn.Module. Its inputs come from a function of no arguments in the same "
    "file: NAME_inputs, inputs or example_inputs, returning a tuple. Tensors may be fake, meta, on any "
    "device."
)


def explain(
    spec: Annotated[str, typer.Argument(help=_SPEC_HELP)],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write the report as a page to this file.")] = None,
) -> None:
    """Say what epiq fuses in a function, what not and why.

    Runs the file, and traces the function; real tensors are computed with, fake ones are not.
    """
    from epiq.cli.user_code import load_user_code
    from epiq.report import explain as make_report
    from epiq.report.text import render

    code = load_user_code(spec)
    report = make_report(code.function, *code.inputs)
    if html is not None:
        html.write_text(report.to_html())
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=2))
        return
    console.print(render(report))
