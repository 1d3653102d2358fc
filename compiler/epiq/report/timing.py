"""Times functions side by side: CUDA-graph replays, interleaved, medians with p10 and p90."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

Run = Callable[[], object]

# Rounds before any is counted: clocks, caches and lazy loading settle in them.
_WARMUP_ROUNDS = 5
# The GPU waits so long (about 50 us) before each timed call, so that the host's gap between an event
# and the launch falls into the wait and not between the events.
_WAIT_CYCLES = 100_000


@dataclass(frozen=True)
class Timing:
    """Of one function: microseconds a call, over `samples` calls."""

    median_us: float
    p10_us: float
    p90_us: float
    samples: int


@dataclass(frozen=True)
class KernelTime:
    """One kernel's share of a call: its launches and their microseconds together."""

    name: str
    launches: float
    time_us: float


@dataclass(frozen=True)
class Graphed:
    """A call captured as a CUDA graph. replay(): runs it again; output: what it writes, kept by the graph."""

    replay: Run
    output: Any


def capture_cuda_graph(run: Run) -> Graphed:
    """Captures one call of `run`, which was called before and takes no inputs that change.

    Raises: RuntimeError from CUDA if the call does what cannot be captured.
    """
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = run()
    return Graphed(graph.replay, output)


def time_interleaved(
    runs: Mapping[str, Run],
    *,
    repeats: int,
    device: str,
    repeats_of: Mapping[str, int] | None = None,
    before: Run | None = None,
) -> dict[str, Timing]:
    """Times each function `repeats` times, taking turns, so that drift hits all alike.

    Args: device: "cuda" times with events on the current stream, warm L2; "cpu" with a clock.
    repeats_of: fewer turns for some, by name. before: called before each, not timed.
    """
    limits = {name: min(repeats, (repeats_of or {}).get(name, repeats)) for name in runs}
    warmup = _WARMUP_ROUNDS if device == "cuda" else 1
    samples: dict[str, list[Any]] = defaultdict(list)
    timed = _timed_cuda if device == "cuda" else _timed_cpu
    for turn in range(-warmup, repeats):
        for name, run in runs.items():
            if turn >= limits[name]:
                continue
            if before is not None:
                before()
            if turn < 0:
                run()
            else:
                samples[name].append(timed(run))
    if device == "cuda":
        torch.cuda.synchronize()
        samples = {
            name: [start.elapsed_time(end) * 1e3 for start, end in pairs] for name, pairs in samples.items()
        }  # type: ignore[assignment]
    return {name: summarize(values) for name, values in samples.items()}


def summarize(times_us: list[float]) -> Timing:
    """Median, p10 and p90 of at least one sample."""
    if len(times_us) == 1:
        return Timing(times_us[0], times_us[0], times_us[0], 1)
    tenths = statistics.quantiles(times_us, n=10, method="inclusive")
    return Timing(statistics.median(times_us), tenths[0], tenths[8], len(times_us))


def kernel_times(run: Run, *, calls: int = 5) -> tuple[KernelTime, ...]:
    """The GPU kernels of one call of `run`, the longest first, by torch's profiler."""
    from torch.profiler import ProfilerActivity, profile

    run()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for _ in range(calls):
            run()
        torch.cuda.synchronize()
    launches: dict[str, int] = defaultdict(int)
    time_us: dict[str, float] = defaultdict(float)
    for event in profiler.events():
        if event.device_type.name == "CUDA":
            launches[event.name] += 1
            time_us[event.name] += event.device_time
    found = [KernelTime(name, launches[name] / calls, time_us[name] / calls) for name in launches]
    return tuple(sorted(found, key=lambda kernel: -kernel.time_us))


def kernel_kind(name: str) -> str:
    """gemm, attention, epiq, inductor or other, by the kernel's name."""
    lowered = name.lower()
    if lowered.startswith("epiq_"):
        return "epiq"
    if lowered.startswith("triton_"):
        return "inductor"
    if any(word in lowered for word in ("fmha", "flash", "sdpa", "attention", "cudnn_generated")):
        return "attention"
    if any(word in lowered for word in ("gemm", "cutlass", "nvjet", "cublas", "matmul")):
        return "gemm"
    return "other"


def _timed_cuda(run: Run) -> tuple[torch.cuda.Event, torch.cuda.Event]:
    start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    torch.cuda._sleep(_WAIT_CYCLES)  # type: ignore[no-untyped-call]
    start.record()
    run()
    end.record()
    return start, end


def _timed_cpu(run: Run) -> float:
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e6
