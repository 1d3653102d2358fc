"""The report of row_programs.py: a table of all cells, means, and what this project promises of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

Cell = dict[str, Any]

PEERS = {"inductor": "Inductor", "vllm": "vLLM", "helion": "Helion"}
# (program, peer) -> the least geometric mean of the speedup over its cells, L2 warm.
PROMISED_MEANS = {
    ("add_rms_norm_group", "inductor"): 1.33,
    ("add_rms_norm_group", "vllm"): 1.50,
    ("add_rms_norm_static", "inductor"): 1.05,
    ("add_rms_norm_token", "inductor"): 1.05,
    ("silu_mul_group", "inductor"): 1.30,
}
# From so many tokens on, programs move their bytes at this part of a copy's rate, L2 flushed; less is asked
# of tensors that are small together.
COPY_TOKENS, COPY_PART, SMALL_BYTES, SMALL_COPY_PART = 4096, 0.95, 200 << 20, 0.92
COPY_PROGRAMS = ("add_rms_norm_group", "silu_mul_group")
# No cell is slower than the fastest peer by more than this.
MAX_BEHIND = 0.03


def speedup(result: Cell, mode: str, over: str = "inductor") -> float | None:
    """Median time of `over` divided by ours, None where it was not measured."""
    times = result.get(mode, {})
    if "epiq" not in times or over not in times:
        return None
    return float(times[over]["median_us"]) / float(times["epiq"]["median_us"])


def over_best(result: Cell, mode: str) -> float | None:
    """Speedup over the fastest peer."""
    gains = [gain for peer in PEERS if (gain := speedup(result, mode, peer)) is not None]
    return min(gains, default=None)


def passed(result: Cell) -> bool:
    checks = result.get("checks", {})
    return bool(checks.get("within_bounds", False) and checks.get("fused_is_unfused", True))


def measured_peers(cells: Sequence[Cell]) -> list[str]:
    """Those that took part in some cell; Inductor has its columns in any case."""
    return [
        peer for peer in PEERS if peer == "inductor" or any(peer in cell.get("warm", {}) for cell in cells)
    ]


def as_markdown(report: dict[str, Any]) -> str:
    """Promises and means first, then every cell."""
    cells = report["cells"]
    peers = measured_peers(cells)
    over = " | ".join(f"over {PEERS[peer]}" for peer in peers)
    times = " | ".join(f"{name} us" for name in [*(PEERS[peer] for peer in peers), "epiq"])
    lines = [
        f"# Row programs on {report['device']}",
        "",
        f"`{report['command']}`",
        "",
        report["conditions"],
        "",
    ]
    lines += ["| promise | measured |", "|---|---|", *promises(cells), ""]
    lines += [
        "Geometric means of the speedup, L2 warm (flushed):",
        "",
        f"| program | cells | {over} | of the copy's rate |",
        "|---|---|" + "---|" * len(peers) + "---|",
        *means(cells, peers),
        "",
        "Speedups below are L2 warm, and flushed in brackets; times are medians (p10-p90).",
        "The copy, flushed, is the fastest plain copy of as many bytes.",
        "",
        f"| program | T x H | {times} | {over} | of copy | ok |",
        "|---|---|" + "---|" * 2 * len(peers) + "---|---|---|",
        *(row(cell, peers) for cell in cells),
    ]
    return "\n".join(lines) + "\n"


def row(result: Cell, peers: Sequence[str]) -> str:
    shape = f"{result['tokens']} x {result['width']}"
    if "error" in result:
        return f"| {result['program']} | {shape} |{' |' * (2 * len(peers) + 2)} {result['error'][:100]} |"
    warm = result["warm"]
    ours = warm["epiq"]
    fields = [
        result["program"],
        shape,
        *(f"{warm[peer]['median_us']:.1f}" if peer in warm else "" for peer in peers),
        f"{ours['median_us']:.1f} ({ours['p10_us']:.1f}-{ours['p90_us']:.1f})",
        *(both(speedup(result, "warm", peer), speedup(result, "flushed", peer)) for peer in peers),
        as_ratio(speedup(result, "flushed", "copy")),
        "ok" if passed(result) else "FAILED",
    ]
    return "| " + " | ".join(fields) + " |"


def means(cells: Sequence[Cell], peers: Sequence[str]) -> list[str]:
    lines = []
    for program in dict.fromkeys(cell["program"] for cell in cells):
        own = [cell for cell in cells if cell["program"] == program and "error" not in cell]
        fields = [program, str(len(own))]
        for peer in peers:
            fields.append(both(*(geomean(own, mode, peer) for mode in ("warm", "flushed"))))
        fields.append(as_ratio(geomean(own, "flushed", "copy")))
        lines.append("| " + " | ".join(fields) + " |")
    return lines


def promises(cells: Sequence[Cell]) -> list[str]:
    """Each promise with what was measured, losing cells by name."""
    lines = []
    for (program, peer), least in PROMISED_MEANS.items():
        own = [cell for cell in cells if cell["program"] == program]
        mean = geomean(own, "warm", peer)
        said = "not measured" if mean is None else f"{mean:.2f}x over {len(own)} cells"
        lines.append(f"| {program}: geometric mean at least {least:.2f}x of {PEERS[peer]} | {said} |")

    def asked(cell: Cell) -> float:
        return SMALL_COPY_PART if cell["bytes_moved"] < SMALL_BYTES else COPY_PART

    large = [
        cell
        for cell in cells
        if cell["program"] in COPY_PROGRAMS and cell["tokens"] >= COPY_TOKENS and "error" not in cell
    ]
    rate = listed(large, lambda cell: speedup(cell, "flushed", "copy"), asked)
    lines.append(
        f"| from {COPY_TOKENS} tokens on, at least {COPY_PART} of a copy's rate, flushed "
        f"({SMALL_COPY_PART} under {SMALL_BYTES >> 20} MB) | {rate} |"
    )
    for mode in ("warm", "flushed"):
        behind = listed(cells, lambda cell: over_best(cell, mode), lambda cell: 1.0 - MAX_BEHIND)  # noqa: B023
        lines.append(f"| no cell more than {MAX_BEHIND:.0%} behind the fastest peer, {mode} | {behind} |")
    return lines


def listed(
    cells: Iterable[Cell], value: Callable[[Cell], float | None], least: Callable[[Cell], float]
) -> str:
    """How many cells reach what is asked of them, and which do not."""
    known = [(cell, found) for cell in cells if (found := value(cell)) is not None]
    if not known:
        return "not measured"
    bad = [(cell, found) for cell, found in known if found < least(cell)]
    names = [f"{cell['program']} {cell['tokens']} x {cell['width']}: {found:.2f}" for cell, found in bad]
    worst = min(found for _, found in known)
    return f"{len(known) - len(bad)} of {len(known)}, worst {worst:.2f}" + "".join(
        f"; {name}" for name in names
    )


def geomean(cells: Iterable[Cell], mode: str, over: str) -> float | None:
    logs = [math.log(gain) for cell in cells if (gain := speedup(cell, mode, over)) is not None]
    return math.exp(sum(logs) / len(logs)) if logs else None


def as_ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}x"


def both(warm: float | None, flushed: float | None) -> str:
    return "" if warm is None else f"{warm:.2f}x ({as_ratio(flushed)})"
