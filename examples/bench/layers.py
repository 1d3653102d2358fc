"""Times Llama-3-8B-shaped decoder layers, block FP8: eager, Inductor and epiq in one process.

    python examples/bench/layers.py --out examples/reports          # on a Hopper GPU, about 6 minutes
    python examples/bench/layers.py --smoke --device cpu            # checks that it runs; times mean nothing

Every cell of the grid compiles both sides, checks their outputs against eager with the graph's
output poisoned before, then times CUDA-graph replays of both, interleaved, L2 warm, eager launches
between them; then torch's profiler says which kernels the time went to. Prints a table, and writes
layers.json and layers.md. A cell that fails is reported and the rest goes on; the exit code is 1 when a
cell failed or an output was off.
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import subprocess
import sys
import time
import traceback
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import triton

from epiq.report.compare import Comparison, Side, compare

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from models.llama import LLAMA_3_8B, NARROW, Llama, example_inputs

# The shape that matters most comes first, should the time run out.
GRID = "4x2048,1x8192,1x1024,1x128"
TOP_KERNELS = 12


def main() -> int:
    args = parse_arguments()
    device = torch.device(args.device)
    config, layers, cells = LLAMA_3_8B, args.layers, parse_grid(args.grid)
    if args.smoke:
        config, layers, cells, args.repeats = NARROW, 1, [(1, 32)], 3
    start = time.perf_counter()
    print(f"machine: {describe_machine(device)}", flush=True)
    torch.manual_seed(0)
    model = Llama(config, num_layers=layers, device=device)
    copy_gb_per_s = measure_copy(device)
    print(f"plain copy of 1 GiB: {copy_gb_per_s:.0f} GB/s" if copy_gb_per_s else "no copy measured")

    results: list[dict[str, Any]] = []
    for number, (batch, seq_len) in enumerate(cells, 1):
        used = time.perf_counter() - start
        if used > args.budget_s:
            print(f"[{number}/{len(cells)}] {batch}x{seq_len}: left out, {used:.0f} s are used", flush=True)
            results.append({"batch": batch, "seq_len": seq_len, "error": "left out: out of time"})
            continue
        print(f"[{number}/{len(cells)}] {batch} x {seq_len} tokens ...", flush=True)
        cell = run_cell(model, batch, seq_len, args)
        results.append(cell)
        print(f"    {summary_line(cell)} ({time.perf_counter() - start - used:.0f} s)", flush=True)

    record = {
        "command": shlex.join(["python", "examples/bench/layers.py", *sys.argv[1:]]),
        "machine": describe_machine(device),
        "copy_gb_per_s": copy_gb_per_s,
        "model": {**asdict(config), "num_layers": layers},
        "attention": args.attention,
        "repeats": args.repeats,
        "cells": results,
    }
    text = render_markdown(record)
    print(text)
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "layers.json").write_text(json.dumps(record, indent=1) + "\n")
        (args.out / "layers.md").write_text(text + "\n")
    good = sum(bool(cell.get("ok")) for cell in results)
    print(f"layers: {good} of {len(results)} cells ran and are right, {time.perf_counter() - start:.0f} s")
    return 0 if good == len(results) else 1


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Times decoder layers: eager, Inductor, epiq.")
    parser.add_argument("--grid", default=GRID, help="BATCHxSEQ_LEN, separated by commas")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=30, help="timed calls of each compiled side")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--attention", choices=("cudnn", "default"), default="cudnn")
    parser.add_argument("--no-profile", action="store_true", help="no time per kernel")
    parser.add_argument("--budget-s", type=float, default=300, help="no new cell after so many seconds")
    parser.add_argument("--smoke", action="store_true", help="one narrow layer, three calls")
    parser.add_argument("--out", type=Path, help="folder for layers.json and layers.md")
    return parser.parse_args()


def parse_grid(text: str) -> list[tuple[int, int]]:
    """`4x2048,1x128` -> [(4, 2048), (1, 128)]."""
    cells = [cell.split("x") for cell in text.split(",")]
    if any(len(cell) != 2 or not all(part.isdigit() for part in cell) for cell in cells):
        raise SystemExit(f"--grid {text!r} is not of the form BATCHxSEQ_LEN,...")
    return [(int(batch), int(seq_len)) for batch, seq_len in cells]


def run_cell(model: Llama, batch: int, seq_len: int, args: argparse.Namespace) -> dict[str, Any]:
    """One shape as plain JSON values; `error` when it could not be measured."""
    cell: dict[str, Any] = {"batch": batch, "seq_len": seq_len}
    try:
        inputs = example_inputs(model, batch, seq_len)
        with attention_choice(args.attention, inputs[0].device):
            comparison = compare(model, inputs, repeats=args.repeats, profile=not args.no_profile)
    except Exception as error:  # The other cells are still worth their time.
        return {**cell, "error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc(limit=-6)}
    finally:
        if args.device == "cuda":
            torch.cuda.empty_cache()
    return {**cell, **as_json(comparison)}


def attention_choice(name: str, device: torch.device) -> Any:
    """The same attention kernel for every side."""
    if name == "default" or device.type != "cuda":
        return nullcontext()
    from torch.nn.attention import SDPBackend, sdpa_kernel

    order = [
        SDPBackend.CUDNN_ATTENTION,
        SDPBackend.FLASH_ATTENTION,
        SDPBackend.EFFICIENT_ATTENTION,
        SDPBackend.MATH,
    ]
    return sdpa_kernel(order, set_priority=True)


def as_json(comparison: Comparison) -> dict[str, Any]:
    return {
        "ok": comparison.ok,
        "speedup": comparison.speedup(),
        "sides": {name: side_as_json(side) for name, side in comparison.sides.items()},
    }


def side_as_json(side: Side) -> dict[str, Any]:
    return {
        "error": side.error,
        "compile_s": round(side.compile_s, 1),
        "fused_kernels": side.fused_kernels,
        "rel_l2": side.rel_l2,
        "graphed": side.graphed,
        "timing": asdict(side.timing) if side.timing else None,
        "launches": side.launches(),
        "time_us_by_kind": side.time_us_by_kind(),
        "kernels": [asdict(kernel) for kernel in side.kernels[:TOP_KERNELS]],
    }


def measure_copy(device: torch.device) -> float:
    """GB/s of a 1 GiB copy, reads plus writes: the roof of that day. 0 without a GPU."""
    if device.type != "cuda":
        return 0.0
    source = torch.empty(2**30, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    start = torch.cuda.Event(enable_timing=True)
    end = torch.cuda.Event(enable_timing=True)
    for _ in range(3):
        target.copy_(source)
    start.record()
    for _ in range(10):
        target.copy_(source)
    end.record()
    torch.cuda.synchronize()
    return 10 * 2 * 2**30 / (start.elapsed_time(end) * 1e-3) / 1e9


def describe_machine(device: torch.device) -> str:
    versions = f"torch {torch.__version__}, triton {triton.__version__}, python {platform.python_version()}"
    if device.type != "cuda":
        return f"CPU {platform.machine()}, {versions}"
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "-i", "0"]
    try:
        driver = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        driver = "unknown"
    return f"{torch.cuda.get_device_name(device)}, driver {driver}, CUDA {torch.version.cuda}, {versions}"


def summary_line(cell: dict[str, Any]) -> str:
    if "sides" not in cell:
        return f"failed: {cell['error']}"
    parts = []
    for name, side in cell["sides"].items():
        timing = side["timing"]
        said = f"{timing['median_us']:.0f} us" if timing else f"failed: {side['error'].splitlines()[0]}"
        parts.append(f"{name} {said}")
    speedup = f", {cell['speedup']:.3f}x Inductor" if cell["speedup"] else ""
    return ", ".join(parts) + speedup + ("" if cell["ok"] else ", OUTPUT OFF OR NOT RUN")


def render_markdown(record: dict[str, Any]) -> str:
    """The report: one table of times, one of where they went."""
    lines = [
        "# Llama-3-8B-shaped decoder layers, block FP8",
        "",
        f"{record['model']['num_layers']} layers, hidden {record['model']['hidden_size']}, "
        f"intermediate {record['model']['intermediate_size']}, random weights, 1x128 activation and 128x128 "
        f"weight scales. Attention: {record['attention']}.",
        f"{record['machine']}.",
        f"Plain copy of 1 GiB: {record['copy_gb_per_s']:.0f} GB/s." if record["copy_gb_per_s"] else "",
        "Medians (p10-p90) in microseconds; compiled sides as CUDA-graph replays, interleaved, L2 warm.",
        f"Command: `{record['command']}`",
        "",
        "| B x S | eager | Inductor | epiq | speedup | |y - eager| / |eager|: Inductor, epiq |".replace(
            "|y - eager| / |eager|", "error against eager"
        ),
        "|---|---|---|---|---|---|",
    ]
    lines += [_time_row(cell) for cell in record["cells"]]
    profiled = [c for c in record["cells"] if any(s.get("kernels") for s in c.get("sides", {}).values())]
    if profiled:
        lines += ["", "Where the time goes, microseconds (kernels launched) by torch's profiler:", ""]
        lines += ["| B x S | side | GEMM | attention | epiq | Inductor's Triton | other | launches |"]
        lines += ["|---|---|---|---|---|---|---|---|"]
        lines += [_kind_row(cell, name) for cell in profiled for name in cell["sides"]]
    for cell in profiled[:1]:
        for name in ("inductor", "epiq"):
            lines += _kernel_rows(cell, name)
    return "\n".join(lines)


def _time_row(cell: dict[str, Any]) -> str:
    shape = f"{cell['batch']} x {cell['seq_len']}"
    if "sides" not in cell:
        return f"| {shape} | failed: {cell['error'].splitlines()[0]} | | | | |"
    cells = []
    for side in cell["sides"].values():
        timing = side["timing"]
        if timing is None:
            cells.append(f"failed: {side['error'].splitlines()[0]}")
            continue
        cells.append(f"{timing['median_us']:.0f} ({timing['p10_us']:.0f}-{timing['p90_us']:.0f})")
    errors = [cell["sides"][name]["rel_l2"] for name in ("inductor", "epiq")]
    said = ", ".join("-" if error is None else f"{error:.1e}" for error in errors)
    speedup = f"{cell['speedup']:.3f}x" if cell["speedup"] else "-"
    return f"| {shape} | {' | '.join(cells)} | {speedup} | {said} |"


def _kind_row(cell: dict[str, Any], name: str) -> str:
    side = cell["sides"][name]
    kinds = ("gemm", "attention", "epiq", "inductor", "other")
    times = " | ".join(f"{side['time_us_by_kind'].get(kind, 0.0):.0f}" for kind in kinds)
    return f"| {cell['batch']} x {cell['seq_len']} | {name} | {times} | {side['launches']:.0f} |"


def _kernel_rows(cell: dict[str, Any], name: str) -> list[str]:
    kernels = cell["sides"][name]["kernels"]
    title = f"Longest kernels of {name} at {cell['batch']} x {cell['seq_len']}:"
    rows = [f"| `{k['name'][:90]}` | {k['launches']:.0f} | {k['time_us']:.1f} |" for k in kernels]
    return ["", title, "", "| kernel | launches | us |", "|---|---|---|", *rows]


if __name__ == "__main__":
    sys.exit(main())
