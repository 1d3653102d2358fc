"""Times schedules of a kernel on the GPU at compile time, keeps the fastest, and remembers it on disk.

`quick` tries the neighbours of the default schedule, and only where all give the same bits: a program that
sums over its row adds in an order that the schedule decides. `full` tries every schedule in reach of every
program; sums may then differ from those of the default schedule in their last bits, and so from those of the
same norm in another kernel. A gain too small to be seen again keeps the default.
"""

from __future__ import annotations

import json
import logging
import statistics
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from epiq.codegen import Target
from epiq.codegen.cache import key_of, schedule_cache
from epiq.codegen.compile import environment
from epiq.pipeline.candidates import all_schedules, near_schedules
from epiq.pipeline.program import RowProgram, Schedule
from epiq.runtime.buckets import bucket
from epiq.runtime.gpu import Launcher, device_target, make_launcher

if TYPE_CHECKING:
    from epiq.runtime.kernel import Kernel

log = logging.getLogger("epiq")

Mode = Literal["quick", "full"]

# Larger counts of rows run at the same rate.
_MAX_TIMED_BYTES = 1 << 30
_ROUNDS, _LAUNCHES = 9, 10
_MIN_GAIN = 0.02
_SUM = "epiq.reduce sum"

_tuned: dict[tuple[str, str, int, int], Schedule] = {}


def tune(kernel: Kernel, device: torch.device, num_rows: int, mode: Mode = "quick") -> None:
    """Gives `kernel` the fastest launcher for the bucket of `num_rows`, measured at most once a machine.

    Does nothing while the current stream is captured.
    """
    target = device_target(device)
    if target is None or torch.cuda.is_current_stream_capturing():
        return
    index = torch.cuda.current_device() if device.index is None else device.index
    rows = bucket(num_rows)
    found = (mode, kernel.program.key, index, rows)
    if found not in _tuned:
        _tuned[found] = _remembered(kernel.program, torch.device("cuda", index), rows, target, mode)
    kernel.prefer(device, num_rows, make_launcher(kernel.program, _tuned[found], device))


def candidates(program: RowProgram, num_rows: int, target: Target, mode: Mode) -> list[Schedule]:
    """The schedules that compete, the default first."""
    if mode == "full":
        return all_schedules(program, num_rows, target)
    near = near_schedules(program, num_rows, target)
    return near[:1] if program.full_row and _SUM in program.ir else near


def _remembered(
    program: RowProgram, device: torch.device, num_rows: int, target: Target, mode: Mode
) -> Schedule:
    """The schedule that was measured before, by this or another process, or is measured now."""
    schedules = candidates(program, num_rows, target, mode)
    if len(schedules) == 1:
        return schedules[0]
    facts = {
        "program": program.key,
        "device": torch.cuda.get_device_name(device),
        "rows": num_rows,
        "candidates": [asdict(schedule) for schedule in schedules],
        **environment(target.arch),
    }
    cache, key = schedule_cache(), key_of(facts)
    sections = cache.get(key)
    if sections is not None:
        try:
            return schedules[int(json.loads(sections["decision"])["fastest"])]
        except (ValueError, KeyError, TypeError, IndexError) as error:
            log.warning("schedule of %s is measured again: %s", program.name, error)
    index, times_us = _fastest(program, schedules, device, num_rows)
    decision = {"name": program.name, "rows": num_rows, "fastest": index, "times_us": times_us}
    cache.put(key, {"decision": json.dumps(decision).encode()})
    return schedules[index]


def _fastest(
    program: RowProgram, schedules: list[Schedule], device: torch.device, num_rows: int
) -> tuple[int, list[float | None]]:
    """Index of the fastest schedule, and the time of each; None for one that cannot be compiled."""
    rows = max(1, min(num_rows, _MAX_TIMED_BYTES // max(program.num_bytes(1), 1)))
    inputs, outputs, strides = _tensors(program, rows, device)
    times: list[float | None] = []
    for index, schedule in enumerate(schedules):
        try:
            launcher = make_launcher(program, schedule, device)
        except Exception as error:
            if index == 0:
                raise
            log.info("schedule %s of %s is left out: %s", schedule, program.name, error)
            times.append(None)
            continue
        times.append(round(_time_us(launcher, inputs, outputs, rows, strides), 3))
    best = min((time, index) for index, time in enumerate(times) if time is not None)[1]
    default_us, best_us = times[0], times[best]
    assert default_us is not None and best_us is not None
    log.info("%s, %d rows: %.1f us, %.1f us by default", program.name, rows, best_us, default_us)
    return (best if best_us < default_us * (1.0 - _MIN_GAIN) else 0), times


def _tensors(
    program: RowProgram, rows: int, device: torch.device
) -> tuple[list[Tensor], list[Tensor], list[int]]:
    """Stand-ins as bytes: kernels see pointers, and zeros are as fast as any values."""

    def stand_in(spec_bytes: int) -> Tensor:
        return torch.zeros(max(spec_bytes, 16), dtype=torch.uint8, device=device)

    # All indices are 0 there, and lead to the first row of a table.
    inputs = [stand_in(spec.num_bytes(rows)) for spec in program.inputs]
    outputs = [stand_in(spec.num_bytes(rows)) for spec in program.outputs]
    strides = [spec.row_width for spec in program.inputs if spec.row_like]
    return inputs, outputs, strides


def _time_us(
    launcher: Launcher, inputs: list[Tensor], outputs: list[Tensor], rows: int, strides: list[int]
) -> float:
    """Median time of one launch, as part of a CUDA graph: the host is too slow to time short kernels."""
    with torch.cuda.device(outputs[0].device):
        launcher(inputs, outputs, rows, strides)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(_LAUNCHES):
                launcher(inputs, outputs, rows, strides)
        graph.replay()
        times = []
        for _ in range(_ROUNDS):
            begin, end = _event(), _event()
            begin.record()
            graph.replay()
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end) * 1000.0 / _LAUNCHES)
        return float(statistics.median(times))


def _event() -> Any:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
