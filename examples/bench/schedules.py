"""Times the schedules that a row program could have: what the model in epiq.pipeline.schedule is fitted to.

    python examples/bench/schedules.py --out results               # about five minutes on one Hopper GPU

    python examples/bench/schedules.py --device cpu --smoke --out results    # no GPU: does it run?

For each program of programs.py, width and number of tokens: every schedule in reach is compiled (in
parallel), captured as a CUDA graph and timed in turns, with the L2 cache warm and flushed. Writes
schedules.json: for each cell the time of each schedule, and which one the model chooses.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode

sys.path.insert(0, str(Path(__file__).parent))

from measure import Graph, time_graphs
from programs import PROGRAMS

from epiq.codegen import Target
from epiq.frontend import capture
from epiq.pipeline import RowProgram, Schedule, default_schedule
from epiq.pipeline.candidates import all_schedules
from epiq.runtime.gpu import Launcher, compile_program, device_target, make_launcher

TOKENS = (1, 16, 64, 256, 1024, 4096, 8192)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for schedules.json")
    parser.add_argument("--only", default="", help="programs whose name contains this")
    parser.add_argument("--widths", type=int, nargs="+", help="these widths alone")
    parser.add_argument("--tokens", type=int, nargs="+", default=TOKENS)
    parser.add_argument("--rounds", type=int, default=20, help="timed replays of each, in each L2 mode")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: compile only")
    parser.add_argument("--smoke", action="store_true", help="a few small kernels of one program")
    options = parser.parse_args(arguments)
    if options.smoke:
        options.only, options.widths, options.processes = "silu_mul_group_columns", [256], 1
    return options


def row_program(name: str, width: int) -> RowProgram:
    """The one row program of a function of programs.py, traced for any number of tokens."""
    with FakeTensorMode():
        inputs = PROGRAMS[name].inputs(8192, width, "cpu", 1)
    for tensor in inputs:
        if tensor.dim() == 2:
            torch._dynamo.mark_dynamic(tensor, 0)
    (record,) = capture(PROGRAMS[name].fn, *inputs)
    (program,) = record.used
    return program


def key_of(schedule: Schedule) -> str:
    return " ".join(f"{name}={value}" for name, value in asdict(schedule).items() if name != "num_stages")


def prepare(job: tuple[RowProgram, Schedule, Target]) -> str:
    """Compiles into the cache on disk; says why not."""
    try:
        compile_program(*job)
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:200]
    return ""


def tensors(program: RowProgram, rows: int) -> tuple[list[Tensor], list[Tensor], list[int]]:
    """Random inputs as bytes would hold NaNs: small numbers of the right kind instead."""
    inputs = []
    for spec in program.inputs:
        count = spec.num_bytes(rows) // 2
        values = torch.randn(max(count, 8), device="cuda").bfloat16()
        if spec.dtype == "f32":
            values = torch.full((max(count // 2, 4),), 0.01, device="cuda")
        inputs.append(values)
    outputs = [
        torch.empty(max(spec.num_bytes(rows), 16), dtype=torch.uint8, device="cuda")
        for spec in program.outputs
    ]
    return inputs, outputs, [spec.row_width for spec in program.inputs if spec.row_like]


def time_cell(program: RowProgram, rows: int, launchers: dict[str, Launcher], rounds: int) -> dict[str, Any]:
    inputs, outputs, strides = tensors(program, rows)
    graphs = {}
    for name, launcher in launchers.items():

        def run(launcher: Launcher = launcher) -> tuple[Tensor, ...]:
            launcher(inputs, outputs, rows, strides)
            return tuple(outputs)

        graphs[name] = Graph(run)
    runs = {name: graph.replay for name, graph in graphs.items()}
    times: dict[str, Any] = {}
    for mode in ("warm", "flushed"):
        timed = time_graphs(runs, rounds=rounds, flush=mode == "flushed")
        times[mode] = {name: round(timing.median_us, 2) for name, timing in timed.items()}
    return times


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    target = Target(90) if options.device == "cpu" else device_target(torch.device("cuda"))
    assert target is not None
    start = time.perf_counter()
    programs = {
        (name, width): row_program(name, width)
        for name in PROGRAMS
        if options.only in name
        for width in (options.widths or PROGRAMS[name].widths)
    }
    jobs: dict[tuple[str, int], list[Schedule]] = {}
    for key, program in programs.items():
        found = [schedule for rows in options.tokens for schedule in all_schedules(program, rows, target)]
        jobs[key] = list(dict.fromkeys(found))[: 3 if options.smoke else None]
    flat = [(programs[key], schedule, target) for key, found in jobs.items() for schedule in found]
    print(f"{len(programs)} programs, {len(flat)} kernels to compile", flush=True)
    with ProcessPoolExecutor(options.processes) as pool:
        reasons = list(pool.map(prepare, flat, chunksize=4))
    bad = {(job[0].key, job[1]): reason for job, reason in zip(flat, reasons, strict=True) if reason}
    print(f"compiled in {time.perf_counter() - start:.0f} s, {len(bad)} refused", flush=True)
    for (_, schedule), reason in list(bad.items())[:5]:
        print(f"  {key_of(schedule)}: {reason}")
    if options.device == "cpu":
        return 1 if bad else 0
    report: dict[str, Any] = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "cells": []}
    options.out.mkdir(parents=True, exist_ok=True)
    for (name, width), program in programs.items():
        launchers = {
            key_of(schedule): make_launcher(program, schedule, torch.device("cuda"))
            for schedule in jobs[name, width]
            if (program.key, schedule) not in bad
        }
        for rows in options.tokens:
            chosen = key_of(default_schedule(program, rows, target))
            times = time_cell(program, rows, launchers, options.rounds)
            cell = {"program": name, "tokens": rows, "width": width, "chosen": chosen, **times}
            report["cells"].append(cell)
            warm = times["warm"]
            best = min(warm, key=warm.__getitem__)
            print(f"{name} {rows} x {width}: {warm[chosen]:.1f} us, best {warm[best]:.1f} {best}", flush=True)
        (options.out / "schedules.json").write_text(json.dumps(report))
    print(f"done in {time.perf_counter() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
