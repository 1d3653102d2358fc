"""Fused kernels against the same kernels unfused, followed by `epiq.quantize`: the same bits."""

from __future__ import annotations

import pytest
import torch
import user_kernels as kernels
from triton.tools.tensor_descriptor import TensorDescriptor
from unfused import run_kernel, same_bits

import epiq
from epiq.formats import FP8_GROUP64, FP8_GROUP128, FP8_PER_TOKEN, QuantFormat

M, N, K = 72, 384, 96
TILE = {"BLOCK_M": 32, "BLOCK_N": 128, "BLOCK_K": 32, "num_warps": 4}


def operands(m: int = M, n: int = N, k: int = K) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    a = torch.randn(m, k).bfloat16()
    b = torch.randn(k, n).bfloat16()
    return a, b, torch.full((m, n), float("nan"), dtype=torch.bfloat16)


def results(m: int, n: int, fmt: QuantFormat, layout: str = "row_major") -> tuple[torch.Tensor, torch.Tensor]:
    q = torch.zeros(m, n, dtype=fmt.value_dtype)
    shape = fmt.scale_shape((m, n))
    if layout == "row_major":
        return q, torch.zeros(shape, dtype=fmt.torch_scale_dtype)
    return q, torch.zeros(shape[::-1], dtype=fmt.torch_scale_dtype).t()


def check(c: torch.Tensor, q: torch.Tensor, scale: torch.Tensor, fmt: QuantFormat = FP8_GROUP128) -> None:
    expected_q, expected_scale = epiq.quantize(c, fmt)
    assert same_bits(scale, expected_scale)
    assert same_bits(q, expected_q)


def cdiv(a: int, b: int) -> int:
    return -(-a // b)


@pytest.mark.parametrize("layout", ["row_major", "column_major"])
@pytest.mark.parametrize("fmt", [FP8_GROUP128, FP8_GROUP64], ids=lambda fmt: fmt.name)
def test_grouped_tiles_with_masked_edges(fmt, layout):
    a, b, c = operands()
    args = (M, N, K, K, 1, N, 1, N, 1)
    grid = (cdiv(M, 32) * cdiv(N, 128),)
    run_kernel(kernels.matmul_grouped, grid, a, b, c, *args, GROUP_M=2, **TILE)
    fused = epiq.fuse(kernels.matmul_grouped, output="c_ptr", epilogue=epiq.Quantize(fmt))
    q, scale = results(M, N, fmt, layout)
    fused[grid](a, b, None, *args, GROUP_M=2, q=q, scale=scale, **TILE)
    check(c, q, scale, fmt)


def test_a_tile_may_reach_beyond_the_row():
    """256 columns of tile over 384 of output: the second tile is half masked."""
    a, b, c = operands()
    args = (M, N, K, K, 1, N, 1, N, 1)
    tile = {**TILE, "BLOCK_N": 256}
    grid = (cdiv(M, 32) * cdiv(N, 256),)
    run_kernel(kernels.matmul_grouped, grid, a, b, c, *args, GROUP_M=2, **tile)
    fused = epiq.fuse(kernels.matmul_grouped, output="c_ptr", epilogue=epiq.Quantize(FP8_GROUP128))
    q, scale = results(M, N, FP8_GROUP128)
    fused[grid](a, b, None, *args, GROUP_M=2, q=q, scale=scale, **tile)
    check(c, q, scale)


def test_keep_output_stores_both():
    a, b, c = operands()
    kept = torch.zeros_like(c)
    args = (M, N, K, K, 1, N, 1, N, 1)
    grid = (cdiv(M, 32) * cdiv(N, 128),)
    run_kernel(kernels.matmul_grouped, grid, a, b, c, *args, GROUP_M=2, **TILE)
    fused = epiq.fuse(
        kernels.matmul_grouped, output="c_ptr", epilogue=epiq.Quantize(FP8_GROUP128), keep_output=True
    )
    q, scale = results(M, N, FP8_GROUP128)
    fused[grid](a, b, kept, *args, GROUP_M=2, q=q, scale=scale, **TILE)
    assert same_bits(kept, c)
    check(c, q, scale)


def test_two_dimensional_grid_without_masks():
    a, b, c = operands(64, 256)
    grid = (2, 2)
    run_kernel(kernels.matmul_grid, grid, a, b, c, K, 256, **TILE)
    fused = epiq.fuse(kernels.matmul_grid, output="c_ptr", epilogue=epiq.Quantize(FP8_GROUP128))
    q, scale = results(64, 256, FP8_GROUP128)
    fused[grid](a, b, None, K, 256, q=q, scale=scale, **TILE)
    check(c, q, scale)


@pytest.mark.parametrize("halves", [False, True], ids=["whole", "halves"])
def test_persistent_programs(halves):
    a, b, c = operands()
    args = (M, N, K, K, N, N)
    tile = {**TILE, "BLOCK_N": 256 if halves else 128}
    run_kernel(kernels.matmul_persistent, (2,), a, b, c, *args, PROGRAMS=2, HALVES=halves, **tile)
    fused = epiq.fuse(kernels.matmul_persistent, output="c_ptr", epilogue=epiq.Quantize(FP8_GROUP128))
    q, scale = results(M, N, FP8_GROUP128)
    fused[(2,)](a, b, None, *args, PROGRAMS=2, HALVES=halves, q=q, scale=scale, **tile)
    check(c, q, scale)


def test_descriptor_made_in_the_kernel():
    a, b, c = operands()
    b = b.t().contiguous()
    run_kernel(kernels.matmul_descriptor, (3,), a, b, c, M, N, K, PROGRAMS=3, **TILE)
    fused = epiq.fuse(kernels.matmul_descriptor, output="c_ptr", epilogue=epiq.Quantize(FP8_GROUP128))
    q, scale = results(M, N, FP8_GROUP128, "column_major")
    fused[(3,)](a, b, None, M, N, K, PROGRAMS=3, q=q, scale=scale, **TILE)
    check(c, q, scale)


def test_descriptor_from_the_host():
    a, b, c = operands()
    b = b.t().contiguous()
    blocks = {"BLOCK_M": 32, "BLOCK_N": 128, "BLOCK_K": 32}
    a_desc = TensorDescriptor.from_tensor(a, [32, 32])
    b_desc = TensorDescriptor.from_tensor(b, [128, 32])
    c_desc = TensorDescriptor.from_tensor(c, [32, 128])
    grid = (cdiv(M, 32) * cdiv(N, 128),)
    run_kernel(kernels.matmul_host_descriptor, grid, a_desc, b_desc, c_desc, M, N, K, **blocks)
    fused = epiq.fuse(kernels.matmul_host_descriptor, output="c_desc", epilogue=epiq.Quantize(FP8_GROUP128))
    q, scale = results(M, N, FP8_GROUP128)
    fused[grid](a_desc, b_desc, c_desc, M, N, K, q=q, scale=scale, **blocks)
    check(c, q, scale)


def test_a_row_a_program():
    rows, width = 5, 640
    torch.manual_seed(0)
    x = torch.randn(rows, 2 * width).bfloat16()
    c = torch.zeros(rows, width, dtype=torch.bfloat16)
    args = (width, 2 * width, width)
    run_kernel(kernels.silu_mul, (rows, 2), x, c, *args, BLOCK=512)
    fused = epiq.fuse(kernels.silu_mul, output="out_ptr", epilogue=epiq.Quantize(FP8_GROUP128))
    q, scale = results(rows, width, FP8_GROUP128)
    fused[(rows, 2)](x, None, *args, BLOCK=512, q=q, scale=scale)
    check(c, q, scale)


@pytest.mark.parametrize("fmt", [FP8_GROUP128, FP8_PER_TOKEN], ids=lambda fmt: fmt.name)
def test_a_whole_row_in_a_tile(fmt):
    """A scale a token needs the row in one tile, which BLOCK = 512 for 384 columns gives."""
    rows, width = 5, 384
    torch.manual_seed(0)
    x = torch.randn(rows, 2 * width).bfloat16()
    c = torch.zeros(rows, width, dtype=torch.bfloat16)
    args = (width, 2 * width, width)
    run_kernel(kernels.silu_mul, (rows, 1), x, c, *args, BLOCK=512)
    fused = epiq.fuse(kernels.silu_mul, output="out_ptr", epilogue=epiq.Quantize(fmt))
    q, scale = results(rows, width, fmt)
    if fmt is FP8_PER_TOKEN:
        with pytest.raises(epiq.FusionError, match="E6"):
            fused[(rows, 1)](x, None, *args, BLOCK=512, q=q, scale=scale)
        return
    fused[(rows, 1)](x, None, *args, BLOCK=512, q=q, scale=scale)
    check(c, q, scale, fmt)


def test_elements_without_rows():
    x = torch.randn(6, 256).bfloat16()
    c = torch.zeros_like(x)
    run_kernel(kernels.double_flat, (3,), x, c, x.numel(), BLOCK=512)
    fused = epiq.fuse(kernels.double_flat, output="out_ptr", epilogue=epiq.Quantize(FP8_GROUP128))
    q, scale = results(6, 256, FP8_GROUP128)
    fused[(3,)](x, None, x.numel(), BLOCK=512, q=q, scale=scale)
    check(c, q, scale)
    with pytest.raises(epiq.FusionError, match="E9"):
        fused[(3,)](
            x, None, x.numel(), BLOCK=512, q=q, scale=results(6, 256, FP8_GROUP128, "column_major")[1]
        )


@pytest.mark.parametrize("order", ["BSHD", "BHSD"])
def test_attention(order):
    """The kernel does not say whether a head is a column or a row: the strides do."""
    batch, heads, length, dim = 2, 2, 40, 128
    torch.manual_seed(0)
    q, k, v = (torch.randn(batch, heads, length, dim).bfloat16() for _ in range(3))
    shape = (batch, length, heads, dim) if order == "BSHD" else (batch, heads, length, dim)
    o = torch.zeros(shape, dtype=torch.bfloat16)
    b, s, h = (0, 1, 2) if order == "BSHD" else (0, 2, 1)
    strides = (o.stride(b), o.stride(h), o.stride(s))
    args = (dim**-0.5, *q.stride()[:3], *k.stride()[:3], *strides, heads, length)
    grid = (cdiv(length, 32), batch * heads)
    run_kernel(kernels.attention, grid, q, k, v, o, *args, BLOCK=32, D=dim)
    rows = o.flatten(0, 1).flatten(1) if order == "BSHD" else o.flatten(0, 2)
    # The kernel has an argument named scale.
    quantize = epiq.Quantize(FP8_GROUP128, outputs=("q", "o_scale"))
    fused = epiq.fuse(kernels.attention, output="o_ptr", epilogue=quantize)
    out, scale = results(*rows.shape, FP8_GROUP128)
    fused[grid](q, k, v, None, *args, BLOCK=32, D=dim, num_warps=4, q=out, o_scale=scale)
    check(rows, out, scale)


def test_launches_repeat_with_other_tensors():
    """The second launch finds out nothing anew, but for tensors of another shape."""
    fused = epiq.fuse(kernels.matmul_grouped, output="c_ptr", epilogue=epiq.Quantize(FP8_GROUP128))
    for m, factor in ((M, 1.0), (M, 2.0), (40, 1.0)):
        a, b, c = operands(m)
        a = a * factor
        args = (m, N, K, K, 1, N, 1, N, 1)
        grid = (cdiv(m, 32) * cdiv(N, 128),)
        run_kernel(kernels.matmul_grouped, grid, a, b, c, *args, GROUP_M=2, **TILE)
        q, scale = results(m, N, FP8_GROUP128)
        fused[grid](a, b, None, *args, GROUP_M=2, q=q, scale=scale, **TILE)
        check(c, q, scale)
