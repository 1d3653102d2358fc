"""Reports as pages that need nothing else: one file, no script, light and dark, any width."""

from __future__ import annotations

import linecache
from collections import Counter
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING, Any

from epiq.report.bench_values import BenchPage
from epiq.report.hints import hint_of
from epiq.report.text import COMPARED, megabytes, totals

if TYPE_CHECKING:
    from jinja2 import Environment

    from epiq.report.model import GraphReport, Report


def bench_page(record: dict[str, Any]) -> str:
    """The page of what `epiq bench` wrote as JSON.

    Raises: ValueError for JSON of another schema or kind.
    """
    return _environment().get_template("bench.html.j2").render(page=BenchPage(record))


def explain_page(report: Report) -> str:
    """The page of a report."""
    fused, found = sum(q.fused for q in report.quantizations), len(report.quantizations)
    page = {
        "verdict": f"{fused} of {found} quantizations share a kernel with what makes their input."
        if found
        else "No quantization was found; all of it is left to Inductor.",
        "totals": totals(report) if report.kernels else "",
        "compared": COMPARED,
        "graphs": [_graph(graph) for graph in report.graphs],
    }
    return _environment().get_template("explain.html.j2").render(page=page)


def _graph(graph: GraphReport) -> dict[str, Any]:
    counted = Counter(
        (q.what, _starred(q.module), q.source, q.fused_into, q.rule, q.reason, q.hint)
        for q in graph.quantizations
    )
    names = ("what", "module", "source", "fused_into", "rule", "reason", "hint")
    quantizations = [{**dict(zip(names, key, strict=True)), "count": n} for key, n in counted.items()]
    for each in quantizations:
        each["code"] = _code(str(each["source"]))
    kernels = [
        {
            "name": kernel.name,
            "parts": ", ".join(kernel.parts),
            "count": count,
            "rows": kernel.num_rows,
            "unfused_kernels": kernel.unfused_kernels,
            "before": megabytes(kernel.unfused_bytes),
            "after": megabytes(kernel.num_bytes),
        }
        for kernel, count in Counter(graph.kernels).items()
    ]
    return {
        "name": graph.name,
        "left_alone": graph.left_alone,
        "quantizations": quantizations,
        "kernels": kernels,
        "producers": [
            {**asdict(each), "count": count, "hint": hint_of(each.rule)}
            for each, count in Counter(graph.producers).items()
        ],
        "left": [*graph.refusals, *graph.custom_ops],
    }


def _starred(module: str) -> str:
    """A submodule's path without the numbers of layers."""
    return ".".join("*" if part.isdigit() else part for part in module.split("."))


def _code(source: str) -> str:
    """The line of code at `path:line`, "" where the file is not there."""
    path, _, line = source.rpartition(":")
    return linecache.getline(path, int(line)).strip() if path and line.isdigit() else ""


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("epiq.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
