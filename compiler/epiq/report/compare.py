"""One function, several ways: eager, Inductor, epiq. Outputs are checked first, then times taken."""

from __future__ import annotations

import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from epiq.frontend import CompilationRecord, recording
from epiq.report.timing import (
    KernelTime,
    Run,
    Timing,
    capture_cuda_graph,
    kernel_kind,
    kernel_times,
    time_interleaved,
)


@dataclass(frozen=True)
class How:
    """Arguments of torch.compile."""

    backend: str
    mode: str | None = None
    options: Mapping[str, Any] | None = None


# An error of ours is one: a side that Inductor quietly took over would pass for ours.
EPIQ = How("epiq", options={"epiq.strict": True})
SIDES: dict[str, How] = {"inductor": How("inductor"), "epiq": EPIQ}
# Without Inductor's own CUDA graphs: all sides are captured in the same way.
ALL_SIDES: dict[str, How] = {
    "inductor": How("inductor"),
    "inductor max-autotune": How("inductor", mode="max-autotune-no-cudagraphs"),
    "epiq": EPIQ,
}
# Two bf16 results of one model differ where a sum in another order flips a rounding, and a flipped
# FP8 value travels through the layers. Inductor differs from eager in the same way, so it sets the
# bound, with half a bf16 step as the least.
TOLERANCE_FACTOR = 2.0
LEAST_TOLERANCE = 2.0**-8


@dataclass
class Side:
    """One way to run the model. Without a timing, `error` says what failed.

    fused_kernels: row programs in the graph. rel_l2: |y - eager| / |eager| over all outputs.
    graphed: timed as CUDA-graph replays. records: what epiq made of each graph.
    """

    name: str
    error: str = ""
    compile_s: float = 0.0
    fused_kernels: int = 0
    rel_l2: float | None = None
    graphed: bool = False
    timing: Timing | None = None
    kernels: tuple[KernelTime, ...] = ()
    records: tuple[CompilationRecord, ...] = ()

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

    def speedup(self, baseline: str = "inductor") -> float | None:
        """The baseline's median over ours."""
        ours, theirs = self.sides["epiq"].timing, self.sides[baseline].timing
        return theirs.median_us / ours.median_us if ours and theirs else None


@dataclass(frozen=True)
class Call:
    """`function(*args, **kwargs)`, which gives tensors. reset(): puts back what a call changes."""

    function: Callable[..., Any]
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    reset: Callable[[], None] | None = None

    def device(self) -> str:
        """The kind of device of the inputs, or of the parameters where no input is a tensor."""
        tensors = [x for x in pytree.tree_leaves((self.args, dict(self.kwargs))) if isinstance(x, Tensor)]
        return tensors[0].device.type if tensors else "cpu"

    def run(self, compiled: Callable[..., Any] | None = None) -> Any:
        """The results, from the same start as every other call."""
        if self.reset is not None:
            self.reset()
        # A compiled module has no truth value: it claims to have a length.
        function = self.function if compiled is None else compiled
        return function(*self.args, **self.kwargs)


def compare(
    function: Callable[..., Any],
    inputs: Sequence[Any],
    *,
    kwargs: Mapping[str, Any] | None = None,
    reset: Callable[[], None] | None = None,
    sides: Mapping[str, How] = SIDES,
    repeats: int = 30,
    profile: bool = True,
    on_step: Callable[[str], None] | None = None,
) -> Comparison:
    """Compiles a function in several ways, checks each against eager, times all of them and eager.

    Args: inputs, kwargs: tensors on the model's device; on CUDA compiled sides run as CUDA graphs. reset:
    called before each call. repeats: calls timed of each side, interleaved; a third of them for eager.
    on_step: is told what comes next.
    """
    call = Call(function, inputs, kwargs or {}, reset)
    device, say = call.device(), on_step or (lambda what: None)
    comparison = Comparison({name: Side(name) for name in ("eager", *sides)})
    torch._dynamo.reset()
    with torch.no_grad():
        say("eager")
        expected = _copied(call.run())
        runs: dict[str, Run] = {"eager": lambda: function(*inputs, **call.kwargs)}
        comparison.sides["eager"].rel_l2 = 0.0
        for name, how in sides.items():
            say(f"{name}: compile, check")
            run = _prepare(call, how, comparison.sides[name], expected)
            if run is not None:
                runs[name] = run
        say("time all, in turn")
        timings = time_interleaved(
            runs, repeats=repeats, device=device, repeats_of={"eager": max(repeats // 3, 1)}, before=reset
        )
        for name, timing in timings.items():
            side = comparison.sides[name]
            side.timing = timing
            if profile and device == "cuda":
                say(f"{name}: profile")
                side.kernels = _kernels_or_none(runs[name], side, reset)
    comparison.ok = _all_close(comparison)
    return comparison


def rel_l2(actual: Any, expected: Any) -> float:
    """|actual - expected| / |expected| over all tensors of floats, in f64; NaN when either holds one."""
    pairs = zip(_floats(actual), _floats(expected), strict=True)
    squares = [((a.double() - b.double()).square().sum(), b.double().square().sum()) for a, b in pairs]
    return float((sum(off for off, _ in squares) / sum(size for _, size in squares)) ** 0.5)


def _floats(results: Any) -> list[Tensor]:
    return [x for x in pytree.tree_leaves(results) if isinstance(x, Tensor) and x.is_floating_point()]


def _copied(results: Any) -> Any:
    return pytree.tree_map_only(Tensor, torch.clone, results)


def _prepare(call: Call, how: How, side: Side, expected: Any) -> Run | None:
    """Compiles, captures and checks one side. Returns what to time; None when it failed."""
    try:
        compiled: Any = torch.compile(
            call.function,
            backend=how.backend,
            mode=how.mode,
            options=dict(how.options) if how.options else None,
            dynamic=False,
            fullgraph=True,
        )
        start = time.perf_counter()
        with recording() as records:
            actual = call.run(compiled)
        side.records = tuple(records)
        side.fused_kernels = sum(len(record.used) for record in records)
        side.compile_s = time.perf_counter() - start
        if call.device() != "cuda":
            side.rel_l2 = rel_l2(actual, expected)
            return lambda: compiled(*call.args, **call.kwargs)
        graphed = capture_cuda_graph(lambda: compiled(*call.args, **call.kwargs))
        # What the graph does not write must not pass for a result.
        for output in _floats(graphed.output):
            output.fill_(float("nan"))
        if call.reset is not None:
            call.reset()
        graphed.replay()
        side.rel_l2 = rel_l2(graphed.output, expected)
        side.graphed = True
        return graphed.replay
    except Exception as error:  # A side that fails is a line of the report, not the end of it.
        side.error = f"{type(error).__name__}: {error}\n{traceback.format_exc(limit=-4)}"
        return None


def _kernels_or_none(run: Run, side: Side, reset: Callable[[], None] | None) -> tuple[KernelTime, ...]:
    try:
        if reset is not None:
            reset()
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
