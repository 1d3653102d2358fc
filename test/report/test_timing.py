"""Timing and comparing, as far as it goes without a GPU."""

from __future__ import annotations

import torch

from epiq.report.compare import Comparison, Side, rel_l2
from epiq.report.timing import Timing, kernel_kind, summarize, time_interleaved


def test_functions_take_turns():
    """Drift must hit all sides alike."""
    calls: list[str] = []
    runs = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    timings = time_interleaved(runs, repeats=4, device="cpu", repeats_of={"b": 2})
    assert calls == ["a", "b"] + ["a", "b"] * 2 + ["a", "a"]
    assert (timings["a"].samples, timings["b"].samples) == (4, 2)


def test_summary_of_samples():
    timing = summarize([float(value) for value in range(1, 12)])
    assert (timing.median_us, timing.p10_us, timing.p90_us) == (6.0, 2.0, 10.0)
    assert summarize([3.0]) == Timing(3.0, 3.0, 3.0, 1)


def test_kinds_of_kernels():
    names = {
        "epiq_rms_norm_quantize_4096": "epiq",
        "triton_red_fused_0": "inductor",
        "cudnn_generated_fort_native_sdpa_sm90_flash_fprop": "attention",
        "nvjet_qqtst_128x256_128x6_2x1_v_bz_TNT": "gemm",
        "void at::native::vectorized_elementwise_kernel": "other",
    }
    assert {name: kernel_kind(name) for name in names} == names


def test_relative_error():
    ones = torch.ones(4)
    assert rel_l2(ones * 1.5, ones) == 0.5
    assert rel_l2(ones * torch.nan, ones) != rel_l2(ones * torch.nan, ones)


def test_speedup_needs_both_sides():
    sides = {name: Side(name) for name in ("eager", "inductor", "epiq")}
    comparison = Comparison(sides)
    assert comparison.speedup() is None
    sides["inductor"].timing = Timing(20.0, 20.0, 20.0, 1)
    sides["epiq"].timing = Timing(10.0, 10.0, 10.0, 1)
    assert comparison.speedup() == 2.0
