"""Fills the table of the README's first screen from the reports in this folder.

    python examples/reports/readme_table.py            # rewrites README.md
    python examples/reports/readme_table.py --check    # exit code 1 if README.md says otherwise

Reads the latest results.json (of examples/bench/row_programs.py) and layers.json (of
examples/bench/layers.py) below this folder, by the order of their paths.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
README = HERE.parents[1] / "README.md"
BEGIN, END = "<!-- table: begin (python examples/reports/readme_table.py) -->", "<!-- table: end -->"
# (program, tokens, width) of row_programs.py, and how the README calls it.
ROWS = {
    ("add_rms_norm_group", 1, 4096): "add + RMSNorm + quantize, 1 x 4096",
    ("add_rms_norm_group", 256, 4096): "add + RMSNorm + quantize, 256 x 4096",
    ("add_rms_norm_group", 8192, 7168): "add + RMSNorm + quantize, 8192 x 7168",
    ("silu_mul_group", 16, 14336): "silu_mul + quantize, 16 x 14336",
    ("silu_mul_group", 8192, 14336): "silu_mul + quantize, 8192 x 14336",
}
# Columns of the table; not all of these were part of every run.
PEERS = {"inductor": "Inductor", "vllm": "vLLM", "helion": "Helion"}
LAYERS = ((4, 2048), (1, 128))


def main() -> int:
    parser = argparse.ArgumentParser(description="Fills the README's table.")
    parser.add_argument("--check", action="store_true", help="change nothing, only compare")
    check = parser.parse_args().check
    text = README.read_text()
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        print(f"README.md has no {BEGIN} and {END}")
        return 1
    filled = f"{before}{BEGIN}\n{render()}\n{END}{after}"
    if filled == text:
        print("README.md's table is up to date")
        return 0
    if check:
        print("README.md's table differs from the reports: run python examples/reports/readme_table.py")
        return 1
    README.write_text(filled)
    print("README.md's table is rewritten")
    return 0


def render() -> str:
    """The table as Markdown, and a line on the conditions."""
    rows = latest("results.json")
    layers = latest("layers.json")
    measured = [
        peer for peer in PEERS if any(peer in cell.get("warm", {}) for cell in (rows or {}).get("cells", []))
    ]
    peers = measured or ["inductor"]
    names = " | ".join(PEERS[peer] for peer in peers)
    lines = [
        f"| FP8, groups of 128: microseconds | {names} | epiq | Inductor / epiq |",
        "|---|" + "---|" * (len(peers) + 2),
    ]
    lines += [line for key, label in ROWS.items() if (line := program_line(rows, key, label, peers))]
    lines += [line for cell in LAYERS if (line := layers_line(layers, *cell, peers))]
    if len(lines) == 2:
        lines.append("| not measured yet |" + " |" * (len(peers) + 2))
    machine = (rows or {}).get("device") or (layers or {}).get("machine", "").partition(",")[0]
    if machine:
        lines += [
            "",
            f"{machine}, CUDA graphs on both sides, medians, L2 warm; all of it in examples/reports/.",
        ]
    return "\n".join(lines)


def latest(name: str) -> dict[str, Any] | None:
    """The last report of that name that was measured on a GPU."""
    found: dict[str, Any] | None = None
    for path in sorted(HERE.rglob(name)):
        report = json.loads(path.read_text())
        if "CPU" not in (report.get("device") or report.get("machine", "")):
            found = report
    return found


def program_line(
    report: dict[str, Any] | None, key: tuple[str, int, int], label: str, peers: list[str]
) -> str:
    for cell in (report or {}).get("cells", []):
        if (cell["program"], cell["tokens"], cell["width"]) == key and "inductor" in cell.get("warm", {}):
            return table_line(label, {name: one["median_us"] for name, one in cell["warm"].items()}, peers)
    return ""


def layers_line(report: dict[str, Any] | None, batch: int, seq_len: int, peers: list[str]) -> str:
    for cell in (report or {}).get("cells", []):
        if (cell["batch"], cell["seq_len"]) != (batch, seq_len) or not cell.get("speedup"):
            continue
        label = f"{report['model']['num_layers']} Llama-3-8B-shaped layers, {batch} x {seq_len} tokens"
        return table_line(
            label, {name: side["timing"]["median_us"] for name, side in cell["sides"].items()}, peers
        )
    return ""


def table_line(label: str, times_us: dict[str, float], peers: list[str]) -> str:
    def shown(name: str) -> str:
        time_us = times_us.get(name)
        return "" if time_us is None else f"{time_us:.{1 if time_us < 1000 else 0}f}"

    gain = times_us["inductor"] / times_us["epiq"]
    return f"| {label} | {' | '.join(shown(name) for name in [*peers, 'epiq'])} | {gain:.2f}x |"


if __name__ == "__main__":
    sys.exit(main())
