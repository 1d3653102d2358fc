"""What a run of the fuzzer has covered, counted, and as tables."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

_RULES = "rules that refused something"


@dataclass
class Coverage:
    """Counts over graphs; `add` takes what a worker says of one."""

    graphs: int = 0
    skipped: int = 0
    with_group: int = 0
    with_program: int = 0
    dynamic: int = 0
    backend: int = 0
    runs: int = 0
    seconds: float = 0.0
    nodes: list[int] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    ops: Counter[str] = field(default_factory=Counter)
    formats: Counter[tuple[str, str]] = field(default_factory=Counter)
    parts: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    tokens: Counter[int] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    skips: Counter[str] = field(default_factory=Counter)

    def add(self, said: Mapping[str, Any]) -> None:
        self.seconds += said["seconds"]
        if said["skipped"]:
            self.skipped += 1
            self.skips[said["skipped"][:70]] += 1
            return
        self.graphs += 1
        self.with_group += said["groups"] > 0
        self.with_program += bool(said["programs"])
        self.dynamic += said["dynamic"]
        self.backend += said["route"] == "backend"
        self.runs += said["runs"]
        self.nodes.append(said["nodes"])
        self.steps.append(len(said["labels"]))
        self.rules.update(said["rules"])
        self.kinds.update(said["kinds"])
        self.tokens[said["sizes"].get("T", 1) * said["sizes"].get("B", 1)] += 1
        for parts in said["programs"]:
            self.parts.update(parts)
        for label in said["labels"]:
            words = label.split()
            if words[0] == "quantize":
                self.formats[words[1], words[2]] += 1
            self.ops["epiq.quantize" if words[0] == "quantize" else label] += 1

    def tables(self) -> list[Table]:
        """The tables that a run prints: graphs, formats by layout, programs and rules, ops."""
        return [self._graphs(), self._formats(), self._programs(), self._ops()]

    def _graphs(self) -> Table:
        table = Table(title="graphs", show_header=False)
        share = self.with_group / max(self.graphs, 1)
        rows = {
            "checked": self.graphs,
            "not run by torch itself": self.skipped,
            "calls in a graph, median": statistics.median(self.nodes) if self.nodes else 0,
            "lines of a model, median": statistics.median(self.steps) if self.steps else 0,
            "with a fused group": f"{self.with_group} ({share:.0%})",
            "with a kernel of ours": self.with_program,
            "with open token counts": self.dynamic,
            "through torch.compile and Inductor": self.backend,
            "runs compared": self.runs,
            "token counts": ", ".join(map(str, sorted(self.tokens))),
            "values": ", ".join(f"{kind} {count}" for kind, count in self.kinds.most_common()),
        }
        for name, value in rows.items():
            table.add_row(name, str(value))
        return table

    def _formats(self) -> Table:
        layouts = sorted({layout for _, layout in self.formats})
        table = Table("format", *layouts, title="epiq.quantize, by format and layout of the scales")
        for name in sorted({name for name, _ in self.formats}):
            table.add_row(name, *(str(self.formats[name, layout] or "") for layout in layouts))
        return table

    def _programs(self) -> Table:
        table = Table(
            "part of a kernel", "times", "rule that refused", "times", title="programs and refusals"
        )
        left, right = self.parts.most_common(), self.rules.most_common()
        for index in range(max(len(left), len(right))):
            a = left[index] if index < len(left) else ("", "")
            b = right[index] if index < len(right) else ("", "")
            table.add_row(a[0], str(a[1]), b[0], str(b[1]))
        return table

    def _ops(self) -> Table:
        table = Table(
            "line", "times", "line", "times", "line", "times", title=f"{len(self.ops)} kinds of lines"
        )
        listed = self.ops.most_common()
        rows = -(-len(listed) // 3)
        for index in range(rows):
            cells: list[str] = []
            for column in range(3):
                place = index + column * rows
                cells += [listed[place][0], str(listed[place][1])] if place < len(listed) else ["", ""]
            table.add_row(*cells)
        return table
