"""Kernels that say in other ways where their tiles lie: each fused, against itself unfused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor
from unfused import run_kernel, same_bits

import epiq
from epiq.formats import FP8_GROUP64, FP8_GROUP128

FP8_GROUP16 = replace(FP8_GROUP64, group_size=16)


def check(
    kernel: Any, grid: tuple[int, ...], args: dict[str, Any], width: int, fmt: Any = FP8_GROUP128
) -> str:
    """Fuses a quantization of `out`, whose rows have `width` columns; returns the fused IR."""
    out = args["out"]
    run_kernel(kernel, grid, **args)
    expected_q, expected_scale = epiq.quantize(out.reshape(-1, width), fmt)
    fused = epiq.fuse(kernel, output="out", epilogue=epiq.Quantize(fmt))
    q, scale = torch.zeros_like(expected_q), torch.zeros_like(expected_scale)
    fused[grid](**{**args, "out": None}, q=q, scale=scale)
    assert same_bits(scale, expected_scale)
    assert same_bits(q, expected_q)
    return fused.ir()


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).bfloat16()


def zeros(*shape: int) -> Tensor:
    return torch.zeros(*shape, dtype=torch.bfloat16)


@triton.jit
def batches(x, out, stride_b, stride_m, M, B: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr):
    """A tile of three dimensions, masked along its rows."""
    b, m, n = tl.arange(0, B), tl.program_id(0) * BM + tl.arange(0, BM), tl.arange(0, BN)
    at = b[:, None, None] * stride_b + m[None, :, None] * stride_m + n[None, None, :]
    mask = (m < M)[None, :, None]
    tl.store(out + at, tl.load(x + at, mask=mask) * 2.0, mask=mask)


def test_a_tile_of_batches():
    """No stride is a multiple of the other for the kernel: their values are what says so."""
    x, out = randn(4, 12, 128), zeros(4, 12, 128)
    args = {"x": x, "out": out, "stride_b": 12 * 128, "stride_m": 128, "M": 12, "B": 4, "BM": 8, "BN": 128}
    check(batches, (2,), args, 128)


@triton.jit
def batched_descriptor(x, out, M, N, B: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr):
    x_desc = tl.make_tensor_descriptor(x, [B, M, N], [M * N, N, 1], [2, BM, BN])
    out_desc = tl.make_tensor_descriptor(out, [B, M, N], [M * N, N, 1], [2, BM, BN])
    at = [tl.program_id(0) * 2, tl.program_id(1) * BM, tl.program_id(2) * BN]
    out_desc.store(at, x_desc.load(at) * 2.0)


def test_a_descriptor_of_batches():
    x, out = randn(4, 12, 256), zeros(4, 12, 256)
    args = {"x": x, "out": out, "M": 12, "N": 256, "B": 4, "BM": 8, "BN": 128}
    check(batched_descriptor, (2, 2, 2), args, 256)


@triton.jit
def moved_pointers(x, out, N, stride, BLOCK: tl.constexpr):
    """Pointers that the loop moves on."""
    at = tl.program_id(0) * stride + tl.arange(0, BLOCK)
    x += at
    out += at
    left = N
    for _ in range(tl.cdiv(N, BLOCK)):
        mask = tl.arange(0, BLOCK) < left
        tl.store(out, tl.load(x, mask=mask) * 2.0, mask=mask)
        x += BLOCK
        out += BLOCK
        left -= BLOCK


def test_pointers_that_a_loop_moves():
    x, out = randn(3, 384), zeros(3, 384)
    check(moved_pointers, (3,), {"x": x, "out": out, "N": 384, "stride": 384, "BLOCK": 256}, 384)


@triton.jit
def early_return(x, out, N, FIRST, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    cols = tl.arange(0, BLOCK)
    if row < FIRST:
        tl.store(out + row * N + cols, tl.zeros([BLOCK], tl.bfloat16) + 3.0)
        return
    tl.store(out + row * N + cols, tl.load(x + row * N + cols) * 2.0)


def test_an_early_return():
    x, out = randn(4, 128), zeros(4, 128)
    check(early_return, (4,), {"x": x, "out": out, "N": 128, "FIRST": 2, "BLOCK": 128}, 128)


@triton.jit
def transposed(x, out, stride, BM: tl.constexpr, BN: tl.constexpr):
    """The tile is columns by rows, stored through its transpose."""
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    cols = tl.program_id(1) * BN + tl.arange(0, BN)
    y = tl.load(x + cols[:, None] + rows[None, :] * stride) * 2.0
    tl.store(out + tl.trans(cols[:, None] + rows[None, :] * stride), tl.trans(y))


def test_a_store_through_a_transpose():
    x, out = randn(16, 256), zeros(16, 256)
    check(transposed, (2, 2), {"x": x, "out": out, "stride": 256, "BM": 8, "BN": 128}, 256)


@triton.jit(do_not_specialize=["stride_n"])
def unspecialized(x, out, stride_m, stride_n, BM: tl.constexpr, BN: tl.constexpr):
    """The stride of 1 is an argument at run time."""
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    at = rows[:, None] * stride_m + tl.arange(0, BN)[None, :] * stride_n
    tl.store(out + at, tl.load(x + at) * 2.0)


def test_a_stride_that_is_not_specialized():
    x, out = randn(16, 128), zeros(16, 128)
    check(unspecialized, (2,), {"x": x, "out": out, "stride_m": 128, "stride_n": 1, "BM": 8, "BN": 128}, 128)


@triton.jit
def row_and_column(x, out, stride, D: tl.constexpr, BLOCK: tl.constexpr):
    """Elements counted through, and then taken apart."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    y = tl.load(x + at) * 2.0
    tl.store(out + at // D * stride + at % D, y)


def test_a_quotient_and_its_remainder():
    x, out = randn(8, 128), zeros(8, 128)
    check(row_and_column, (4,), {"x": x, "out": out, "stride": 128, "D": 128, "BLOCK": 256}, 128)


@triton.jit
def in_tuples(tensors, sizes, out, BLOCK: tl.constexpr):
    cols = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    at = tl.program_id(0) * sizes[1] + cols
    mask = cols < sizes[0]
    total = tl.load(tensors[0] + at, mask=mask) + tl.load(tensors[1] + at, mask=mask)
    tl.store(out + at, total, mask=mask)


def test_arguments_in_tuples():
    x, out = randn(3, 384), zeros(3, 384)
    args = {"tensors": (x, randn(3, 384)), "sizes": (384, 384), "out": out, "BLOCK": 256}
    check(in_tuples, (3, 2), args, 384)


@triton.jit
def row_maxima(x, out, N, H, BM: tl.constexpr, BLOCK: tl.constexpr):
    """One value a row, `H` apart."""
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    y = tl.load(x + rows[:, None] * N + tl.arange(0, BLOCK)[None, :])
    tl.store(out + rows * H + tl.program_id(1), tl.max(y, 1))


def test_one_value_a_row():
    x, out = randn(16, 64), zeros(16, 3)
    args = {"x": x, "out": out, "N": 64, "H": 3, "BM": 8, "BLOCK": 64}
    run_kernel(row_maxima, (2, 3), **args)
    tripled = epiq.Epilogue(lambda y: y.float() * 3.0, outputs=("tripled",))
    found = torch.zeros(16, 3)
    epiq.fuse(row_maxima, output="out", epilogue=tripled)[(2, 3)](**{**args, "out": None}, tripled=found)
    assert same_bits(found, out.float() * 3.0)


@pytest.mark.parametrize(("stride", "columns"), [(64, 128), (256, 128)], ids=["shorter", "longer"])
def test_rows_of_another_length_than_the_results(stride, columns):
    """Longer rows may be several of ours: what is not a row for the kernel has no address."""
    x = randn(8, 256)
    fused = epiq.fuse(unspecialized, output="out", epilogue=epiq.Quantize(FP8_GROUP64))
    q = torch.zeros(8, columns, dtype=torch.float8_e4m3fn)
    args = {"x": x, "stride_m": stride, "stride_n": 1, "BM": 8, "BN": 64, "q": q, "scale": torch.zeros(8, 2)}
    with pytest.raises(ValueError, match=f"stores rows of out {stride} elements apart, .* have rows of 128"):
        fused[(1,)](out=None, **args)


def test_padded_rows():
    """The output itself says that its rows are padded."""
    x, out = randn(8, 256), zeros(8, 256)[:, :128]
    fused = epiq.fuse(unspecialized, output="out", epilogue=epiq.Quantize(FP8_GROUP64))
    q, scale = torch.zeros(8, 128, dtype=torch.float8_e4m3fn), torch.zeros(8, 2)
    args = {"x": x, "out": out, "stride_m": 256, "stride_n": 1, "BM": 8, "BN": 128}
    fused[(1,)](**args, q=q, scale=scale)
    run_kernel(unspecialized, (1,), **args)
    assert same_bits(q, epiq.quantize(out, FP8_GROUP64)[0])


@triton.jit
def blocks_of_a_tile(x, out, BC: tl.constexpr, BT: tl.constexpr, N: tl.constexpr):
    """Blocks of one tile in turn: constants that are rows and columns at once."""
    at = tl.arange(0, BC)[:, None] * N + tl.arange(0, BC)[None, :]
    first = tl.program_id(0) * BT * N
    for i in tl.static_range(BT // BC):
        for j in tl.static_range(BT // BC):
            block = first + i * BC * N + j * BC
            tl.store(out + block + at, tl.load(x + block + at) * 2.0)


def test_blocks_of_a_tile():
    x, out = randn(64, 32), zeros(64, 32)
    check(blocks_of_a_tile, (2,), {"x": x, "out": out, "BC": 16, "BT": 32, "N": 32}, 32, FP8_GROUP16)
