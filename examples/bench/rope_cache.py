"""Times what runs between a model's qkv projection and its attention, fused and by Inductor.

    python examples/bench/rope_cache.py --out results            # on a Hopper GPU, about two minutes
    python examples/bench/rope_cache.py --smoke --device cpu     # checks that it runs; times mean nothing

Rotary embedding of q and k by the rows of a table, q quantized to e4m3, k and v stored in a paged cache, e4m3
or bf16, at slots in random order: 32 heads of queries, 8 of keys, head dim 128, pages of 16 tokens. Sides:
torch.compile(fn, backend="epiq"), torch.compile(fn), and the fastest plain copy of as many bytes. Before
anything is timed, each result is compared with f32, and the slots that no token has with what they held.
CUDA-graph replays in turn, L2 warm and flushed.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import triton
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from measure import Graph, bytes_of, copy_roof, time_graphs, time_host

E4M3, BF16 = torch.float8_e4m3fn, torch.bfloat16
E4M3_MAX, SCALE, POSITIONS, PAGE = 448.0, 0.02, 4096, 16
# Speedups over Inductor, up to so many tokens and beyond; the part of a copy's rate of large cases.
FEW_TOKENS, SPEEDUP_FEW, SPEEDUP_MANY = 256, 1.5, 1.3
COPY_TOKENS, COPY_PART = 2048, 0.85
# e4m3 has a relative error of 2^-5 at most, uniformly spread about 0.026 in the norm.
MAX_ERROR = {E4M3: 0.035, BF16: 0.01}
TOKENS = "1,16,256,2048,8192"
Fn = Callable[..., tuple[Tensor, ...]]


@dataclass(frozen=True)
class Case:
    style: str
    tokens: int
    cache: torch.dtype = E4M3
    heads: int = 32
    kv_heads: int = 8
    dim: int = 128

    @property
    def name(self) -> str:
        return f"{self.style} {'e4m3' if self.cache == E4M3 else 'bf16'} {self.tokens}"

    @property
    def widths(self) -> list[int]:
        """Of q, k and v in a row of qkv."""
        return [self.heads * self.dim, self.kv_heads * self.dim, self.kv_heads * self.dim]

    @property
    def bytes_moved(self) -> int:
        """qkv, its row of the table and two indices are read, q, k and v written, once for each token."""
        stored = self.widths[0] + (self.widths[1] + self.widths[2]) * self.cache.itemsize
        return self.tokens * (2 * sum(self.widths) + 2 * self.dim + 2 * 8 + stored)


def rotate_neox(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    lo, hi = x.chunk(2, -1)
    return torch.cat((lo * cos - hi * sin, hi * cos + lo * sin), -1)


def rotate_pairs(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    even, odd = x[..., ::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, odd * cos + even * sin), -1).flatten(-2)


STYLES = {"neox": rotate_neox, "pairs": rotate_pairs}


def quantized(x: Tensor, scale: Tensor) -> Tensor:
    return (x.float() * scale.reciprocal()).clamp(-E4M3_MAX, E4M3_MAX).to(E4M3)


def rope_cache(
    case: Case,
    qkv: Tensor,
    positions: Tensor,
    table: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    slots: Tensor,
    scale: Tensor,
) -> tuple[Tensor, ...]:
    """As a server's model code has it. qkv: (T, widths); table: (positions, D), cos beside sin; caches:
    (blocks, page, heads, D), written in place; slots: (T,), places in them. Returns q of (T, heads, D), e4m3.
    """
    q, k, v = (x.unflatten(-1, (-1, case.dim)) for x in qkv.split(case.widths, -1))
    cos, sin = (half.unsqueeze(-2) for half in table[positions].chunk(2, -1))
    q, k = (STYLES[case.style](x, cos, sin) for x in (q, k))
    for cache, rows in ((key_cache, k), (value_cache, v)):
        cache.flatten(0, 1)[slots] = quantized(rows, scale) if case.cache == E4M3 else rows
    return (quantized(q, scale),)


def make_inputs(case: Case, device: str, seed: int) -> list[Tensor]:
    generator = torch.Generator(device).manual_seed(seed)
    angles = 6.28 * torch.rand(POSITIONS, case.dim // 2, generator=generator, device=device)
    blocks = -(-case.tokens // PAGE) + 8
    cache = torch.randn(blocks, PAGE, case.kv_heads, case.dim, generator=generator, device=device)
    return [
        torch.randn(case.tokens, sum(case.widths), generator=generator, device=device).bfloat16(),
        torch.randint(0, POSITIONS, (case.tokens,), generator=generator, device=device),
        torch.cat((angles.cos(), angles.sin()), -1).bfloat16(),
        cache.to(case.cache),
        cache.to(case.cache).clone(),
        torch.randperm(blocks * PAGE, generator=generator, device=device)[: case.tokens],
        torch.full((), SCALE, device=device),
    ]


def reference(case: Case, given: Sequence[Tensor]) -> list[Tensor]:
    """q, and the rows of k and v, in f32 without any rounding."""
    qkv, positions, table = given[0].float(), given[1], given[2].float()
    q, k, v = (x.unflatten(-1, (-1, case.dim)) for x in qkv.split(case.widths, -1))
    cos, sin = (half.unsqueeze(-2) for half in table[positions].chunk(2, -1))
    return [*(STYLES[case.style](x, cos, sin) for x in (q, k)), v]


def check(case: Case, given: Sequence[Tensor], before: Sequence[Tensor], q: Tensor) -> dict[str, float]:
    """The relative errors of q and of the rows in both caches.

    Raises: AssertionError where one is too large, or a slot that no token has is another than `before`.
    """
    slots, errors = given[5], {}
    stored = [cache.flatten(0, 1)[slots] for cache in given[3:5]]
    for name, found, wanted in zip("qkv", (q, *stored), reference(case, given), strict=True):
        actual = found.float() * (SCALE if found.dtype == E4M3 else 1.0)
        errors[name] = float((actual - wanted).norm() / wanted.norm())
        assert errors[name] <= MAX_ERROR[found.dtype], f"{name} is off by {errors[name]:.4f}"
    for cache, old in zip(given[3:5], before, strict=True):
        same = (bytes_of(cache) == bytes_of(old)).view(-1, cache[0, 0].nbytes).all(-1)
        same[slots] = True
        assert same.all(), f"{int((~same).sum())} slots of no token were written"
    return errors


def compiled_by(case: Case, backend: str) -> Fn:
    torch._dynamo.reset()
    fn = partial(rope_cache, case)
    if backend == "inductor":
        return torch.compile(fn, dynamic=False, fullgraph=True)
    options = {"epiq.strict": True, "epiq.fail_on_unfused": True}
    return torch.compile(fn, backend="epiq", dynamic=False, fullgraph=True, options=options)


def run_case(case: Case, args: argparse.Namespace) -> dict[str, Any]:
    kept, runs, errors = [], {}, {}
    for backend in ["epiq"] if args.device == "cpu" else ["epiq", "inductor"]:
        fn = compiled_by(case, backend)
        given = make_inputs(case, args.device, seed=1)
        call = partial(fn, *given)
        graph = Graph(call) if args.device == "cuda" else None
        # What a graph reads are its tensors, not its values: others come in their place.
        fresh = make_inputs(case, args.device, seed=2)
        for old, new in zip(given, fresh, strict=True):
            old.copy_(new)
        if graph is not None:
            graph.poison()
            graph.replay()
        (q,) = call() if graph is None else graph.outputs
        errors[backend] = check(case, given, fresh[3:5], q)
        runs[backend] = call if graph is None else graph.replay
        kept.append((graph, given))
    result = {"case": case.name, "tokens": case.tokens, "bytes_moved": case.bytes_moved, "errors": errors}
    if args.device == "cpu":
        return result | {"warm": {name: t.as_json() for name, t in time_host(runs, rounds=2).items()}}
    roof, copy = copy_roof(case.bytes_moved)
    runs["copy"] = copy.replay
    for mode in ("warm", "flushed"):
        timings = time_graphs(runs, rounds=args.rounds, flush=mode == "flushed")
        result[mode] = {name: timing.as_json() for name, timing in timings.items()}
    return result | {"roof": roof}


def ratio(result: dict[str, Any], mode: str, over: str) -> float | None:
    """How many times longer `over` takes than epiq."""
    times = result.get(mode, {})
    return times[over]["median_us"] / times["epiq"]["median_us"] if over in times else None


def promise(result: dict[str, Any]) -> str:
    """Which promise is broken, by how much; empty where there is none."""
    least = SPEEDUP_FEW if result["tokens"] <= FEW_TOKENS else SPEEDUP_MANY
    gain, part = ratio(result, "warm", "inductor"), ratio(result, "flushed", "copy")
    broken = [f"{gain:.2f}x of Inductor, not {least}x"] if gain is not None and gain < least else []
    if part is not None and result["tokens"] >= COPY_TOKENS and part < COPY_PART:
        broken.append(f"{part:.2f} of the copy's rate, not {COPY_PART}")
    return ", ".join(broken)


def line_of(result: dict[str, Any]) -> str:
    if "error" in result:
        return f"{result['case']}: {result['error']}"
    parts = []
    for mode in ("warm", "flushed"):
        times = ", ".join(f"{name} {t['median_us']:.1f}" for name, t in result.get(mode, {}).items())
        ratios = [(over, ratio(result, mode, over)) for over in ("inductor", "copy")]
        said = ", ".join(f"{found:.2f}x of {over}" for over, found in ratios if found is not None)
        parts += [f"{mode} us: {times}" + (f" ({said})" if said else "")] if times else []
    return f"{result['case']}: " + "; ".join([*parts, promise(result) or "promises kept"])


def as_markdown(record: dict[str, Any]) -> str:
    lines = ["# Rotary embedding, FP8 and a paged cache in one kernel", "", record["machine"] + ".", ""]
    lines += [f"    {record['command']}", "", "Microseconds; L2 warm, and flushed in brackets.", ""]
    lines += ["| style, cache, tokens | Inductor | epiq | copy | over Inductor | of the copy's rate | |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for result in record["cases"]:
        if "warm" not in result:
            lines.append(f"| {result['case']} | | | | | | {result['error'][:200]} |")
            continue
        fields = [result["case"]]
        for side in ("inductor", "epiq", "copy"):
            found = [
                result[mode][side]["median_us"]
                for mode in ("warm", "flushed")
                if side in result.get(mode, {})
            ]
            fields.append(" ".join([f"{found[0]:.1f}", *(f"({x:.1f})" for x in found[1:])]) if found else "")
        for over in ("inductor", "copy"):
            found = [r for mode in ("warm", "flushed") if (r := ratio(result, mode, over)) is not None]
            fields.append(
                " ".join([f"{found[0]:.2f}x", *(f"({x:.2f}x)" for x in found[1:])]) if found else ""
            )
        lines.append("| " + " | ".join([*fields, promise(result)]) + " |")
    return "\n".join(lines) + "\n"


def choose_cases(args: argparse.Namespace) -> list[Case]:
    if args.smoke:
        return [Case(style, 3, heads=2, kv_heads=1, dim=32) for style in STYLES]
    tokens = [int(part) for part in args.tokens.split(",")]
    found = [Case("neox", t) for t in tokens]
    found += [Case("pairs", t) for t in tokens] + [Case("neox", t, cache=BF16) for t in tokens]
    return [case for case in found if args.only in case.name]


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="folder for rope_cache.json and rope_cache.md")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--smoke", action="store_true", help="two tiny cases")
    parser.add_argument("--tokens", default=TOKENS, help="1,16")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--rounds", type=int, default=60, help="timed replays of each, in each L2 mode")
    parser.add_argument("--budget-s", type=float, default=240.0, help="cases after this time are left out")
    return parser.parse_args(argv)


@torch.no_grad()
def main(argv: Sequence[str] | None = None) -> int:
    args = parse_arguments(argv)
    if args.device == "cuda" and not torch.cuda.is_available():
        print("there is no GPU: --smoke --device cpu checks that this runs", file=sys.stderr)
        return 2
    start, results = time.perf_counter(), []
    for case in choose_cases(args):
        if (used := time.perf_counter() - start) > args.budget_s:
            result = {"case": case.name, "error": f"left out, {used:.0f} s are used"}
        else:
            try:
                result = run_case(case, args)
            except Exception as error:  # One case that fails is a line of the report.
                traceback.print_exc()
                result = {"case": case.name, "error": f"{type(error).__name__}: {error}".splitlines()[0]}
        results.append(result)
        print(line_of(result), flush=True)
    name = torch.cuda.get_device_name() if args.device == "cuda" else "CPU"
    record = {
        "command": shlex.join(["python", "examples/bench/rope_cache.py", *(argv or sys.argv[1:])]),
        "machine": f"{name}, torch {torch.__version__}, triton {triton.__version__}",
        "cases": results,
    }
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "rope_cache.json").write_text(json.dumps(record, indent=1) + "\n")
        (args.out / "rope_cache.md").write_text(as_markdown(record))
    return int(any("error" in result for result in results))


if __name__ == "__main__":
    sys.exit(main())
