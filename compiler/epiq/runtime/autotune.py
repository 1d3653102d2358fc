"""Times a few schedules of a kernel on the GPU at compile time and keeps the fastest.

Only schedules that give the same bits compete: a program that sums over its row has one schedule,
since others would add in another order. A tie, or a gain too small to be seen again, keeps the default.
"""

from __future__ import annotations

import logging
import statistics
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from epiq import pipeline
from epiq.pipeline.program import RowProgram, Schedule
from epiq.runtime.buckets import bucket
from epiq.runtime.gpu import Launcher, device_target, make_launcher

if TYPE_CHECKING:
    from epiq.runtime.kernel import Kernel

log = logging.getLogger("epiq")

# Rows at which a kernel is timed at most: larger counts run at the same rate.
_MAX_TIMED_BYTES = 1 << 30
_ROUNDS, _LAUNCHES = 7, 10
_MIN_GAIN = 0.02
_SUM = "epiq.reduce sum"

_tuned: dict[tuple[str, int, int], Schedule] = {}


def tune(kernel: Kernel, device: torch.device, num_rows: int) -> None:
    """Gives `kernel` the fastest launcher for the bucket of `num_rows`, unless it has been tuned.

    Does nothing while the current stream is captured.
    """
    target = device_target(device)
    if target is None or torch.cuda.is_current_stream_capturing():
        return
    index = torch.cuda.current_device() if device.index is None else device.index
    rows = bucket(num_rows)
    key = (kernel.program.key, index, rows)
    schedule = _tuned.get(key)
    if schedule is None:
        default = pipeline.default_schedule(kernel.program, rows, target)
        schedule = _tuned[key] = _fastest(kernel.program, default, torch.device("cuda", index), rows)
    kernel.prefer(device, num_rows, make_launcher(kernel.program, schedule, device))


def candidates(program: RowProgram, default: Schedule, num_rows: int) -> list[Schedule]:
    """The default first, then fewer and more warps, then more rows a program for narrow rows."""
    if program.full_row and _SUM in program.ir:
        return [default]
    found = [default]
    for warps in (default.num_warps // 2, default.num_warps * 2):
        if 1 <= warps <= 16:
            found.append(replace(default, num_warps=warps))
    for rows in (2, 4):
        wide = rows * program.row_width > 16384
        if not wide and rows <= num_rows and rows != default.block_rows:
            found.append(replace(default, block_rows=rows))
    return list(dict.fromkeys(found))


def _fastest(program: RowProgram, default: Schedule, device: torch.device, num_rows: int) -> Schedule:
    rows = max(1, min(num_rows, _MAX_TIMED_BYTES // max(program.num_bytes(1), 1)))
    schedules = candidates(program, default, num_rows)
    if len(schedules) == 1:
        return default
    inputs, outputs, strides = _tensors(program, rows, device)
    timed: list[tuple[float, Schedule]] = []
    for schedule in schedules:
        try:
            launcher = make_launcher(program, schedule, device)
        except Exception as error:
            if schedule is default:
                raise
            log.info("schedule %s of %s is left out: %s", schedule, program.name, error)
            continue
        timed.append((_time_us(launcher, inputs, outputs, rows, strides), schedule))
    default_us = timed[0][0]
    best_us, best = min(timed, key=lambda pair: pair[0])
    log.info("%s, %d rows: %.1f us, %.1f us by default: %s", program.name, rows, best_us, default_us, best)
    return best if best_us < default_us * (1.0 - _MIN_GAIN) else default


def _tensors(
    program: RowProgram, rows: int, device: torch.device
) -> tuple[list[Tensor], list[Tensor], list[int]]:
    """Stand-ins as bytes: kernels see pointers, and zeros are as fast as any values."""

    def stand_in(spec_bytes: int) -> Tensor:
        return torch.zeros(max(spec_bytes, 16), dtype=torch.uint8, device=device)

    inputs = [stand_in(spec.num_bytes(rows)) for spec in program.inputs]
    outputs = [stand_in(spec.num_bytes(rows)) for spec in program.outputs]
    strides = [spec.row_width for spec in program.inputs if spec.row_like]
    return inputs, outputs, strides


def _time_us(
    launcher: Launcher, inputs: list[Tensor], outputs: list[Tensor], rows: int, strides: list[int]
) -> float:
    """Median time of one launch; the launches of a round follow one another without a gap."""
    with torch.cuda.device(outputs[0].device):
        launcher(inputs, outputs, rows, strides)
        torch.cuda.synchronize()
        times = []
        for _ in range(_ROUNDS):
            begin, end = _event(), _event()
            begin.record()
            for _ in range(_LAUNCHES):
                launcher(inputs, outputs, rows, strides)
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end) * 1000.0 / _LAUNCHES)
        return float(statistics.median(times))


def _event() -> Any:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
