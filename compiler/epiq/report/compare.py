"""One model, three ways: eager, Inductor, epiq. Outputs are checked first, then times taken."""

from __future__ import annotations

import time
import traceback
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from epiq.frontend import recording
from epiq.report.timing import (
    KernelTime,
    Run,
    Timing,
    capture_cuda_graph,
    kernel_kind,
    kernel_times,
    time_interleaved,
)

# Backends and their options. An error of ours is one: a side that Inductor quietly took over would
# pass for ours.
BACKENDS: dict[str, dict[str, Any] | None] = {"inductor": None, "epiq": {"epiq.strict": True}}
# Two bf16 results of one model differ where a sum in another order flips a rounding, and a flipped
# FP8 value travels through the layers. Inductor differs from eager in the same way, so it sets the
# bound, with half a bf16 step as the least.
TOLERANCE_FACTOR = 2.0
LEAST_TOLERANCE = 2.0**-8


@dataclass
class Side:
    """One way to run the model. Without a timing, `error` says what failed.

    fused_kernels: row programs in the graph. rel_l2: |y - eager| / |eager| over all outputs.
    graphed: timed as CUDA-graph replays.
    """

    name: str
    error: str = ""
    compile_s: float = 0.0
    fused_kernels: int = 0
    rel_l2: float | None = None
    graphed: bool = False
    timing: Timing | None = None
    kernels: tuple[KernelTime, ...] = ()

    def time_us_by_kind(self) -> dict[str, float]:
        """Microseconds of a call in gemm, attention, epiq, inductor and other kernels."""
        times: dict[str, float] = defaultdict(float)
        for kernel in self.kernels:
            times[kernel_kind(kernel.name)] += kernel.time_us
        return dict(times)

    def launches(self) -> float:
        return sum(kernel.launches for kernel in self.kernels)


@dataclass
class Comparison:
    """All sides, eager first. ok: every side ran and its output is as close to eager as it must be."""

    sides: dict[str, Side] = field(default_factory=dict)
    ok: bool = False

    def speedup(self) -> float | None:
        """Inductor's median over ours."""
        ours, theirs = self.sides["epiq"].timing, self.sides["inductor"].timing
        return theirs.median_us / ours.median_us if ours and theirs else None


def compare(
    model: nn.Module, inputs: Sequence[Tensor], *, repeats: int = 30, profile: bool = True
) -> Comparison:
    """Compiles the model with Inductor and with epiq, checks both against eager, times all three.

    Args: inputs: tensors on the model's device; on CUDA both compiled sides run as CUDA graphs.
    repeats: calls timed of each side, interleaved; a third of them for eager.
    """
    device = inputs[0].device.type
    comparison = Comparison({name: Side(name) for name in ("eager", *BACKENDS)})
    torch._dynamo.reset()
    with torch.no_grad():
        expected = model(*inputs)
        runs: dict[str, Run] = {"eager": lambda: model(*inputs)}
        comparison.sides["eager"].rel_l2 = 0.0
        for name in BACKENDS:
            run = _prepare(model, inputs, comparison.sides[name], expected)
            if run is not None:
                runs[name] = run
        timings = time_interleaved(
            runs, repeats=repeats, device=device, repeats_of={"eager": max(repeats // 3, 1)}
        )
        for name, timing in timings.items():
            side = comparison.sides[name]
            side.timing = timing
            if profile and device == "cuda":
                side.kernels = _kernels_or_none(runs[name], side)
    comparison.ok = _all_close(comparison)
    return comparison


def rel_l2(actual: Tensor, expected: Tensor) -> float:
    """|actual - expected| / |expected|, in f64; NaN when either holds one."""
    wide = expected.double()
    return float((actual.double() - wide).norm() / wide.norm())


def _prepare(model: nn.Module, inputs: Sequence[Tensor], side: Side, expected: Tensor) -> Run | None:
    """Compiles, captures and checks one side. Returns what to time; None when it failed."""
    try:
        compiled: Any = torch.compile(
            model, backend=side.name, options=BACKENDS[side.name], dynamic=False, fullgraph=True
        )
        start = time.perf_counter()
        with recording() as records:
            actual = compiled(*inputs)
        side.fused_kernels = sum(len(record.used) for record in records)
        side.compile_s = time.perf_counter() - start
        if inputs[0].device.type != "cuda":
            side.rel_l2 = rel_l2(actual, expected)
            return lambda: compiled(*inputs)
        graphed = capture_cuda_graph(lambda: compiled(*inputs))
        # What the graph does not write must not pass for a result.
        graphed.output.fill_(float("nan"))
        graphed.replay()
        side.rel_l2 = rel_l2(graphed.output, expected)
        side.graphed = True
        return graphed.replay
    except Exception as error:  # A side that fails is a line of the report, not the end of it.
        side.error = f"{type(error).__name__}: {error}\n{traceback.format_exc(limit=-4)}"
        return None


def _kernels_or_none(run: Run, side: Side) -> tuple[KernelTime, ...]:
    try:
        return kernel_times(run)
    except Exception as error:  # The profiler is not there in every container.
        side.error = f"no profile: {type(error).__name__}: {error}"
        return ()


def _all_close(comparison: Comparison) -> bool:
    ours, theirs = comparison.sides["epiq"], comparison.sides["inductor"]
    if ours.timing is None or ours.rel_l2 is None or not ours.fused_kernels:
        return False
    bound = max(TOLERANCE_FACTOR * (theirs.rel_l2 or 0.0), LEAST_TOLERANCE)
    return ours.rel_l2 <= bound  # False for a NaN.
