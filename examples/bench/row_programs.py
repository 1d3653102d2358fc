"""Times fused row programs against Inductor and a plain copy, and checks each before timing it.

    python examples/bench/row_programs.py --out results            # about six minutes on one Hopper GPU
    python examples/bench/row_programs.py --device cpu --smoke     # tiny shapes, no GPU: does it run?

For each program of programs.py and each shape: torch.compile(fn, backend="epiq") and torch.compile(fn) are
captured as CUDA graphs, given fresh inputs and poisoned outputs, compared with eager torch, then timed in
turns, with the L2 cache warm and flushed. With --vllm and --helion, those projects' fused kernels take part:
from the folder of vLLM's extension libraries, and that of Helion's pretuned kernels. A cell that fails is
recorded and the rest goes on. Writes results.json and results.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
import triton
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))

from measure import Graph, Timing, bytes_of, copy_roof, time_graphs, time_host
from peers import load_peers, peer_of
from programs import E4M3, PROGRAMS, Program
from row_report import as_markdown, passed, speedup

TOKENS = (8192, 1, 1024, 16, 4096, 256, 64)
# Eager sums in another order, which can flip the rounding of a bf16 now and then.
# Of few scales, two may differ.
MAX_SCALE_ERROR, CLOSE_SCALES, MAX_BYTES_DIFFERING = 2.0**-7, 0.999, 0.002
FEW_SCALES = 2


@dataclasses.dataclass(frozen=True)
class Cell:
    """One row of the table."""

    program: str
    tokens: int
    width: int

    def __str__(self) -> str:
        return f"{self.program} {self.tokens} x {self.width}"


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="folder for results.json and results.md")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument(
        "--smoke", action="store_true", help="tiny shapes, one a program; Inductor for the first alone"
    )
    parser.add_argument("--no-baseline", action="store_true", help="leave Inductor out")
    parser.add_argument("--only", default="", help="programs whose name contains this")
    parser.add_argument("--tokens", type=int, nargs="+", default=TOKENS)
    parser.add_argument("--rounds", type=int, default=60, help="timed replays of each, in each L2 mode")
    parser.add_argument("--vllm", type=Path, help="folder of vLLM's extension libraries")
    parser.add_argument("--helion", type=Path, help="pretuned_kernels of Helion's repository")
    parser.add_argument(
        "--processes", type=int, default=0, help="fill the compilers' caches with these first"
    )
    parser.add_argument("--budget-s", type=float, default=330.0, help="cells after this time are left out")
    return parser.parse_args(arguments)


def choose_cells(options: argparse.Namespace) -> list[Cell]:
    """All programs by number of tokens, so that a budget cuts the tail."""
    names = [name for name in PROGRAMS if options.only in name]
    if options.smoke:
        return [Cell(name, 4, 256) for name in names]
    return [Cell(name, t, width) for t in options.tokens for name in names for width in PROGRAMS[name].widths]


def fill_caches(cells: Sequence[Cell], options: argparse.Namespace) -> None:
    """Compiles every cell with all contenders in other processes, so that compilers' caches hold it."""
    context = multiprocessing.get_context("spawn")
    jobs = [(cell, options.vllm, options.helion) for cell in cells]
    with ProcessPoolExecutor(options.processes, context, initializer=_one_compile_thread) as pool:
        refused = [reason for reason in pool.map(_compile_cell, jobs) if reason]
    print(f"{len(cells)} cells compiled ahead, {len(refused)} refused {refused[:2]}", flush=True)


def _one_compile_thread() -> None:
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"


def _compile_cell(job: tuple[Cell, Path | None, Path | None]) -> str:
    cell, vllm, helion = job
    program = PROGRAMS[cell.program]
    inputs = program.inputs(cell.tokens, cell.width, "cuda", 1)
    try:
        with torch.no_grad():
            for backend in ("epiq", "inductor"):
                compiled_by(program.fn, backend)(*inputs)
            for lookup in load_peers(vllm, helion).values():
                if (peer := peer_of(lookup, cell.program, inputs)) is not None:
                    peer()
        torch.cuda.synchronize()
    except Exception as error:
        return f"{cell}: {type(error).__name__}: {error}"[:300]
    return ""


def compiled_by(
    fn: Callable[..., tuple[Tensor, ...]], backend: str, **options: Any
) -> Callable[..., tuple[Tensor, ...]]:
    """`fn` compiled for the shapes at hand; each call compiles anew."""
    torch._dynamo.reset()
    if backend == "inductor":
        return torch.compile(fn, dynamic=False, fullgraph=True)
    options = {"epiq.strict": True, "epiq.fail_on_unfused": True, **options}
    return torch.compile(fn, backend="epiq", dynamic=False, fullgraph=True, options=options)


def strides(tensor: Tensor) -> list[int]:
    """Strides of the dimensions that are more than one long; the others mean nothing."""
    return [stride for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1]


def compare(got: Sequence[Tensor], want: Sequence[Tensor]) -> dict[str, float]:
    """How far outputs are from eager's: the shares that the bounds speak of.

    Raises: AssertionError if a shape, dtype or stride differs.
    """
    found = {"scales_close": 1.0, "scale_error": 0.0, "bytes_differing": 0.0, "other_error": 0.0}
    for mine, theirs in zip(got, want, strict=True):
        assert (mine.shape, mine.dtype) == (theirs.shape, theirs.dtype), f"{mine.shape} {mine.dtype}"
        assert strides(mine) == strides(theirs), f"strides {mine.stride()}, eager's are {theirs.stride()}"
        if mine.dtype == E4M3:
            found["bytes_differing"] = (bytes_of(mine) != bytes_of(theirs)).double().mean().item()
            continue
        error = (mine.double() - theirs.double()).abs() / theirs.double().abs().clamp(min=1e-30)
        if mine.dtype == torch.float32:
            apart = max(0, int((error > 1e-6).sum()) - FEW_SCALES)
            found["scales_close"] = 1.0 - apart / max(error.numel(), 1)
            found["scale_error"] = error.max().item()
        else:
            found["other_error"] = error.max().item()
    return found


def within_bounds(found: dict[str, float]) -> bool:
    """The promise: scales, FP8 bytes, and the residual, which has no sum and so must be equal."""
    return (
        found["scales_close"] >= CLOSE_SCALES
        and found["scale_error"] <= MAX_SCALE_ERROR
        and found["bytes_differing"] < MAX_BYTES_DIFFERING
        and found["other_error"] == 0.0
    )


def same_bits(got: Sequence[Tensor], want: Sequence[Tensor]) -> bool:
    """Whether all outputs have equal bytes and strides."""
    return all(
        strides(mine) == strides(theirs) and torch.equal(bytes_of(mine), bytes_of(theirs))
        for mine, theirs in zip(got, want, strict=True)
    )


def fused_is_unfused(program: Program, inputs: Sequence[Tensor]) -> bool:
    """Whether one kernel gives the bits of several. Untuned: the number of warps decides a sum's order."""
    fixed = {"epiq.autotune": "off"}
    unfused = compiled_by(program.fn, "epiq", **fixed, **{"epiq.fuse": False, "epiq.fail_on_unfused": False})
    want = unfused(*inputs)
    return same_bits(compiled_by(program.fn, "epiq", **fixed)(*inputs), want)


class Contender:
    """A compiled function on fixed input tensors: as a CUDA graph on a GPU, as a plain call elsewhere."""

    def __init__(self, fn: Callable[..., tuple[Tensor, ...]], inputs: Sequence[Tensor], device: str) -> None:
        start = time.perf_counter()
        fn(*inputs)
        self._call = lambda: fn(*inputs)
        self._graph = Graph(self._call) if device == "cuda" else None
        self.compile_s = time.perf_counter() - start

    def run(self) -> None:
        if self._graph is None:
            self._call()
        else:
            self._graph.replay()

    def outputs(self) -> tuple[Tensor, ...]:
        """Fresh outputs; on a GPU what is not written is NaN."""
        if self._graph is None:
            return self._call()
        self._graph.poison()
        self._graph.replay()
        torch.cuda.synchronize()
        return self._graph.outputs


def run_cell(
    cell: Cell, options: argparse.Namespace, *, baseline: bool, check_unfused: bool
) -> dict[str, Any]:
    """Compiles, checks and times one cell; what it returns is plain JSON."""
    program: Program = PROGRAMS[cell.program]
    inputs = program.inputs(cell.tokens, cell.width, options.device, 1)
    contenders = {"epiq": Contender(compiled_by(program.fn, "epiq"), inputs, options.device)}
    if baseline:
        contenders["inductor"] = Contender(compiled_by(program.fn, "inductor"), inputs, options.device)
    for kept, fresh in zip(inputs, program.inputs(cell.tokens, cell.width, options.device, 2), strict=True):
        kept.copy_(fresh)
    eager = program.fn(*inputs)
    checks: dict[str, Any] = {name: compare(one.outputs(), eager) for name, one in contenders.items()}
    checks["within_bounds"] = within_bounds(checks["epiq"])
    if check_unfused:
        checks["fused_is_unfused"] = fused_is_unfused(program, inputs)
    moved = sum(bytes_of(tensor).numel() for tensor in (*inputs, *eager))
    result: dict[str, Any] = {
        **dataclasses.asdict(cell),
        "bytes_moved": moved,
        "checks": checks,
        "compile_s": {name: round(one.compile_s, 2) for name, one in contenders.items()},
    }
    runs = {name: one.run for name, one in contenders.items()}
    if options.device == "cpu":
        return result | {"warm": as_json(time_host(runs, rounds=2))}
    roof, graph = copy_roof(moved)
    runs["copy"] = graph.replay
    kept = []
    for name, lookup in load_peers(options.vllm, options.helion).items():
        try:
            if (peer := peer_of(lookup, cell.program, inputs)) is not None:
                kept.append(Graph(peer))
                runs[name] = kept[-1].replay
        except Exception as error:
            result.setdefault("peers_refused", {})[name] = f"{type(error).__name__}: {error}"[:300]
    result["roof"] = roof
    for mode in ("warm", "flushed"):
        timings = time_graphs(runs, rounds=options.rounds, flush=mode == "flushed")
        result[mode] = as_json(timings)
    return result


def as_json(timings: dict[str, Timing]) -> dict[str, dict[str, float]]:
    return {name: timing.as_json() for name, timing in timings.items()}


def describe(result: dict[str, Any]) -> str:
    """One progress line's worth."""
    if "error" in result:
        return f"FAILED: {result['error']}"
    parts = []
    for mode in ("warm", "flushed"):
        if mode in result:
            times = ", ".join(f"{name} {one['median_us']:.1f}" for name, one in result[mode].items())
            gain = speedup(result, mode)
            parts.append(f"{mode} us: {times}" + (f" ({gain:.2f}x)" if gain else ""))
    checks = result["checks"]
    good = checks["within_bounds"] and checks.get("fused_is_unfused", True)
    return "; ".join([*parts, "checks ok" if good else f"CHECKS FAILED {checks}"])


def conditions(device: str) -> str:
    timed = "CUDA-graph replays of one call, taken in turns, median; the queue filled ahead"
    versions = f"torch {torch.__version__}, triton {triton.__version__}, Python {platform.python_version()}"
    return f"bf16 in, e4m3 out. {timed if device == 'cuda' else 'Wall clock'}. {versions}."


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device: use --device cpu --smoke to see whether this runs")
        return 2
    cells = choose_cells(options)
    report: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if options.device == "cuda" else platform.processor() or "CPU",
        "command": "python examples/bench/row_programs.py " + " ".join(arguments or sys.argv[1:]),
        "conditions": conditions(options.device),
        "cells": [],
    }
    if options.vllm or options.helion:
        report["conditions"] += (
            " vLLM's and Helion's kernels add the residual in place: a tensor less to write."
        )
    start, unfused_checked = time.perf_counter(), set()
    if options.processes:
        fill_caches(cells, options)
    with torch.no_grad():
        for index, cell in enumerate(cells, 1):
            began = time.perf_counter()
            if began - start > options.budget_s:
                print(f"{len(cells) - index + 1} cells are left out: {options.budget_s:g} s are over")
                break
            group = (cell.program, cell.width)
            try:
                # A smoke run is to be quick: one cell shows that the rest of the script works.
                baseline = not options.no_baseline and (index == 1 or not options.smoke)
                unchecked = index == 1 if options.smoke else group not in unfused_checked
                result = run_cell(cell, options, baseline=baseline, check_unfused=unchecked)
                unfused_checked.add(group)
            except Exception as error:
                traceback.print_exc(limit=-6)
                said = " ".join(str(error).split("\n")[:3])
                result = dataclasses.asdict(cell) | {"error": f"{type(error).__name__}: {said}"}
            report["cells"].append(result)
            took = time.perf_counter() - began
            print(f"[{index}/{len(cells)}] {cell}: {describe(result)} ({took:.1f} s)", flush=True)
            write(options.out, report)
    bad = [result for result in report["cells"] if not passed(result)]
    print(as_markdown(report))
    print(f"{len(report['cells'])} cells, {len(bad)} failed, {time.perf_counter() - start:.0f} s")
    return 1 if bad else 0


def write(folder: Path | None, report: dict[str, Any]) -> None:
    """What is there so far, so that a run that is cut off leaves its results."""
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(report, indent=1))
    (folder / "results.md").write_text(as_markdown(report))


if __name__ == "__main__":
    sys.exit(main())
