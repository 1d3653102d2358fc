"""Shows that `decide` never loses: products with a quantized result, as it chooses, beside Inductor.

    python examples/bench/decisions.py --out examples/reports     # on a Hopper GPU, about 30 minutes
    python examples/bench/decisions.py --layers gate_up --tokens 16,512,8192
    python examples/bench/decisions.py --smoke --device cpu       # checks that it runs; times mean nothing

A case is a linear layer of a model, FP8 by default, a number of tokens, and what follows the product there:
silu_mul and a quantization, a residual and a norm and a quantization, or a quantization alone. Three sides:
Inductor; epiq with `epiq.decide=library`, the library's product and a row program; epiq as it decides. CUDA
graphs of all three take turns, L2 warm. A ratio is the median over rounds of the two times of a round, with a
95 % interval by bootstrap. Prints a line a case, writes decisions.json and decisions.md; the exit code is 1
where a case failed or is slower than a side by more than 1 %, its whole interval.
"""

from __future__ import annotations

import argparse
import json
import random
import shlex
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import triton
from torch import Tensor

import epiq
from epiq.formats import FP8_GROUP128
from epiq.frontend import recording

sys.path.insert(0, str(Path(__file__).parent))
from measure import Graph, round_times

FP8, BF16 = torch.float8_e4m3fn, torch.bfloat16
# What epiq may lose at most.
BOUND = 1.01
_RESAMPLES = 2000


@dataclass(frozen=True)
class Layer:
    """A linear layer: `n` output features of `k`, gate and up counted together; what reads its result."""

    model: str
    name: str
    n: int
    k: int
    reader: str


LAYERS = [
    Layer("Llama-3-8B", "qkv", 6144, 4096, "quantize"),
    Layer("Llama-3-8B", "o_proj", 4096, 4096, "residual norm"),
    Layer("Llama-3-8B", "gate_up", 28672, 4096, "silu_mul"),
    Layer("Llama-3-8B", "down", 4096, 14336, "residual norm"),
    Layer("Llama-3-70B", "qkv", 10240, 8192, "quantize"),
    Layer("Llama-3-70B", "gate_up", 57344, 8192, "silu_mul"),
    Layer("Llama-3-70B", "down", 8192, 28672, "residual norm"),
    Layer("Qwen3-8B", "gate_up", 24576, 4096, "silu_mul"),
    Layer("Qwen3-8B", "down", 4096, 12288, "residual norm"),
    Layer("DeepSeek-V3", "q_b", 24576, 1536, "quantize"),
    Layer("DeepSeek-V3", "gate_up", 36864, 7168, "silu_mul"),
    Layer("DeepSeek-V3", "down", 7168, 18432, "residual norm"),
]
SMOKE = [Layer("tiny", "gate_up", 1024, 128, "silu_mul"), Layer("tiny", "down", 256, 128, "residual norm")]
TOKENS = "1,16,256,2048,16384"


@dataclass(frozen=True)
class Case:
    layer: Layer
    tokens: int
    scales: str

    @property
    def name(self) -> str:
        return (
            f"{self.layer.model} {self.layer.name} {self.scales} {self.tokens}x{self.layer.n}x{self.layer.k}"
        )


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_arguments(argv)
    cases = choose_cases(args)
    start, results = time.perf_counter(), []
    for case in cases:
        used = time.perf_counter() - start
        if used > args.budget_s:
            results.append({"case": case.name, "left_out": f"{used:.0f} s are used"})
            continue
        try:
            result = run_case(case, args)
        except Exception as error:  # A case that fails is a line of the report.
            traceback.print_exc()
            result = {"case": case.name, "error": f"{type(error).__name__}: {error}".splitlines()[0]}
        results.append(result)
        print(line_of(result), flush=True)
    record = {
        "command": shlex.join(["python", "examples/bench/decisions.py", *(argv or sys.argv[1:])]),
        "machine": machine(args.device),
        "rounds": args.rounds,
        "bound": BOUND,
        "cases": results,
    }
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "decisions.json").write_text(json.dumps(record, indent=1) + "\n")
        (args.out / "decisions.md").write_text(as_markdown(record) + "\n")
    return 1 if any("error" in result or result.get("too_slow") for result in results) else 0


def choose_cases(args: argparse.Namespace) -> list[Case]:
    layers = (
        SMOKE if args.smoke else [x for x in LAYERS if any(part in x.name for part in args.layers.split(","))]
    )
    scales = "none" if args.smoke else args.scales
    tokens = [3] if args.smoke else [int(part) for part in args.tokens.split(",")]
    return [Case(layer, count, scales) for layer in layers for count in tokens]


def run_case(case: Case, args: argparse.Namespace) -> dict[str, Any]:
    fn, inputs = make_layer(case, args.device)
    torch._dynamo.reset()
    options: dict[str, Any] = {"epiq.strict": True, "epiq.autotune": "quick"}
    sides: dict[str, Callable[..., Any]] = {
        "inductor": torch.compile(fn, dynamic=False) if args.device == "cuda" else fn,
        "library": torch.compile(fn, backend="epiq", options={**options, "epiq.decide": "library"}),
        "decided": torch.compile(fn, backend="epiq", options={**options, "epiq.decide": "measure"}),
    }
    with recording() as records, torch.no_grad():
        outputs = {name: run(*inputs) for name, run in sides.items()}
        check(outputs)
        times = timed({name: lambda run=run: run(*inputs) for name, run in sides.items()}, args)
    ratios = {name: ratio(times[name], times["decided"]) for name in ("inductor", "library")}
    return {
        "case": case.name,
        **asdict(case.layer),
        "tokens": case.tokens,
        "scales": case.scales,
        "us": {name: round(statistics.median(found), 3) for name, found in times.items()},
        "speedup_over": ratios,
        "too_slow": args.device == "cuda" and any(r["high"] < 1 / BOUND for r in ratios.values()),
        "decisions": decisions_of(records),
    }


def decisions_of(records: Sequence[Any]) -> list[dict[str, Any]]:
    from epiq.runtime.registry import lookup

    keys = dict.fromkeys(joined.key for record in records for joined in record.joined if joined.key)
    return [asdict(decision) for key in keys for decision in lookup(key).decisions]


def make_layer(case: Case, device: str) -> tuple[Callable[..., Any], tuple[Tensor, ...]]:
    """The layer as a function, and its inputs."""
    torch.manual_seed(0)
    layer = case.layer
    dtype = BF16 if case.scales == "none" else FP8
    x = torch.randn(case.tokens, layer.k, device=device).to(dtype)
    weight = torch.randn(layer.n, layer.k, device=device).to(dtype)
    scales: tuple[Tensor, ...] = ()
    if case.scales == "tensor":
        scales = tuple(torch.rand(1, device=device) * 0.01 + 0.01 for _ in range(2))
    elif case.scales == "block":
        scales = (
            (torch.rand(layer.k // 128, case.tokens, device=device) * 0.01).t(),
            (torch.rand(layer.n // 128, layer.k // 128, device=device) * 0.01).t(),
        )
    residual = torch.randn(case.tokens, layer.n, device=device).to(BF16)
    norm = torch.rand(layer.n, device=device).to(BF16)

    def product(x: Tensor, weight: Tensor, scales: tuple[Tensor, ...]) -> Tensor:
        if not scales:
            return F.linear(x, weight)
        fast = case.scales == "tensor"
        return torch._scaled_mm(x, weight.t(), *scales, out_dtype=BF16, use_fast_accum=fast)

    def silu_mul(x: Tensor, weight: Tensor, *scales: Tensor) -> Any:
        gate, up = product(x, weight, scales).chunk(2, -1)
        return epiq.quantize(F.silu(gate) * up, FP8_GROUP128)

    def residual_norm(x: Tensor, weight: Tensor, residual: Tensor, norm: Tensor, *scales: Tensor) -> Any:
        h = product(x, weight, scales) + residual
        return (*epiq.quantize(F.rms_norm(h, norm.shape, norm, 1e-5), FP8_GROUP128), h)

    def quantize(x: Tensor, weight: Tensor, *scales: Tensor) -> Any:
        return epiq.quantize(product(x, weight, scales), FP8_GROUP128)

    if layer.reader == "residual norm":
        return residual_norm, (x, weight, residual, norm, *scales)
    return (silu_mul if layer.reader == "silu_mul" else quantize), (x, weight, *scales)


def check(outputs: dict[str, Any]) -> None:
    """Scales of all sides must agree but for what a sum in another order makes of them."""
    expected = outputs["inductor"][1].float()
    for name, (_, scale, *_) in outputs.items():
        error = float((scale.float() - expected).norm() / expected.norm())
        if not error < 0.01:
            raise AssertionError(f"the scales of {name} are off by {error:.4f}")


def timed(runs: dict[str, Callable[[], Any]], args: argparse.Namespace) -> dict[str, list[float]]:
    if args.device == "cuda":
        graphs = {name: Graph(run) for name, run in runs.items()}
        return round_times(
            {name: graph.replay for name, graph in graphs.items()}, rounds=args.rounds, flush=False
        )
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(3):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - begin) * 1e6)
    return times


def ratio(theirs: list[float], ours: list[float]) -> dict[str, float]:
    """Their time over ours: the median over rounds, and a 95 % interval of it by bootstrap."""
    pairs = [a / b for a, b in zip(theirs, ours, strict=True)]
    rng = random.Random(0)
    medians = sorted(statistics.median(rng.choices(pairs, k=len(pairs))) for _ in range(_RESAMPLES))
    low, high = medians[int(0.025 * _RESAMPLES)], medians[int(0.975 * _RESAMPLES)]
    return {"median": round(statistics.median(pairs), 4), "low": round(low, 4), "high": round(high, 4)}


def line_of(result: dict[str, Any]) -> str:
    if "us" not in result:
        return f"{result['case']}: {result.get('error') or result.get('left_out')}"
    times = ", ".join(f"{name} {us:.1f}" for name, us in result["us"].items())
    gains = ", ".join(
        f"{r['median']:.3f}x of {name} ({r['low']:.3f} to {r['high']:.3f})"
        for name, r in result["speedup_over"].items()
    )
    chosen = ", ".join(decision["chosen"] for decision in result["decisions"]) or "nothing to decide"
    return f"{result['case']}: {times} us; {gains}; {chosen}{'; TOO SLOW' if result['too_slow'] else ''}"


def as_markdown(record: dict[str, Any]) -> str:
    lines = [
        f"# Decisions: {record['machine']}",
        "",
        f"`{record['command']}`; medians of {record['rounds']} rounds, with 95 % intervals.",
        "The library is its product and a row program of epiq. Where a ratio is above 1 epiq is faster.",
        "",
        "| layer | tokens | Inductor, us | library, us | epiq, us | Inductor/epiq | library/epiq | chosen |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in record["cases"]:
        if "us" not in result:
            why = result.get("error") or result.get("left_out")
            lines.append(f"| {result['case']} | | | | | | | {why} |")
            continue
        us, gains = result["us"], result["speedup_over"]
        intervals = [
            f"{gains[name]['median']:.3f} ({gains[name]['low']:.3f} to {gains[name]['high']:.3f})"
            for name in ("inductor", "library")
        ]
        chosen = ", ".join(decision["chosen"] for decision in result["decisions"]) or "-"
        cells = [
            f"{result['model']} {result['name']} {result['n']}x{result['k']}",
            str(result["tokens"]),
            *(f"{us[name]:.1f}" for name in ("inductor", "library", "decided")),
            *intervals,
            chosen,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def machine(device: str) -> str:
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    return f"{name}, torch {torch.__version__}, triton {triton.__version__}"


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=None, help="folder for decisions.json and decisions.md")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--smoke", action="store_true", help="two tiny layers")
    parser.add_argument("--layers", default="", help="layers whose name has one of these in it, a,b")
    parser.add_argument("--tokens", default=TOKENS)
    parser.add_argument("--scales", default="tensor", choices=("none", "tensor", "block"))
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--budget-s", type=float, default=1800.0)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
