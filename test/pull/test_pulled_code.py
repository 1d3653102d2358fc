"""Attention without its quantization as machine code, without a GPU."""

from __future__ import annotations

import pytest
import quantizing_kernels as kernels
import torch

import epiq
from epiq import codegen

DOT = {"sm_90a": "wgmma.mma_async", "sm_100a": "tcgen05.mma"}
HEADS, TOKENS, D = 8, 4096, 128


def meta(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


@pytest.mark.parametrize("target", ["sm_90a", "sm_100a"])
def test_attention_gets_smaller_and_spills_nothing(target):
    q, k = meta(1, HEADS, TOKENS, D), meta(1, HEADS, TOKENS, D, dtype=torch.float8_e4m3fn)
    pulled = epiq.pull_quant(kernels.attention_per_token, "q_ptr")
    made = pulled.specialize(
        q, k, k, meta(1, HEADS, TOKENS, D), *q.stride()[:3], *k.stride()[:3], HEADS, TOKENS, TOKENS, 0.1,
        D=D, BM=128, BN=64, num_warps=8,
    )  # fmt: skip
    after = made.compiled(target)
    before = codegen.compile_ttir(
        made.ir("kernel"), after.target, num_warps=8, num_stages=3, exact=False, isolate=True
    )
    assert DOT[target] in after.ptx
    assert after.ptx.count("\n") < before.ptx.count("\n")
    # One division a row is left, of the result.
    assert after.ptx.count("div.full") < before.ptx.count("div.full")
    resources = codegen.ptxas_report(after)
    assert (resources.spill_stores, resources.spill_loads) == (0, 0)
