"""Fused GEMMs as machine code, without a GPU: what the fusion must leave as it was."""

from __future__ import annotations

import re

import pytest
import torch
import user_kernels as kernels

import epiq
from epiq import codegen
from epiq.formats import FP8_GROUP128, quantize

SIZE = 1024
TILE = {"BLOCK_M": 128, "BLOCK_N": 256, "BLOCK_K": 64, "num_warps": 8, "num_stages": 3}
# The instructions of the tensor cores: Hopper's and Blackwell's.
DOT = {"sm_90a": "wgmma.mma_async", "sm_100a": "tcgen05.mma"}


def meta(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def specialize(layout: str):
    fused = epiq.fuse(kernels.matmul_grouped, output="c_ptr", epilogue=epiq.Quantize(FP8_GROUP128))
    scale = meta(SIZE, SIZE // 128, dtype=torch.float32)
    if layout == "column_major":
        scale = meta(SIZE // 128, SIZE, dtype=torch.float32).t()
    strides = (SIZE, 1, SIZE, 1, SIZE, 1)
    return fused.specialize(
        meta(SIZE, SIZE), meta(SIZE, SIZE), None, SIZE, SIZE, SIZE, *strides, GROUP_M=8, **TILE,
        q=meta(SIZE, SIZE, dtype=torch.float8_e4m3fn), scale=scale,
    )  # fmt: skip


@pytest.mark.parametrize("layout", ["row_major", "column_major"])
@pytest.mark.parametrize("target", ["sm_90a", "sm_100a"])
def test_keeps_tensor_cores_wide_stores_and_registers(target, layout):
    compiled = specialize(layout).compiled(target)
    assert DOT[target] in compiled.ptx
    # Values leave 16 bytes a thread at a time, and nothing leaves in bytes.
    assert re.search(r"st\.global(\.\w+)*\.v4\.b32", compiled.ptx)
    assert not re.search(r"st\.global\.b8", compiled.ptx)
    # One division for the scale and one for its reciprocal, not one a value: 128 values a thread.
    assert 1 <= len(re.findall(r"\bdiv\.rn", compiled.ptx)) <= 16
    resources = codegen.ptxas_report(compiled)
    assert (resources.spill_stores, resources.spill_loads) == (0, 0)


def gate_and_up(y):
    """silu(gate) * up of blocks of 64 columns that alternate, quantized."""
    parts = y.unflatten(-1, (-1, 2, 64))
    gate = parts[:, :, 0].float()
    activated = (gate / (1 + torch.exp(-gate))).bfloat16() * parts[:, :, 1]
    return quantize(activated.flatten(-2), FP8_GROUP128)


@pytest.mark.parametrize("target", ["sm_90a", "sm_100a"])
def test_silu_mul_of_one_tile_keeps_them_too(target):
    fused = epiq.fuse(kernels.matmul_grouped, "c_ptr", epiq.Epilogue(gate_and_up, outputs=("q", "scale")))
    strides = (SIZE, 1, 2 * SIZE, 1, 2 * SIZE, 1)
    compiled = fused.specialize(
        meta(SIZE, SIZE), meta(SIZE, 2 * SIZE), None, SIZE, 2 * SIZE, SIZE, *strides, GROUP_M=8, **TILE,
        q=meta(SIZE, SIZE, dtype=torch.float8_e4m3fn), scale=meta(SIZE, SIZE // 128, dtype=torch.float32),
    ).compiled(target)  # fmt: skip
    assert DOT[target] in compiled.ptx
    assert re.search(r"st\.global(\.\w+)*\.v4\.b32", compiled.ptx)
    assert len(re.findall(r"\bdiv\.rn", compiled.ptx)) <= 16
    resources = codegen.ptxas_report(compiled)
    assert (resources.spill_stores, resources.spill_loads) == (0, 0)


def test_levels_of_ir():
    made = specialize("row_major")
    assert "tt.func public @matmul_grouped" in made.ir("kernel")
    assert "epiq.row_program" in made.ir("epilogue")
    assert "f8E4M3FN" in made.ir("fused")
    assert "f8E4M3FN" not in made.ir("kernel")
    with pytest.raises(ValueError, match="level 'ptx' is not one of kernel, epilogue, fused"):
        made.ir("ptx")
    with pytest.raises(ValueError, match="target 'sm_80' is not one of"):
        made.ptx("sm_80")
