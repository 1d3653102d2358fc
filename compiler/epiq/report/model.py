"""A report as plain data. `str(report)` is its text, `report.to_html()` a page, `report.to_dict()` JSON.

The JSON holds the fields of the classes below, the totals, and `schema`: its number changes when a field goes
away or means something else, not when one is added.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from epiq.report.hints import hint_of

SCHEMA = 2


@dataclass(frozen=True)
class Quantization:
    """One quantization of the graph and what became of it.

    what: the format. node: its node in the traced graph. where: the user's line that wrote it, ""
    when unknown. fused_into: the operations it shares a kernel with, "rms_norm (amax)" where its amax
    does and a second kernel quantizes; "" when it has one of its own or was left alone. rule and
    reason: why it was not fused further, "" when it was. source: `where` with the file's path. module:
    the submodule that computes it, "layers.0.mlp.down_proj", "" outside of any.
    """

    what: str
    node: str
    where: str
    fused_into: str
    rule: str
    reason: str
    source: str = ""
    module: str = ""

    @property
    def fused(self) -> bool:
        return bool(self.fused_into)

    @property
    def hint(self) -> str:
        """What would change the refusal, "" where there is none."""
        return hint_of(self.rule)


@dataclass(frozen=True)
class KernelReport:
    """One row program of the graph: a kernel after fusing, `unfused_kernels` kernels before.

    Bytes are what must be read and written over `num_rows` rows, each tensor once a kernel.
    """

    name: str
    parts: tuple[str, ...]
    num_rows: int
    num_bytes: int
    unfused_bytes: int

    @property
    def unfused_kernels(self) -> int:
        return len(self.parts)


@dataclass(frozen=True)
class ProducerReport:
    """A row program whose input a matrix product makes.

    kernel: the row program's name. producer: `mm`. computed: what the fused kernel computes: "all" of the
    program, its "head", where a reduction over the row follows, or "" where the two stay apart. rule and
    reason: why. decisions: what was chosen for which token counts, with the times; one line each.
    """

    kernel: str
    producer: str
    computed: str
    rule: str = ""
    reason: str = ""
    decisions: tuple[str, ...] = ()


@dataclass(frozen=True)
class GraphReport:
    """One graph that Dynamo made.

    refusals: (program, reason) for groups left to Inductor. left_alone: why all of it is, or "".
    custom_ops: (op, reason) for registered custom ops that stay in the graph. producers: the row programs
    whose input a matrix product makes.
    """

    name: str
    quantizations: tuple[Quantization, ...]
    kernels: tuple[KernelReport, ...]
    refusals: tuple[tuple[str, str], ...] = ()
    left_alone: str = ""
    custom_ops: tuple[tuple[str, str], ...] = ()
    producers: tuple[ProducerReport, ...] = ()


@dataclass(frozen=True)
class Report:
    """All graphs of a call."""

    graphs: tuple[GraphReport, ...]

    @property
    def quantizations(self) -> tuple[Quantization, ...]:
        return tuple(q for graph in self.graphs for q in graph.quantizations)

    @property
    def kernels(self) -> tuple[KernelReport, ...]:
        return tuple(kernel for graph in self.graphs for kernel in graph.kernels)

    @property
    def kernels_before(self) -> int:
        return sum(kernel.unfused_kernels for kernel in self.kernels)

    @property
    def kernels_after(self) -> int:
        return len(self.kernels)

    @property
    def bytes_before(self) -> int:
        return sum(kernel.unfused_bytes for kernel in self.kernels)

    @property
    def bytes_after(self) -> int:
        return sum(kernel.num_bytes for kernel in self.kernels)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, the totals included."""
        return {
            "schema": SCHEMA,
            "hints": {q.rule: q.hint for q in self.quantizations if q.hint},
            "graphs": [asdict(graph) for graph in self.graphs],
            "kernels_before": self.kernels_before,
            "kernels_after": self.kernels_after,
            "bytes_before": self.bytes_before,
            "bytes_after": self.bytes_after,
        }

    def to_html(self) -> str:
        """One page that needs nothing else."""
        from epiq.report.html import explain_page

        return explain_page(self)

    def __str__(self) -> str:
        from epiq.report.text import render_text

        return render_text(self)
