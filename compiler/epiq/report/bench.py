"""What `epiq bench` measures, as plain JSON values, and where there is no GPU, what it counts.

    {"schema": 1, "measured": bool, "model": str, "command": str, "machine": str, "conditions": {name: text},
     "copy_gb_per_s": float,                      # of a plain copy, reads plus writes; 0 where not measured
     "cells": [{"name", "num_tokens", "ok", "error",
                "sides": {side: {"error", "compile_s", "fused_kernels", "rel_l2", "launches",
                                 "timing": {"median_us", "p10_us", "p90_us", "samples"} or null,
                                 "kernels": [{"name", "kind", "launches", "time_us"}]}},
                "groups": [{"name", "parts", "count", "rows", "bytes", "unfused_bytes", "unfused_kernels"}],
                "quantizations": int, "fused": int, "other_nodes": {op: count}}]}

`schema` changes when a field goes away or means something else.
"""

from __future__ import annotations

import platform
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from epiq.frontend import CompilationRecord, capture
from epiq.report.build import report_of
from epiq.report.compare import ALL_SIDES, Call, How, Side, compare
from epiq.report.timing import kernel_kind

SCHEMA = 1
_COPY_BYTES = 2**30


@dataclass(frozen=True)
class Workload:
    """One shape of a model. num_tokens: processed by a call."""

    name: str
    call: Call
    num_tokens: int


def measure_cell(
    workload: Workload,
    *,
    sides: Mapping[str, How] = ALL_SIDES,
    repeats: int = 30,
    on_step: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Times one workload on all sides. A failure is the cell's `error`, not raised."""
    call, cell = workload.call, failed_cell(workload, "")
    try:
        found = compare(
            call.function, call.args, kwargs=call.kwargs, reset=call.reset,
            sides=sides, repeats=repeats, on_step=on_step,
        )  # fmt: skip
    except Exception as error:  # The other cells are still worth their time.
        return {**cell, "error": f"{type(error).__name__}: {error}"}
    cell["ok"] = found.ok
    cell["sides"] = {name: _side(side) for name, side in found.sides.items()}
    return {**cell, **counts(found.sides["epiq"].records)}


def failed_cell(workload: Workload, error: str) -> dict[str, Any]:
    """A cell of which nothing is known but why."""
    return {"name": workload.name, "num_tokens": workload.num_tokens, "ok": False, "error": error}


def count_cell(workload: Workload) -> dict[str, Any]:
    """What can be said of one workload without running it: its graph, traced."""
    cell: dict[str, Any] = {"name": workload.name, "num_tokens": workload.num_tokens, "ok": True, "error": ""}
    call = workload.call
    try:
        with torch.no_grad():
            records = capture(call.function, *call.args, **call.kwargs)
    except Exception as error:
        return {**cell, "ok": False, "error": f"{type(error).__name__}: {error}"}
    return {**cell, "sides": {}, **counts(records)}


def counts(records: Sequence[CompilationRecord]) -> dict[str, Any]:
    """The groups of some graphs, equal ones counted, and the opaque nodes that they leave."""
    report = report_of(records)
    groups = [
        {
            "name": kernel.name,
            "parts": list(kernel.parts),
            "count": count,
            "rows": kernel.num_rows,
            "bytes": kernel.num_bytes,
            "unfused_bytes": kernel.unfused_bytes,
            "unfused_kernels": kernel.unfused_kernels,
        }
        for kernel, count in Counter(report.kernels).items()
    ]
    left = Counter(re.sub(r"_\d+$", "", node).strip("_") for record in records for node in record.opaque)
    return {
        "groups": groups,
        "quantizations": len(report.quantizations),
        "fused": sum(q.fused for q in report.quantizations),
        "other_nodes": dict(left.most_common()),
    }


def _side(side: Side) -> dict[str, Any]:
    return {
        "error": side.error,
        "compile_s": round(side.compile_s, 2),
        "fused_kernels": side.fused_kernels,
        "rel_l2": side.rel_l2,
        "launches": side.launches(),
        "timing": asdict(side.timing) if side.timing else None,
        "kernels": [{**asdict(kernel), "kind": kernel_kind(kernel.name)} for kernel in side.kernels],
    }


def measure_copy(device: torch.device) -> float:
    """GB/s of the best plain copy of 1 GiB, reads plus writes; 0 without a GPU."""
    if device.type != "cuda":
        return 0.0
    source = torch.empty(_COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best = float("inf")
    for _ in range(10):
        start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        start.record()
        target.copy_(source)
        end.record()
        torch.cuda.synchronize()
        best = min(best, start.elapsed_time(end) * 1e-3)
    return 2 * _COPY_BYTES / best / 1e9


def describe_machine(device: torch.device) -> str:
    """Device, driver and versions in one line."""
    import triton

    versions = f"torch {torch.__version__}, triton {triton.__version__}, python {platform.python_version()}"
    if device.type != "cuda":
        return f"no GPU ({platform.machine()}), {versions}"
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "-i", "0"]
    try:
        driver = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        driver = "unknown"
    return f"{torch.cuda.get_device_name(device)}, driver {driver}, CUDA {torch.version.cuda}, {versions}"
