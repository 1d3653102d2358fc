"""What the page and the Markdown of a bench say, as text: every number is rounded and worded here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from epiq.report.bench import SCHEMA
from epiq.report.svg import Point, roofline
from epiq.report.text import megabytes

KINDS = {
    "gemm": "matrix products",
    "attention": "attention",
    "epiq": "epiq's kernels",
    "inductor": "Inductor's Triton kernels",
    "other": "other",
}
# Within this of each other, two sides are as fast.
_EVEN = 0.005


class BenchPage:
    """A record of `epiq bench`, ready to be shown.

    Raises: ValueError for a record that is none, or of another schema.
    """

    def __init__(self, record: Mapping[str, Any]) -> None:
        if not isinstance(record, Mapping) or "cells" not in record:
            raise ValueError("this is no JSON of epiq bench: it has no cells")
        if record.get("schema") != SCHEMA:
            raise ValueError(f"the JSON has schema {record.get('schema')!r}, this epiq reads {SCHEMA}")
        self.record = record
        self.model: str = record["model"]
        self.machine: str = record["machine"]
        self.measured: bool = record["measured"]
        cells = record["cells"]
        # Ours first, eager last: the column that counts most is seen on any screen.
        named = dict.fromkeys(name for cell in cells for name in cell.get("sides", {}))
        self.sides = sorted(named, key=lambda name: (name != "epiq", name == "eager"))
        self.compiled_sides = [name for name in self.sides if name != "eager"]
        self.cells = [self._times(cell) for cell in cells]
        self.verdicts = self._verdicts()
        self.verdict = " ".join(self.verdicts)
        self.legend = list(KINDS.items()) if self.measured else [("other", "before"), ("epiq", "after")]
        self.bars_note = (
            "One call of each compiled side by kind of kernel, as torch's profiler saw it."
            if self.measured
            else "Each named operation a kernel of its own, then as epiq groups them; each tensor once."
        )
        self.bars = [bars for cell in cells if (bars := self._bars(cell))]
        self.groups = [self._groups(cell) for cell in cells if cell.get("groups")]
        self.compile = [
            {"name": cell["name"], "seconds": [_seconds(cell["sides"][side]) for side in self.compiled_sides]}
            for cell in cells
            if cell.get("sides")
        ]
        copy = [("plain copy", f"{record['copy_gb_per_s']:.0f} GB/s")] if record["copy_gb_per_s"] else []
        self.conditions = [*record["conditions"].items(), *copy, ("command", record["command"])]

    def _times(self, cell: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {
            "name": cell["name"],
            "tokens": f"{cell['num_tokens']} tokens",
            "error": cell["error"].splitlines()[0] if cell["error"] else "",
            "ok": cell["ok"],
            "times": [],
            "speedup": {"text": "-", "word": "", "ratio": None},
            "off": "-",
        }
        if not cell.get("sides"):
            return found
        found["times"] = [_time(cell["sides"][name]) for name in self.sides]
        ratio = speedup(cell)
        if ratio is not None:
            found["speedup"] = {"text": f"{ratio:.3f}x", "word": _word(ratio), "ratio": ratio}
        off = [cell["sides"][name]["rel_l2"] for name in ("inductor", "epiq") if name in cell["sides"]]
        found["off"] = ", ".join("-" if each is None else f"{each:.1e}" for each in off)
        return found

    def _verdicts(self) -> list[str]:
        """One sentence each: where epiq is faster, where not, what failed."""
        if not self.measured:
            cells = [cell for cell in self.record["cells"] if cell.get("groups")]
            return [f"{cell['name']}: {_counted(cell)}." for cell in cells]
        ratios = {cell["name"]: cell["speedup"]["ratio"] for cell in self.cells}
        said = []
        for word in ("faster than", "as fast as", "slower than"):
            found = [f"{n} ({r:.2f}x)" for n, r in ratios.items() if r and word.startswith(_word(r))]
            if found:
                said.append(f"{word.capitalize()} Inductor at its best: {', '.join(found)}.")
        failed = [name for name, ratio in ratios.items() if ratio is None]
        wrong = [cell["name"] for cell in self.cells if not cell["ok"] and cell["name"] not in failed]
        said += [f"Not measured: {', '.join(failed)}."] if failed else []
        said += [f"Output too far from eager's: {', '.join(wrong)}."] if wrong else []
        return said

    def _bars(self, cell: Mapping[str, Any]) -> dict[str, Any] | None:
        if not self.measured:
            return _byte_bars(cell)
        profiled = {name: side for name, side in cell.get("sides", {}).items() if side["kernels"]}
        profiled.pop("eager", None)
        if not profiled:
            return None
        totals = {name: sum(k["time_us"] for k in side["kernels"]) for name, side in profiled.items()}
        longest = max(totals.values())
        bars = []
        for name, side in profiled.items():
            by_kind: dict[str, float] = defaultdict(float)
            for kernel in side["kernels"]:
                by_kind[kernel["kind"]] += kernel["time_us"]
            parts = [_part(kind, by_kind[kind], longest) for kind in KINDS if by_kind[kind]]
            spoken = ", ".join(part["text"] for part in parts)
            bars.append({"side": name, "parts": parts, "spoken": spoken, "total": duration(totals[name])})
        kernels = [_kernel_rows(name, side) for name, side in profiled.items()]
        return {"name": cell["name"], "bars": bars, "kernels": kernels}

    def _groups(self, cell: Mapping[str, Any]) -> dict[str, Any]:
        timed = {k["name"]: k for k in cell.get("sides", {}).get("epiq", {}).get("kernels", ())}
        copy = self.record["copy_gb_per_s"]
        rows, points = [], []
        for group in cell["groups"]:
            row = {
                "name": group["name"],
                "parts": ", ".join(group["parts"]),
                "count": group["count"],
                "kernels_before": group["unfused_kernels"],
                "before": megabytes(group["unfused_bytes"]),
                "after": megabytes(group["bytes"]),
                "time": "-", "fraction": "-", "percent": None,
            }  # fmt: skip
            kernel = timed.get(group["name"])
            if kernel and kernel["launches"]:
                time_us = kernel["time_us"] / kernel["launches"]
                rate = group["bytes"] / time_us / 1e3
                row["time"] = f"{time_us:.1f}"
                row["fraction"] = (
                    f"{100 * rate / copy:.0f} %, {rate:.0f} GB/s" if copy else f"{rate:.0f} GB/s"
                )
                row["percent"] = min(100.0, round(100 * rate / copy, 1)) if copy else None
                points.append(Point(group["name"], group["bytes"], time_us))
            rows.append(row)
        chart = Markup(roofline(points, copy))
        return {"name": cell["name"], "rows": rows, "chart": chart, "summary": _summary(cell)}


def speedup(cell: Mapping[str, Any]) -> float | None:
    """The median of the faster Inductor over epiq's; None where one was not measured."""
    sides = cell.get("sides", {})
    ours = sides.get("epiq", {}).get("timing")
    theirs = [
        s["timing"]["median_us"] for name, s in sides.items() if name.startswith("inductor") and s["timing"]
    ]
    return min(theirs) / ours["median_us"] if ours and theirs else None


def duration(time_us: float) -> str:
    """With four digits, in microseconds or milliseconds."""
    if time_us < 1e3:
        return f"{time_us:.1f} µs"
    return f"{time_us / 1e3:.3f} ms" if time_us < 1e4 else f"{time_us / 1e3:.2f} ms"


def _word(ratio: float) -> str:
    if abs(ratio - 1) <= _EVEN:
        return "as fast"
    return "faster" if ratio > 1 else "slower"


def _time(side: Mapping[str, Any]) -> dict[str, Any]:
    timing = side["timing"]
    if timing is None:
        return {
            "text": "failed",
            "range": side["error"].splitlines()[0] if side["error"] else "",
            "failed": True,
        }
    low, high = duration(timing["p10_us"]), duration(timing["p90_us"])
    spread = f"{low.split()[0]} to {high}" if low[-2:] == high[-2:] else f"{low} to {high}"
    return {"text": duration(timing["median_us"]), "range": spread, "failed": False}


def _seconds(side: Mapping[str, Any]) -> str:
    return f"{side['compile_s']:.1f}" if side["compile_s"] else "-"


def _part(kind: str, time_us: float, longest: float) -> dict[str, Any]:
    text = f"{KINDS[kind]} {duration(time_us)}"
    return {"kind": kind, "percent": round(100 * time_us / longest, 2), "text": text}


def _kernel_rows(name: str, side: Mapping[str, Any]) -> dict[str, Any]:
    rows = [
        {
            "name": k["name"],
            "kind": KINDS[k["kind"]],
            "launches": f"{k['launches']:g}",
            "time": f"{k['time_us']:.1f}",
        }
        for k in side["kernels"]
    ]
    return {"name": name, "launches": f"{side['launches']:g}", "rows": rows}


def _byte_bars(cell: Mapping[str, Any]) -> dict[str, Any] | None:
    groups = cell.get("groups")
    if not groups:
        return None
    before = sum(g["unfused_bytes"] * g["count"] for g in groups)
    after = sum(g["bytes"] * g["count"] for g in groups)
    bars = [
        {
            "side": side,
            "parts": [
                {"kind": kind, "percent": round(100 * size / before, 2), "text": f"{megabytes(size)} MB"}
            ],
            "spoken": f"{megabytes(size)} MB",
            "total": f"{megabytes(size)} MB",
        }
        for side, kind, size in (("before", "other", before), ("after", "epiq", after))
    ]
    return {"name": cell["name"], "bars": bars, "kernels": []}


def _counted(cell: Mapping[str, Any]) -> str:
    before = sum(g["unfused_kernels"] * g["count"] for g in cell["groups"])
    after = sum(g["count"] for g in cell["groups"])
    bytes_before = sum(g["unfused_bytes"] * g["count"] for g in cell["groups"])
    less = 100 - 100 * sum(g["bytes"] * g["count"] for g in cell["groups"]) / bytes_before
    return f"{before} kernels become {after}, with {less:.0f} % fewer bytes"


def _summary(cell: Mapping[str, Any]) -> str:
    left = ", ".join(f"{count} {op}" for op, count in list(cell["other_nodes"].items())[:6])
    text = f"{cell['fused']} of {cell['quantizations']} quantizations fused; {_counted(cell)}."
    return text + (f" Beside them: {left}." if left else "")
