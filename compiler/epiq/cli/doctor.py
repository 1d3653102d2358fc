"""`epiq doctor`: what this machine has, and what follows from it."""

from __future__ import annotations

import typer
from rich.table import Table
from rich.text import Text

from epiq.cli.checks import Finding, all_findings
from epiq.cli.console import console

_MARKS = {"ok": ("ok", "green"), "limited": ("limited", "yellow"), "broken": ("broken", "red")}


def doctor() -> None:
    """Say what this machine has and what follows. Exit code 1 when something needed is broken."""
    findings = all_findings()
    console.print(_table(findings))
    broken = [finding.item for finding in findings if finding.state == "broken"]
    limited = [finding.item for finding in findings if finding.state == "limited"]
    if broken:
        console.print(Text(f"doctor: broken: {', '.join(broken)}"))
        raise typer.Exit(1)
    if limited:
        console.print(Text(f"doctor: works, limited by: {', '.join(limited)}"))
        return
    console.print(Text("doctor: everything is there"))


def _table(findings: list[Finding]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("", "what", "found", "what follows"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        label, style = _MARKS[finding.state]
        table.add_row(
            Text(label, style=style), Text(finding.item), Text(finding.found), Text(finding.follows)
        )
    return table
