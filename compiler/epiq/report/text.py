"""Reports as tables, for the terminal and for `print`."""

from __future__ import annotations

import io
from collections import Counter

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from epiq.report.model import KernelReport, ProducerReport, Quantization, Report

_WIDTH = 120
COMPARED = (
    "before: each named operation (norm, activation, quantization, layout change) and each other torch op a "
    "kernel of its own; after: one kernel for each group; bytes: each kernel's inputs and outputs, once"
)


def render_text(report: Report) -> str:
    """The report as plain text, without colors."""
    stream = io.StringIO()
    console = Console(file=stream, width=_WIDTH, color_system=None, highlight=False)
    console.print(render(report))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def render(report: Report) -> RenderableType:
    """Both tables and the totals."""
    parts: list[RenderableType] = []
    for graph in report.graphs:
        if len(report.graphs) > 1:
            parts.append(Text(graph.name, style="bold"))
        kept = Counter(graph.custom_ops).items()
        parts += [Text(f"{count} x {op} stays a custom op: {reason}") for (op, reason), count in kept]
        if graph.left_alone:
            parts.append(Text(f"left to Inductor: {graph.left_alone}"))
            continue
        if not graph.quantizations:
            parts.append(Text("no quantization in this graph: it is left to Inductor"))
            continue
        parts += [quantization_table(graph.quantizations), Text("")]
        if graph.kernels:
            parts += [kernel_table(graph.kernels), Text("")]
        if graph.producers:
            parts += [producer_table(graph.producers), Text("")]
        parts += [Text(f"left to Inductor: {name}: {reason}") for name, reason in graph.refusals]
    if not report.graphs:
        parts.append(Text("nothing was traced"))
    if report.kernels:
        parts += [Text(totals(report)), Text(f"({COMPARED})", style="dim")]
    return Group(*parts)


def quantization_table(quantizations: tuple[Quantization, ...]) -> Table:
    """One line a quantization; equal ones of one source line are counted, not repeated."""
    table = Table(title="quantizations", title_justify="left", box=None, pad_edge=False)
    table.add_column("count", justify="right")
    for column in ("quantization", "written at", "fused into", "why not (further)"):
        table.add_column(column, overflow="fold")
    lines = Counter((q.what, _written(q), q.fused_into, _why(q)) for q in quantizations)
    for (what, where, fused_into, why), count in lines.items():
        style = "" if fused_into else "yellow"
        cells = (str(count), what, where or "-", fused_into or "not fused", why)
        table.add_row(*(Text(cell) for cell in cells), style=style)
    return table


def kernel_table(kernels: tuple[KernelReport, ...]) -> Table:
    """One line for each different kernel."""
    table = Table(title="kernels", title_justify="left", box=None, pad_edge=False)
    table.add_column("count", justify="right")
    table.add_column("kernel", overflow="fold")
    table.add_column("does the work of", overflow="fold")
    for column in ("rows", "kernels before", "MB before", "MB after"):
        table.add_column(column, justify="right")
    for kernel, count in Counter(kernels).items():
        cells = (
            str(count),
            kernel.name,
            ", ".join(kernel.parts),
            str(kernel.num_rows),
            str(kernel.unfused_kernels),
            megabytes(kernel.unfused_bytes),
            megabytes(kernel.num_bytes),
        )
        table.add_row(*(Text(cell) for cell in cells))
    return table


def producer_table(producers: tuple[ProducerReport, ...]) -> Table:
    """One line for each different product and row program: whether they are one group, what was decided."""
    table = Table(title="matrix products before kernels", title_justify="left", box=None, pad_edge=False)
    table.add_column("count", justify="right")
    for column in ("product", "kernel", "one kernel computes", "decided, or why not"):
        table.add_column(column, overflow="fold")
    for found, count in Counter(producers).items():
        why = f"{found.rule}: {found.reason}" if found.rule else "\n".join(found.decisions)
        cells = (str(count), found.producer, found.kernel, found.computed or "-", why)
        table.add_row(*(Text(cell) for cell in cells), style="" if found.computed else "yellow")
    return table


def totals(report: Report) -> str:
    """`kernels 16 -> 4, bytes 1234.5 -> 567.8 MB (54 % less)`."""
    before, after = report.bytes_before, report.bytes_after
    less = f" ({100 * (before - after) / before:.0f} % less)" if before else ""
    return (
        f"kernels {report.kernels_before} -> {report.kernels_after}, "
        f"bytes {megabytes(before)} -> {megabytes(after)} MB{less}"
    )


def _why(quantization: Quantization) -> str:
    if not quantization.rule:
        return quantization.reason
    hint = f"\n{quantization.hint}" if quantization.hint else ""
    return f"{quantization.rule}: {quantization.reason}{hint}"


def _written(quantization: Quantization) -> str:
    """The line, and the submodule without the numbers of layers, which are equal."""
    module = ".".join(part if not part.isdigit() else "*" for part in quantization.module.split("."))
    return "\n".join(filter(None, (quantization.where, module)))


def megabytes(num_bytes: float) -> str:
    """In units of 10^6 bytes."""
    return f"{num_bytes / 1e6:.2f}" if num_bytes < 1e7 else f"{num_bytes / 1e6:.1f}"
