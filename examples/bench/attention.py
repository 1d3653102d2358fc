"""Times attention with a quantized output: fused, and the library's attention followed by a kernel.

    python examples/bench/attention.py --out results          # on a Hopper GPU, about three minutes
    python examples/bench/attention.py --tune --out results   # other configs too, to fit the table
    python examples/bench/attention.py --smoke --device cpu   # checks that it runs; times mean nothing

32 heads of queries, 8 of keys, head dim 128, bf16, causal; the output is quantized in groups of 128 along the
heads of a token. The sides of a case: the library's attention alone (cuDNN, FlashAttention 2, and
FlashAttention 3 where it can be imported); each of them followed by Inductor's quantization, both in one
`torch.compile`, and by epiq's row program; `epiq.kernels.attention` without and with its epilogue. Decoding
takes one query a sequence: the library over contiguous keys, ours over pages of 16 tokens in random order.
Each result is checked against f32 before anything is timed: CUDA-graph replays in turn, L2 warm.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import triton
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

import epiq
from epiq.formats import FP8_GROUP128, dequantize
from epiq.kernels import AttentionConfig, attention, paged_attention

sys.path.insert(0, str(Path(__file__).parent))
from measure import Graph, time_graphs, time_host

EPILOGUE = epiq.Quantize(FP8_GROUP128)
BACKENDS = {"cudnn": SDPBackend.CUDNN_ATTENTION, "flash 2": SDPBackend.FLASH_ATTENTION}
PAGE = 16
Run = Callable[[], tuple[Tensor, ...]]


@dataclass(frozen=True)
class Case:
    """`batch` sequences of `tokens`; decoding, of one query and as many keys."""

    batch: int
    tokens: int
    decode: bool = False
    heads: int = 32
    kv_heads: int = 8
    dim: int = 128

    @property
    def name(self) -> str:
        return f"{'decode' if self.decode else 'prefill'} {self.batch} x {self.tokens}"


CASES = [
    Case(1, 4096), Case(4, 2048), Case(1, 16384),
    Case(1, 128), Case(1, 256), Case(1, 512), Case(8, 128), Case(8, 512),
    Case(32, 2048, decode=True), Case(128, 2048, decode=True), Case(1, 16384, decode=True),
]  # fmt: skip
SMOKE = [Case(1, 40, heads=2, kv_heads=1), Case(2, 20, decode=True, heads=2, kv_heads=1)]


@dataclass(frozen=True)
class Tensors:
    """q, k, v: (batch, tokens, heads, dim). For decoding also the same keys in pages."""

    q: Tensor
    k: Tensor
    v: Tensor
    pages: tuple[Tensor, ...] = ()

    @property
    def by_head(self) -> tuple[Tensor, ...]:
        return tuple(x.transpose(1, 2) for x in (self.q, self.k, self.v))


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    if args.device == "cuda" and not torch.cuda.is_available():
        print("there is no GPU: --smoke --device cpu checks that this runs", file=sys.stderr)
        return 2
    wanted = [case for case in CASES if any(part in case.name for part in args.only.split(","))]
    start, results = time.perf_counter(), []
    for case in SMOKE if args.smoke else wanted:
        used = time.perf_counter() - start
        if used > args.budget_s:
            print(f"{case.name}: left out, {used:.0f} s are used", flush=True)
            continue
        try:
            result = run_case(case, args)
        except Exception as error:  # One case that fails is a line of the report.
            traceback.print_exc()
            result = {"case": case.name, "error": f"{type(error).__name__}: {error}"}
        results.append(result)
        print(line_of(result), flush=True)
    record = {
        "command": shlex.join(["python", "examples/bench/attention.py", *(argv or sys.argv[1:])]),
        "machine": machine(args.device),
        "conditions": "32/8 heads, head dim 128, bf16, causal, output in FP8 groups of 128; CUDA graphs, "
        f"medians of {args.rounds} replays in turn, L2 warm",
        "cases": results,
    }
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "attention.json").write_text(json.dumps(record, indent=1) + "\n")
        (args.out / "attention.md").write_text(as_markdown(record))
    return int(any("error" in result for result in results))


def run_case(case: Case, args: argparse.Namespace) -> dict[str, Any]:
    given = make_tensors(case, args.device)
    expected = reference(case, given)
    runs: dict[str, Callable[[], Any]] = {}
    errors: dict[str, float] = {}
    skipped: dict[str, str] = {}
    for name, run in sides(case, given, args):
        try:
            if args.device == "cuda":
                graph = Graph(run)
                graph.poison()
                graph.replay()
                outputs, runs[name] = graph.outputs, graph.replay
            else:
                outputs, runs[name] = run(), run
            errors[name] = error_of(outputs, expected)
        except Exception as error:
            # A library may lack a kernel for a case; ours may not.
            if name.startswith("epiq"):
                raise
            skipped[name] = f"{type(error).__name__}: {str(error)[:200]}"
    del expected
    # e4m3 has a relative error of 2^-5 at most, uniformly spread about 0.026 in the norm.
    limit = {False: 0.01, True: 0.035}
    for name, error in errors.items():
        if not error <= limit["quant" in name]:
            raise AssertionError(f"{name} is off by {error:.4f}")
    timed = time_graphs if args.device == "cuda" else None
    timings = timed(runs, rounds=args.rounds, flush=False) if timed else time_host(runs, rounds=args.rounds)
    return {
        "case": case.name,
        "errors": errors,
        "us": {name: timing.as_json() for name, timing in timings.items()},
        "skipped": skipped,
    }


def make_tensors(case: Case, device: str) -> Tensors:
    torch.manual_seed(0)
    queries = 1 if case.decode else case.tokens
    q = torch.randn(case.batch, queries, case.heads, case.dim, device=device).bfloat16()
    k, v = torch.randn(2, case.batch, case.tokens, case.kv_heads, case.dim, device=device).bfloat16()
    if not case.decode:
        return Tensors(q, k, v)
    each = -(-case.tokens // PAGE)
    table = torch.randperm(case.batch * each, device=device).view(case.batch, each).int()
    caches = []
    for x in (k, v):
        padded = F.pad(x, (0, 0, 0, 0, 0, each * PAGE - case.tokens))
        cache = torch.empty(case.batch * each, PAGE, case.kv_heads, case.dim, dtype=x.dtype, device=device)
        cache[table.flatten().long()] = padded.reshape(-1, PAGE, case.kv_heads, case.dim)
        caches.append(cache)
    lengths = torch.full((case.batch,), case.tokens, dtype=torch.int32, device=device)
    return Tensors(q, k, v, (*caches, table, lengths))


def reference(case: Case, given: Tensors) -> Tensor:
    """The f32 output, (tokens, heads * dim)."""
    q, k, v = (x.float() for x in given.by_head)
    k, v = (x.repeat_interleave(case.heads // case.kv_heads, 1) for x in (k, v))
    return rows_of(F.scaled_dot_product_attention(q, k, v, is_causal=not case.decode))


def rows_of(o: Tensor) -> Tensor:
    return o.transpose(1, 2).reshape(-1, o.shape[1] * o.shape[3])


def error_of(outputs: tuple[Tensor, ...], expected: Tensor) -> float:
    quantized = len(outputs) == 2
    actual = dequantize(*outputs, FP8_GROUP128, torch.float32) if quantized else outputs[0].float()
    return float((actual.view(expected.shape) - expected).norm() / expected.norm())


def sides(case: Case, given: Tensors, args: argparse.Namespace) -> Iterator[tuple[str, Run]]:
    """Names with "quant" in them quantize."""
    for name, run in libraries(case, given, args.device).items():
        yield name, lambda run=run: (run(given),)
        if args.device == "cuda":
            torch._dynamo.reset()
            inductor = torch.compile(lambda x, run=run: epiq.quantize(run(x), FP8_GROUP128), dynamic=False)
            yield f"{name} + inductor quant", lambda f=inductor: f(given)
            row = torch.compile(
                lambda y: epiq.quantize(y, FP8_GROUP128),
                backend="epiq",
                dynamic=False,
            )
            yield f"{name} + row program quant", lambda run=run, f=row: f(run(given))
        else:
            yield f"{name} + quant", lambda run=run: epiq.quantize(run(given), FP8_GROUP128)
    yield "epiq", lambda: (ours(given, None),)
    yield "epiq + quant", lambda: ours(given, EPILOGUE)
    for config in configs_to_try(case) if args.tune else []:
        yield f"tune quant {label(config)}", lambda config=config: ours(given, EPILOGUE, config)


def ours(given: Tensors, epilogue: Any, config: AttentionConfig | None = None) -> Any:
    if given.pages:
        return paged_attention(given.q[:, 0], *given.pages, epilogue=epilogue, config=config)
    return attention(given.q, given.k, given.v, causal=True, epilogue=epilogue, config=config)


def libraries(case: Case, given: Tensors, device: str) -> dict[str, Callable[[Tensors], Tensor]]:
    """Attention of the libraries, as rows of tokens."""

    def sdpa(x: Tensors, backend: SDPBackend | None) -> Tensor:
        scope: AbstractContextManager[Any] = nullcontext() if backend is None else sdpa_kernel(backend)
        with scope:
            return rows_of(
                F.scaled_dot_product_attention(*x.by_head, is_causal=not case.decode, enable_gqa=True)
            )

    if device != "cuda":
        return {"sdpa": lambda x: sdpa(x, None)}
    found = {name: lambda x, b=backend: sdpa(x, b) for name, backend in BACKENDS.items()}
    try:
        from flash_attn_interface import flash_attn_func
    except ImportError:
        return found

    def flash3(x: Tensors) -> Tensor:
        o = flash_attn_func(x.q, x.k, x.v, causal=not case.decode)
        o = o[0] if isinstance(o, tuple) else o
        return o.reshape(-1, case.heads * case.dim)

    return {**found, "flash 3": flash3}


def configs_to_try(case: Case) -> Iterator[AttentionConfig]:
    if case.decode:
        for block_n, warps, stages in itertools.product((32, 64, 128), (2, 4, 8), (2, 3, 4)):
            for splits in (0, 1, 2, 4):
                yield AttentionConfig(16, block_n, warps, stages, splits=splits)
        return
    for block_m, block_n, warps in ((64, 64, 4), (64, 128, 4), (128, 64, 8), (128, 128, 8), (128, 64, 4)):
        for stages in (2, 3, 4):
            yield AttentionConfig(block_m, block_n, warps, stages)


def label(config: AttentionConfig) -> str:
    return f"{config.block_m}x{config.block_n} w{config.num_warps} s{config.num_stages} split {config.splits}"


def best_of(times: dict[str, float], ending: str) -> float | None:
    found = [time_us for name, time_us in times.items() if name.endswith(ending)]
    return min(found, default=None)


def ratios(result: dict[str, Any]) -> dict[str, float]:
    """How many times longer the fastest library takes, and what the epilogue adds."""
    times = {name: timing["median_us"] for name, timing in result["us"].items()}
    fused = times["epiq + quant"]
    found = {
        "library + inductor": best_of(times, "+ inductor quant"),
        "library + row program": best_of(times, "+ row program quant"),
    }
    return {
        **{name: time_us / fused for name, time_us in found.items() if time_us},
        "epilogue": fused / times["epiq"],
    }


def line_of(result: dict[str, Any]) -> str:
    if "error" in result:
        return f"{result['case']}: {result['error'][:300]}"
    times = {name: timing["median_us"] for name, timing in result["us"].items()}
    parts = [f"{name} {time_us:.1f}" for name, time_us in times.items() if not name.startswith("tune")]
    parts += [f"{name} {ratio:.3f}x" for name, ratio in ratios(result).items()]
    parts += [f"\n    {name}: {why}" for name, why in result["skipped"].items() if "tune" not in name]
    tuned = sorted((time_us, name) for name, time_us in times.items() if name.startswith("tune"))[:4]
    parts += [f"\n    {name}: {time_us:.1f}" for time_us, name in tuned]
    return f"{result['case']}: " + ", ".join(parts)


def as_markdown(record: dict[str, Any]) -> str:
    results = [result for result in record["cases"] if "us" in result]
    names = dict.fromkeys(name for result in results for name in result["us"] if not name.startswith("tune"))
    head = ["microseconds", *names, "library + inductor / epiq", "library + row program / epiq", "epilogue"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for result in results:
        found = ratios(result)
        cells = [f"{result['us'][name]['median_us']:.1f}" if name in result["us"] else "-" for name in names]
        for name in ("library + inductor", "library + row program", "epilogue"):
            cells.append(f"{found[name]:.3f}x" if name in found else "-")
        lines.append(f"| {result['case']} | {' | '.join(cells)} |")
    failed = [f"- {result['case']}: {result['error']}" for result in record["cases"] if "error" in result]
    return "\n".join(
        ["# Attention with a quantized output", "", f"{record['machine']}. {record['conditions']}.", "",
         f"    {record['command']}", "", *lines, "", *failed]
    ).rstrip() + "\n"  # fmt: skip


def machine(device: str) -> str:
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    return f"{name}, torch {torch.__version__}, triton {triton.__version__}"


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=None, help="folder for attention.json and attention.md")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--smoke", action="store_true", help="two tiny cases")
    parser.add_argument("--tune", action="store_true", help="time other configs too")
    parser.add_argument("--only", default="", help="cases whose name has one of these in it, a,b")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--budget-s", type=float, default=420.0)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
