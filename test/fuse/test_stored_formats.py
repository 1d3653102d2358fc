"""Formats and layouts as an epilogue of a GEMM: the bits of `epiq.quantize` of its unfused output."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import user_kernels as kernels
from test_fused_kernels import K, cdiv, operands
from torch import Tensor
from unfused import run_kernel, same_bits

import epiq
from epiq.formats import FP8_GROUP64, INT8_PER_TOKEN, MXFP4, MXFP8, NVFP4, QuantFormat

FP8_UE8M0 = replace(FP8_GROUP64, name="ue8m0", scale_dtype="f8E8M0FNU", scale_rounding="rceil")
TILE = {"BLOCK_M": 64, "BLOCK_N": 128, "BLOCK_K": 32, "GROUP_M": 2, "num_warps": 4}
# More than one block of 128 rows, and a last tile of few rows.
M, N = 131, 192
POISON = 77


def laid_out(fmt: QuantFormat, layout: str) -> QuantFormat:
    return replace(fmt, name=f"{fmt.name}_{layout}", scale_layout=layout)


def poisoned(like: Tensor) -> Tensor:
    """A tensor like another one, none of whose bytes is zero."""
    size = like.storage_offset() + sum(
        (n - 1) * step for n, step in zip(like.shape, like.stride(), strict=True)
    )
    memory = torch.full((like.element_size() * (size + 1),), POISON, dtype=torch.uint8)
    return memory.view(like.dtype).as_strided(like.shape, like.stride())


def check(fmt: QuantFormat, m: int = M, n: int = N) -> None:
    a, b, c = operands(m, n)
    args = (m, n, K, K, 1, n, 1, n, 1)
    grid = (cdiv(m, 64) * cdiv(n, 128),)
    run_kernel(kernels.matmul_grouped, grid, a, b, c, *args, **TILE)
    inputs = {"global_scale": torch.tensor(2.5)} if fmt.global_scale else {}
    expected = epiq.quantize(c, fmt, **inputs)
    fused = epiq.fuse(kernels.matmul_grouped, "c_ptr", epiq.Quantize(fmt))
    q, scale = map(poisoned, expected)
    fused[grid](a, b, None, *args, q=q, scale=scale, **inputs, **TILE)
    for found, wanted in zip((q, scale), expected, strict=True):
        assert same_bits(found, wanted)


@pytest.mark.parametrize(
    "fmt",
    [FP8_UE8M0, MXFP8, MXFP4, NVFP4, laid_out(FP8_GROUP64, "tma_aligned"),
     laid_out(FP8_UE8M0, "packed_ue8m0"), laid_out(MXFP8, "swizzled_128x4"),
     laid_out(NVFP4, "swizzled_128x4")],
    ids=lambda fmt: fmt.name,
)  # fmt: skip
def test_bits_are_those_of_the_reference(fmt):
    """Scales of 3, 6 and 12 groups a row: words and blocks that are full, and that are padded."""
    check(fmt)


def test_int8_per_token():
    """A row a program: one tile holds all that share a scale."""
    rows, width = 3, 512
    x = torch.randn(rows, 2 * width).bfloat16()
    c = torch.zeros(rows, width, dtype=torch.bfloat16)
    block = {"BLOCK": width}
    run_kernel(kernels.double_row, (rows,), x, c, 2 * width, width, **block)
    expected = epiq.quantize(c, INT8_PER_TOKEN)
    fused = epiq.fuse(kernels.double_row, "out_ptr", epiq.Quantize(INT8_PER_TOKEN))
    q, scale = map(torch.zeros_like, expected)
    fused[(rows,)](x, None, 2 * width, width, q=q, scale=scale, **block)
    assert same_bits(q, expected[0])
    assert same_bits(scale, expected[1])


def specialize(fmt: QuantFormat, scale: Tensor) -> str:
    a, b, c = operands(M, N)
    fused = epiq.fuse(kernels.matmul_grouped, "c_ptr", epiq.Quantize(fmt))
    args = (a, b, None, M, N, K, K, 1, N, 1, N, 1)
    return fused.specialize(*args, q=epiq.quantize(c, fmt)[0], scale=scale, **TILE).ir("fused")


def test_a_layout_says_what_its_tensor_is():
    swizzled = torch.zeros(1, 2, 32, 4, 4, dtype=torch.float8_e8m0fnu)
    with pytest.raises(ValueError, match=r"scale must have shape \(2, 2, 32, 4, 4\) and strides"):
        specialize(laid_out(MXFP8, "swizzled_128x4"), swizzled)
    packed = torch.zeros(2 * M, dtype=torch.int32).as_strided((M, 1), (2, 1))
    with pytest.raises(ValueError, match=r"strides \(1, 132\), as scales of 131 x 3 in packed_ue8m0 have"):
        specialize(laid_out(FP8_UE8M0, "packed_ue8m0"), packed)


def test_two_values_a_byte_lie_in_rows():
    a, b, c = operands(M, N)
    q, scale = epiq.quantize(c, MXFP4)
    q = q.view(torch.uint8).t().contiguous().t().view(q.dtype)
    fused = epiq.fuse(kernels.matmul_grouped, "c_ptr", epiq.Quantize(MXFP4))
    with pytest.raises(ValueError, match="q holds two values a byte, and its rows must be contiguous"):
        fused.specialize(a, b, None, M, N, K, K, 1, N, 1, N, 1, q=q, scale=scale, **TILE)
