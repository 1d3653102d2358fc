"""Timing of GPU work: graph replays taking turns, the queue filled ahead, the L2 cache warm or flushed.

A replay is timed between two events. The GPU first sleeps until some rounds are queued behind it, so that no
gap of the host falls between the events. With a warm cache each contender runs once just before it is timed:
else one whose turn follows a contender with the same inputs would find them in the cache, and another not.
Flushing reads a buffer larger than the cache: reading leaves no dirty lines that the timed work would have to
write back.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

FLUSH_BYTES = 256 << 20
_SLEEP_CYCLES_A_ROUND = 100_000
_ROUNDS_AT_ONCE = 10


@dataclass(frozen=True)
class Timing:
    """Microseconds: median, p10 and p90 of `samples` replays."""

    median_us: float
    p10_us: float
    p90_us: float
    samples: int

    @classmethod
    def of(cls, times_us: list[float]) -> Timing:
        tenths = statistics.quantiles(times_us, n=10, method="inclusive")
        return cls(statistics.median(times_us), tenths[0], tenths[8], len(times_us))

    def as_json(self) -> dict[str, float]:
        return {name: round(value, 3) for name, value in asdict(self).items()}


class Graph:
    """A call as a CUDA graph: replay() runs it on what the inputs then hold, and fills `outputs`."""

    def __init__(self, run: Callable[[], tuple[Tensor, ...]]) -> None:
        # A graph holds addresses only: whoever keeps it keeps the tensors that `run` reads.
        self._run = run
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                run()
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.outputs = run()

    def replay(self) -> None:
        self.graph.replay()

    def poison(self) -> None:
        """Fills the outputs with NaNs, so that what a replay does not write shows."""
        for output in self.outputs:
            bytes_of(output).fill_(0x7F)


def bytes_of(tensor: Tensor) -> Tensor:
    """The memory of a dense tensor as bytes, in any strides."""
    flat = torch.as_strided(tensor, (tensor.numel(),), (1,))
    return flat.view(torch.uint8)


@cache
def _flush_buffer() -> Tensor:
    return torch.zeros(FLUSH_BYTES // 4, dtype=torch.int32, device="cuda")


def time_graphs(runs: Mapping[str, Callable[[], None]], *, rounds: int, flush: bool) -> dict[str, Timing]:
    """Times each of `runs` once a round, in turn, after two rounds that do not count."""
    return {name: Timing.of(times) for name, times in round_times(runs, rounds=rounds, flush=flush).items()}


def round_times(
    runs: Mapping[str, Callable[[], None]], *, rounds: int, flush: bool
) -> dict[str, list[float]]:
    """The microseconds of each round, in order: those of one round belong together."""
    events: dict[str, list[tuple[torch.cuda.Event, torch.cuda.Event]]] = {name: [] for name in runs}
    for index in range(-2, rounds):
        if index % _ROUNDS_AT_ONCE == 0:
            torch.cuda._sleep(_SLEEP_CYCLES_A_ROUND * min(_ROUNDS_AT_ONCE, rounds) * len(runs))
        for name, run in runs.items():
            if flush:
                _flush_buffer().amax()
            else:
                run()
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            run()
            end.record()
            if index >= 0:
                events[name].append((start, end))
    torch.cuda.synchronize()
    return {name: [start.elapsed_time(end) * 1e3 for start, end in pairs] for name, pairs in events.items()}


def time_host(runs: Mapping[str, Callable[[], None]], *, rounds: int) -> dict[str, Timing]:
    """The same on a machine without a GPU, by the clock."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(max(rounds, 2)):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - start) * 1e6)
    return {name: Timing.of(values) for name, values in times.items()}


@triton.jit
def _copy_kernel(source, target, count, BLOCK: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = offsets < count
    tl.store(target + offsets, tl.load(source + offsets, mask=inside), mask=inside)


# (words a program, warps): among them the fastest plain copy found on Hopper for small and for large tensors.
_COPY_CONFIGS = ((1024, 4), (2048, 4), (4096, 8), (8192, 8), (16384, 16))


@cache
def copy_roof(bytes_moved: int) -> tuple[str, Graph]:
    """The fastest plain copy that reads and writes `bytes_moved` bytes in all: its name and its graph."""
    words = max(bytes_moved // 8, 4)
    source = torch.zeros(words, dtype=torch.int32, device="cuda")
    target = torch.empty_like(source)
    graphs = {"copy_": Graph(lambda: (target.copy_(source),))}
    for block, warps in _COPY_CONFIGS:

        def run(block: int = block, warps: int = warps) -> tuple[Tensor, ...]:
            _copy_kernel[(triton.cdiv(words, block),)](source, target, words, BLOCK=block, num_warps=warps)
            return (target,)

        graphs[f"triton {block}x{warps}"] = Graph(run)
    timings = time_graphs({name: graph.replay for name, graph in graphs.items()}, rounds=10, flush=False)
    best = min(timings, key=lambda name: timings[name].median_us)
    return best, graphs[best]
