"""Times matrix products with a quantized result: fused, and cuBLAS followed by a kernel.

    python examples/bench/gemms.py --out results          # on a Hopper GPU, about two minutes
    python examples/bench/gemms.py --tune --out results   # every config in reach, to fit the table
    python examples/bench/gemms.py --smoke --device cpu   # checks that it runs; times mean nothing

The sides of a case: cuBLAS alone (`torch._scaled_mm` with fast accumulation, `torch.mm`); cuBLAS and
Inductor's kernel (`torch.compile` of both); cuBLAS and epiq's row program; `epiq.kernels.matmul`. Each
quantized result is checked against f32 before anything is timed: CUDA-graph replays, interleaved, L2 warm.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import triton
from torch import Tensor

import epiq
from epiq.formats import FP8_GROUP128, dequantize
from epiq.kernels import Config, matmul
from epiq.kernels.configs import SMS, candidates, choose, resolve
from epiq.kernels.operands import Operands, check_operands
from epiq.kernels.product import compile_ahead as compile_kernel

sys.path.insert(0, str(Path(__file__).parent))
from measure import Graph, time_graphs, time_host

FP8 = torch.float8_e4m3fn
EPILOGUE = epiq.Quantize(FP8_GROUP128)


@dataclass(frozen=True)
class Case:
    """One shape; `n` counts gate and up together. scales: "none", "tensor" or "block"."""

    m: int
    n: int
    k: int
    dtype: torch.dtype
    scales: str
    gate_up: bool

    @property
    def name(self) -> str:
        form = " gate_up+silu_mul" if self.gate_up else ""
        kind = {"none": "bf16", "tensor": "fp8", "block": "fp8 block"}[self.scales]
        return f"{kind} {self.m}x{self.n}x{self.k}{form}"


CASES = [
    *(Case(m, 28672, 4096, FP8, "tensor", True) for m in (16, 512, 4096, 8192)),
    Case(512, 4096, 4096, FP8, "tensor", False),
    Case(4096, 4096, 4096, torch.bfloat16, "none", False),
    *(Case(m, 28672, 4096, FP8, "block", True) for m in (16, 64, 512, 8192)),
]
SMOKE = [Case(3, 256, 128, FP8, "block", True), Case(5, 128, 64, torch.bfloat16, "none", False)]
# Further configs that --tune tries: rows, stages and tiles down of the Gluon kernel; tiles and warps of the
# Triton ones, with and without gate and up.
GLUON = [(128, 4, 4), (128, 4, 16), (128, 3, 8), (64, 5, 8)]
TILES = {
    True: [(64, 256, 4), (128, 256, 8)],
    False: [(64, 128, 4), (128, 128, 8), (128, 256, 8)],
}


def main() -> int:
    args = parse_arguments()
    cases = (
        SMOKE
        if args.smoke
        else [case for case in CASES if any(part in case.name for part in args.only.split(","))]
    )
    if args.device == "cuda":
        compile_ahead(cases, args.tune)
    start, results, failed = time.perf_counter(), [], False
    for case in cases:
        used = time.perf_counter() - start
        if used > args.budget_s:
            print(f"{case.name}: left out, {used:.0f} s are used", flush=True)
            continue
        try:
            result = run_case(case, args)
        except Exception as error:  # One case that fails is a line of the report.
            traceback.print_exc()
            result = {"case": case.name, "error": f"{type(error).__name__}: {error}"}
        failed |= "error" in result
        results.append(result)
        print(line_of(result), flush=True)
    record = {
        "command": shlex.join(["python", "examples/bench/gemms.py", *sys.argv[1:]]),
        "machine": machine(args.device),
        "rounds": args.rounds,
        "cases": results,
    }
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "gemms.json").write_text(json.dumps(record, indent=1) + "\n")
    return 1 if failed else 0


def run_case(case: Case, args: argparse.Namespace) -> dict[str, Any]:
    given = make_operands(case, args.device)
    expected = reference(case, given)
    sides = make_sides(case, given, args)
    errors: dict[str, float] = {}
    runs: dict[str, Callable[[], Any]] = {}
    skipped: dict[str, str] = {}
    for name, run in sides.items():
        try:
            if args.device == "cuda":
                graph = Graph(run)
                graph.poison()
                graph.replay()
                outputs, runs[name] = graph.outputs, graph.replay
            else:
                outputs, runs[name] = run(), run
            if len(outputs) == 2:
                errors[name] = error_of(outputs, expected)
        except Exception as error:
            if not name.startswith("tune "):
                raise
            skipped[name] = f"{type(error).__name__}: {str(error)[:200]}"
    del expected
    for name, error in errors.items():
        if not error <= 1.05 * errors["inductor"]:
            raise AssertionError(
                f"{name} is off by {error:.4f}, cuBLAS and Inductor by {errors['inductor']:.4f}"
            )
    if args.device == "cuda":
        timings = time_graphs(runs, rounds=args.rounds, flush=False)
    else:
        timings = time_host(runs, rounds=args.rounds)
    return {
        "case": case.name,
        **{key: str(value) for key, value in asdict(case).items()},
        "errors": errors,
        "us": {name: timing.as_json() for name, timing in timings.items()},
        "skipped": skipped,
    }


def make_operands(case: Case, device: str) -> dict[str, Any]:
    torch.manual_seed(0)
    a = torch.randn(case.m, case.k, device=device).to(case.dtype)
    b = torch.randn(case.n, case.k, device=device).to(case.dtype).t()
    if case.scales == "none":
        return {"a": a, "b": b}
    if case.scales == "tensor":
        return {
            "a": a,
            "b": b,
            "a_scale": torch.rand(1, device=device) + 0.5,
            "b_scale": torch.rand(1, device=device) + 0.5,
        }
    # The strides that cuBLAS wants.
    a_scale = (torch.rand(case.k // 128, case.m, device=device) + 0.5).t()
    b_scale = (torch.rand(case.n // 128, case.k // 128, device=device) + 0.5).t()
    return {"a": a, "b": b, "a_scale": a_scale, "b_scale": b_scale}


def reference(case: Case, given: dict[str, Any]) -> Tensor:
    """The f32 result before it is quantized."""
    a, b = given["a"].float(), given["b"].float()
    if case.scales == "block":
        a = a * given["a_scale"].repeat_interleave(128, 1)
        b = b * given["b_scale"].repeat_interleave(128, 0).repeat_interleave(128, 1)
    c = a @ b
    if case.scales == "tensor":
        c = c * given["a_scale"] * given["b_scale"]
    return silu_mul(c) if case.gate_up else c


def error_of(outputs: tuple[Tensor, ...], expected: Tensor) -> float:
    actual = dequantize(*outputs, FP8_GROUP128, torch.float32)
    return float((actual - expected).norm() / expected.norm())


def silu_mul(c: Tensor) -> Tensor:
    gate, up = c.chunk(2, -1)
    return F.silu(gate) * up


def make_sides(case: Case, given: dict[str, Any], args: argparse.Namespace) -> dict[str, Callable[[], Any]]:
    a, b = given["a"], given["b"]
    scales = (given.get("a_scale"), given.get("b_scale"))

    def gemm(a: Tensor, b: Tensor, a_scale: Tensor | None, b_scale: Tensor | None) -> Tensor:
        if a_scale is None or b_scale is None:
            return torch.mm(a, b)
        fast = case.scales == "tensor"
        return torch._scaled_mm(a, b, a_scale, b_scale, out_dtype=torch.bfloat16, use_fast_accum=fast)

    def quantized(c: Tensor) -> tuple[Tensor, Tensor]:
        return epiq.quantize(silu_mul(c) if case.gate_up else c, FP8_GROUP128)

    if args.device != "cuda":
        expected = reference(case, given).bfloat16()
        return {
            "inductor": lambda: epiq.quantize(expected, FP8_GROUP128),
            "fused": lambda: matmul(**given, gate_up=case.gate_up, epilogue=EPILOGUE),
        }
    torch._dynamo.reset()
    inductor = torch.compile(lambda *args: quantized(gemm(*args)), dynamic=False)
    row_program = torch.compile(quantized, backend="epiq", dynamic=False)
    sides: dict[str, Callable[[], Any]] = {
        "cublas": lambda: (gemm(a, b, *scales),),
        "inductor": lambda: inductor(a, b, *scales),
        "row program": lambda: row_program(gemm(a, b, *scales)),
        "fused": lambda: matmul(**given, gate_up=case.gate_up, epilogue=EPILOGUE),
    }
    operands = check_operands(a, b, *scales, case.gate_up)
    for config in configs_to_try(operands) if args.tune else []:

        def tuned(config: Config = config) -> Any:
            return matmul(**given, gate_up=case.gate_up, epilogue=EPILOGUE, config=config)

        sides[f"tune {label(config)}"] = tuned
    return sides


def configs_to_try(operands: Operands) -> list[Config]:
    """The table's configs for the kind, and a grid of others."""
    found = list(candidates(operands))
    chosen = choose(operands)
    depth = 128 if operands.a.dtype == FP8 else 64
    for block_m, stages, group_m in GLUON:
        found.append(Config(block_m, 256, depth, 4, stages, group_m, persistent=True, kernel="gluon"))
    for block_m, block_n, warps in TILES[operands.gate_up]:
        if (operands.m <= 64 and block_m > 64) or (operands.m > 64 and block_n < 128):
            continue
        if operands.scales == "block" and not operands.gate_up and block_n > 128:
            continue
        for stages in (3, 4, 6):
            stage_bytes = (block_m + block_n) * depth * operands.a.element_size()
            if not 2 << 16 <= stages * stage_bytes + 0x4000 <= 227 << 10 and stages != 3:
                continue
            base = Config(block_m, block_n, depth, warps, stages)
            found.append(base)
            if base.tiles(operands) > SMS:
                found.append(replace(base, persistent=True))
            elif not operands.gate_up:
                found.append(resolve(replace(base, split_k=0), operands, SMS))
    return [config for config in dict.fromkeys(found) if config != chosen]


def label(config: Config) -> str:
    form = "persistent" if config.persistent else f"split {config.split_k}" if config.split_k > 1 else ""
    tile = f"{config.block_m}x{config.block_n}x{config.block_k}"
    return f"{config.kernel} {tile} w{config.num_warps} s{config.num_stages} g{config.group_m} {form}".strip()


def compile_ahead(cases: list[Case], tune: bool) -> None:
    """Fills the cache of kernels, on all processors; before CUDA starts, so that processes can be forked."""
    jobs = []
    for case in cases:
        operands = meta_operands(case)
        configs = [choose(operands), *(configs_to_try(operands) if tune else [])]
        jobs += [(case, config) for config in configs]
    start = time.perf_counter()
    with ProcessPoolExecutor() as pool:
        done = sum(pool.map(compile_one, jobs))
    print(f"compiled {done} of {len(jobs)} kernels in {time.perf_counter() - start:.0f} s", flush=True)


def compile_one(job: tuple[Case, Config]) -> bool:
    case, config = job
    try:
        compile_kernel(meta_operands(case), config, EPILOGUE, {})
    except Exception:  # What cannot be compiled is reported where it is timed.
        return False
    return True


def meta_operands(case: Case) -> Operands:
    with torch.device("meta"):
        given = make_operands(case, "meta")
    return check_operands(given["a"], given["b"], given.get("a_scale"), given.get("b_scale"), case.gate_up)


def line_of(result: dict[str, Any]) -> str:
    if "error" in result:
        return f"{result['case']}: {result['error'][:300]}"
    times = {name: timing["median_us"] for name, timing in result["us"].items()}
    parts = [f"{name} {time_us:.1f}" for name, time_us in times.items() if not name.startswith("tune ")]
    if "row program" in times:
        parts.append(f"{times['inductor'] / times['fused']:.3f}x of inductor")
        parts.append(f"{times['row program'] / times['fused']:.3f}x of row program")
    tuned = sorted((t, name) for name, t in times.items() if name.startswith("tune "))[:4]
    parts += [f"\n    {name}: {time_us:.1f}" for time_us, name in tuned]
    return f"{result['case']}: " + ", ".join(parts)


def machine(device: str) -> str:
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    return f"{name}, torch {torch.__version__}, triton {triton.__version__}"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=None, help="folder for gemms.json")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--smoke", action="store_true", help="two tiny cases")
    parser.add_argument("--tune", action="store_true", help="time other configs too")
    parser.add_argument("--only", default="", help="cases whose name has one of these in it, a,b")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--budget-s", type=float, default=420.0)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
