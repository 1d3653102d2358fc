"""Kernels of producers at the sizes of models, compiled: no spills, and libdevice is linked."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses import FakeTensorMode

from epiq import formats, quantize
from epiq.codegen import Target, compile_ttir, ptxas_report
from epiq.frontend import capture
from epiq.pipeline import default_schedule, lower

TOKENS = 4096


def add_norm(x: Tensor, r: Tensor) -> tuple[Tensor, ...]:
    h = x + r
    return *quantize(F.rms_norm(h, h.shape[-1:]), formats.FP8_PER_TOKEN), h


def layer_norm(x: Tensor) -> tuple[Tensor, ...]:
    return quantize(F.layer_norm(x, x.shape[-1:]), formats.FP8_GROUP128)


def interleaved_swiglu(x: Tensor) -> tuple[Tensor, ...]:
    gate, up = x[..., ::2].clamp(max=7.0), x[..., 1::2].clamp(-7.0, 7.0)
    return quantize(gate * torch.sigmoid(1.702 * gate) * (up + 1), formats.FP8_GROUP64)


def gelu_mul(gate: Tensor, up: Tensor) -> tuple[Tensor, ...]:
    return quantize(F.gelu(gate, approximate="tanh") * up, formats.FP8_GROUP128)


@pytest.mark.parametrize(
    ("fn", "width", "count", "arch"),
    [
        (add_norm, 32768, 2, 90),
        (layer_norm, 5120, 1, 100),
        (gelu_mul, 11008, 2, 90),
        (interleaved_swiglu, 5760, 1, 90),
    ],
    ids=["add_norm", "layer_norm", "gelu_mul", "interleaved_swiglu"],
)
def test_one_kernel_without_spills(fn: Callable[..., object], width: int, count: int, arch: int) -> None:
    with FakeTensorMode():
        args = [torch.empty(TOKENS, width, dtype=torch.bfloat16) for _ in range(count)]
    (record,) = capture(fn, *args)
    assert record.grouped is not None
    (program,) = record.grouped.programs
    target = Target(arch)
    schedule = default_schedule(program, TOKENS, target)
    text = lower(program, schedule)
    compiled = compile_ttir(text, target, num_warps=schedule.num_warps, num_stages=schedule.num_stages)
    report = ptxas_report(compiled)
    assert (report.spill_stores, report.spill_loads) == (0, 0), report
    loads = [line for line in compiled.ptx.splitlines() if "ld.global" in line]
    assert all(".v4.b32" in line or ".v2.b32" in line for line in loads), loads
    assert ("__nv_tanhf" in text) == (fn is gelu_mul)
