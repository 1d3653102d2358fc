"""Times work on a GPU: short runs are queued behind a wait, so that the host's pace is not what is timed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Protocol

import torch

# One sample takes about this long on the GPU, in at least and at most so many runs.
_SAMPLE_US = 400.0
_LEAST_RUNS, _MOST_RUNS = 2, 20
# Cycles a second of no GPU of today: the wait is rather too long than too short.
_CYCLES_PER_S = 2.2e9
_LONGEST_WAIT_S = 0.05


class Clock(Protocol):
    """What measures; tests give one that reads from a list."""

    def refusal(self, device: torch.device) -> str:
        """Why nothing can be timed on `device` now, "" where it can."""

    def is_capturing(self, device: torch.device) -> bool:
        """Whether what is launched now is captured in a graph and does not run."""

    def sampler(self, run: Callable[[], Any]) -> Callable[[], float]:
        """Readies a run. Each call of the result times it once more, in microseconds."""

    def environment(self, device: torch.device) -> dict[str, object]:
        """The device and the versions that times hold for, as plain JSON values."""


class GpuClock:
    """CUDA events around several runs on the current stream.

    The runs wait in the stream behind a kernel that does nothing for longer than the host takes to launch
    them: they then follow one another as in a CUDA graph, without one, which might be captured around us.
    """

    def refusal(self, device: torch.device) -> str:
        if device.type != "cuda":
            return "no GPU"
        return "a CUDA graph is being captured" if self.is_capturing(device) else ""

    def is_capturing(self, device: torch.device) -> bool:
        return device.type == "cuda" and torch.cuda.is_current_stream_capturing()

    def sampler(self, run: Callable[[], Any]) -> Callable[[], float]:
        run()
        torch.cuda.synchronize()
        runs = max(_LEAST_RUNS, min(_MOST_RUNS, math.ceil(_SAMPLE_US / max(self._time_us(run, 2, 0.0), 1.0))))
        start = time.perf_counter()
        for _ in range(runs):
            run()
        wait_s = min(2.0 * (time.perf_counter() - start), _LONGEST_WAIT_S)
        torch.cuda.synchronize()
        return lambda: self._time_us(run, runs, wait_s)

    def environment(self, device: torch.device) -> dict[str, object]:
        from epiq.codegen.compile import environment

        facts: dict[str, object] = {"torch": torch.__version__, "cuda": torch.version.cuda}
        if device.type == "cuda":
            major, minor = torch.cuda.get_device_capability(device)
            facts["device"] = torch.cuda.get_device_name(device)
            facts |= environment(major * 10 + minor)
        return facts

    def _time_us(self, run: Callable[[], Any], runs: int, wait_s: float) -> float:
        begin, end = _event(), _event()
        if wait_s:
            torch.cuda._sleep(int(wait_s * _CYCLES_PER_S))  # type: ignore[no-untyped-call]
        begin.record()
        for _ in range(runs):
            run()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) * 1000.0 / runs


def _event() -> Any:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
