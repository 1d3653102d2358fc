"""A bench as Markdown: the same words as its page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from epiq.report.bench_values import BenchPage

_COUNTED = (
    "**Counted, not measured:** no GPU took part. Kernels, launches and bytes follow from the traced graph; "
    "there are no times here, and bytes alone do not say what is faster."
)


def bench_markdown(record: Mapping[str, Any]) -> str:
    """Raises: ValueError for JSON of another schema or kind."""
    page = BenchPage(record)
    lines = [f"# {page.model}", "", page.machine, ""]
    lines += [] if page.measured else [_COUNTED, ""]
    lines += [page.verdict, ""]
    if page.measured:
        lines += _times(page)
    for cell in page.groups:
        lines += [f"## Fused kernels: {cell['name']}", "", cell["summary"], ""]
        lines += _table(
            ["kernel", "does the work of", "launches", "kernels before", "MB before", "MB"]
            + (["microseconds", "of the copy's rate"] if page.measured else []),
            [
                [f"`{g['name']}`", g["parts"], g["count"], g["kernels_before"], g["before"], g["after"]]
                + ([g["time"], g["fraction"]] if page.measured else [])
                for g in cell["rows"]
            ],
        )
    lines += ["## Conditions", "", *(f"- {name}: {value}" for name, value in page.conditions)]
    return "\n".join(lines) + "\n"


def _times(page: BenchPage) -> list[str]:
    rows = []
    for cell in page.cells:
        if cell["error"]:
            rows.append([cell["name"], f"failed: {cell['error']}", *[""] * (len(page.sides) + 1)])
            continue
        times = [f"{time['text']} ({time['range']})" for time in cell["times"]]
        said = f"{cell['speedup']['text']} {cell['speedup']['word']}"
        rows.append([cell["name"], said, *times, cell["off"] + ("" if cell["ok"] else " TOO FAR")])
    heads = ["workload", "over the faster Inductor", *page.sides, "error: Inductor, epiq"]
    lines = _table(heads, rows)
    lines += ["## Where the time goes", "", page.bars_note, ""] if page.bars else []
    for cell in page.bars:
        rows = [[bar["side"], bar["total"], bar["spoken"]] for bar in cell["bars"]]
        lines += _table([cell["name"], "together", "of this"], rows)
    return lines


def _table(heads: list[str], rows: list[list[Any]]) -> list[str]:
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    lines += [f"| {' | '.join(str(cell).replace('|', '/') for cell in row)} |" for row in rows]
    return [*lines, ""]
