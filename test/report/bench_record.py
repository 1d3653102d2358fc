"""A small record of `epiq bench`, as a GPU would have measured it: one cell won, one lost, one failed."""

from __future__ import annotations

from typing import Any


def side(median_us: float, rel_l2: float, kernels: list[dict[str, Any]]) -> dict[str, Any]:
    timing = {"median_us": median_us, "p10_us": median_us * 0.9, "p90_us": median_us * 1.1, "samples": 30}
    launches = sum(kernel["launches"] for kernel in kernels)
    return {
        "error": "", "compile_s": 4.5, "fused_kernels": 1, "rel_l2": rel_l2, "launches": launches,
        "timing": timing, "kernels": kernels,
    }  # fmt: skip


def kernel(name: str, kind: str, time_us: float, launches: int = 2) -> dict[str, Any]:
    return {"name": name, "kind": kind, "launches": launches, "time_us": time_us}


def cell(name: str, inductor_us: float, autotune_us: float, epiq_us: float) -> dict[str, Any]:
    gemm = kernel("nvjet<void>", "gemm", 400.0)
    return {
        "name": name, "num_tokens": 8192, "ok": True, "error": "",
        "sides": {
            "eager": side(3e4, 0.0, []),
            "inductor": side(inductor_us, 5e-2, [gemm, kernel("triton_red_fused", "inductor", 300.0)]),
            "inductor max-autotune": side(autotune_us, 5e-2, [gemm]),
            "epiq": side(epiq_us, 4e-2, [gemm, kernel("epiq_silu_mul_quantize_512", "epiq", 100.0)]),
        },
        "groups": [{
            "name": "epiq_silu_mul_quantize_512", "parts": ["silu_mul", "quantize"], "count": 2, "rows": 8192,
            "bytes": 100_000_000, "unfused_bytes": 180_000_000, "unfused_kernels": 3,
        }],
        "quantizations": 3, "fused": 2, "other_nodes": {"_scaled_mm": 2},
    }  # fmt: skip


def record() -> dict[str, Any]:
    won, lost = cell("prefill 4 x 2048", 1200.0, 1100.0, 1000.0), cell("prefill 1 x 128", 90.0, 80.0, 100.0)
    failed = {
        "name": "decode 32 at 2048",
        "num_tokens": 32,
        "ok": False,
        "error": "OutOfMemoryError: too <much>",
    }
    return {
        "schema": 1, "measured": True, "model": "llama-3-8b, block FP8", "command": "epiq bench llama-3-8b",
        "machine": "NVIDIA H100", "conditions": {"weights": "random"}, "copy_gb_per_s": 3000.0,
        "cells": [won, lost, failed],
    }  # fmt: skip
