"""Addresses and masks that look like others: fused, each has the bits of itself unfused, or is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import triton
import triton.language as tl
from test_fused_addresses import FP8_GROUP16, check, randn, zeros
from triton.tools.tensor_descriptor import TensorDescriptor
from unfused import run_kernel, same_bits

import epiq
from epiq.formats import FP8_PER_TOKEN


@triton.jit
def descriptor_of_one(x, out, M, N: tl.constexpr, BM: tl.constexpr):
    """A descriptor of one matrix of several, which starts where that does."""
    first = tl.program_id(0) * M
    x_desc = tl.make_tensor_descriptor(x + first * N, [M, N], [N, 1], [BM, N])
    out_desc = tl.make_tensor_descriptor(out + first * N, [M, N], [N, 1], [BM, N])
    at = [tl.program_id(1) * BM, 0]
    out_desc.store(at, x_desc.load(at) * 2.0)


@triton.jit
def descriptor_of_heads(x, out, S, H, D: tl.constexpr, BS: tl.constexpr):
    """Heads first, but side by side in memory."""
    x_desc = tl.make_tensor_descriptor(x, [H, S, D], [S * D, D, 1], [1, BS, D])
    out_desc = tl.make_tensor_descriptor(out, [H, S, D], [D, H * D, 1], [1, BS, D])
    at = [tl.program_id(0), tl.program_id(1) * BS, 0]
    out_desc.store(at, x_desc.load(at) * 2.0)


@triton.jit
def host_descriptor_of_heads(x, out, BS: tl.constexpr):
    at = [tl.program_id(0), tl.program_id(1) * BS, 0]
    out.store(at, x.load(at) * 2.0)


@triton.jit
def reversed_rows(x, out, M, stride, BM: tl.constexpr, BN: tl.constexpr):
    rows, cols = tl.program_id(0) * BM + tl.arange(0, BM), tl.arange(0, BN)
    y = tl.load(x + rows[:, None] * stride + cols[None, :])
    tl.store(out + (M - 1 - rows)[:, None] * stride + cols[None, :], y)


@triton.jit
def batches_of_a_constant(x, out, stride, BM: tl.constexpr, BN: tl.constexpr, BATCH: tl.constexpr):
    """The batch's offset is no multiple of the stride, for what the kernel says."""
    rows, cols = tl.program_id(0) * BM + tl.arange(0, BM), tl.arange(0, BN)
    at = tl.program_id(1) * BATCH + rows[:, None] * stride + cols[None, :]
    tl.store(out + at, tl.load(x + at) * 2.0)


@triton.jit
def mask_of_elements(x, out, count, BM: tl.constexpr, BN: tl.constexpr):
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    at = rows[:, None] * BN + tl.arange(0, BN)[None, :]
    tl.store(out + at, tl.load(x + at, mask=at < count) * 2.0, mask=at < count)


@pytest.mark.parametrize(
    ("kernel", "grid", "args", "shape", "width"),
    [
        (descriptor_of_one, (2, 2), {"M": 12, "N": 32, "BM": 8}, (24, 32), 32),
        (descriptor_of_heads, (3, 2), {"S": 16, "H": 3, "D": 32, "BS": 8}, (16, 96), 96),
        (reversed_rows, (2,), {"M": 16, "stride": 32, "BM": 8, "BN": 32}, (16, 32), 32),
        (mask_of_elements, (2,), {"count": 13 * 32, "BM": 8, "BN": 32}, (13, 32), 32),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_places(kernel, grid, args, shape, width):
    check(kernel, grid, {"x": randn(*shape), "out": zeros(*shape), **args}, width, FP8_GROUP16)


def test_a_descriptor_of_heads_from_the_host():
    x, out = randn(3, 16, 32), zeros(16, 3, 32)
    x_desc = TensorDescriptor.from_tensor(x, [1, 8, 32])
    out_desc = TensorDescriptor(out, [3, 16, 32], [32, 96, 1], [1, 8, 32])
    run_kernel(host_descriptor_of_heads, (3, 2), x_desc, out_desc, BS=8)
    expected = epiq.quantize(out.reshape(16, 96), FP8_GROUP16)
    q, scale = map(torch.zeros_like, expected)
    fused = epiq.fuse(host_descriptor_of_heads, "out", epiq.Quantize(FP8_GROUP16))
    fused[(3, 2)](x_desc, out_desc, BS=8, q=q, scale=scale)
    assert same_bits(q, expected[0])
    assert same_bits(scale, expected[1])


def test_batches_that_the_results_have_padded():
    x, out = randn(48, 32), zeros(48, 32)
    args = (32, 8, 32, 512)
    run_kernel(batches_of_a_constant, (2, 3), x, out, *args)
    expected = epiq.quantize(out, FP8_GROUP16)
    q = torch.zeros(48, 64, dtype=torch.float8_e4m3fn)[:, :32]
    scale = torch.zeros(2, 48).t()
    fused = epiq.fuse(batches_of_a_constant, "out", epiq.Quantize(FP8_GROUP16))
    fused[(2, 3)](x, None, *args, q=q, scale=scale)
    assert same_bits(q, expected[0])
    assert same_bits(scale, expected[1])


@triton.jit
def parts_of_a_row(x, out, bounds, N, BN: tl.constexpr):
    """Programs share a row, and where one ends is in memory."""
    row, part, cols = tl.program_id(0), tl.program_id(1), tl.arange(0, BN)
    mask = (cols >= tl.load(bounds + part)) & (cols < tl.load(bounds + part + 1))
    tl.store(out + row * N + cols, tl.load(x + row * N + cols), mask=mask)


@pytest.mark.parametrize("fmt", [FP8_GROUP16, FP8_PER_TOKEN], ids=["group", "token"])
def test_a_mask_that_begins_within_a_group(fmt: Any):
    """Each program would make a scale of what it holds of the group that both share."""
    bounds = torch.tensor([0, 21, 64], dtype=torch.int32)
    q, scale = epiq.quantize(randn(4, 64), fmt)
    fused = epiq.fuse(parts_of_a_row, "out", epiq.Quantize(fmt))
    with pytest.raises(epiq.FusionError, match="E7: the condition on columns is not that they end"):
        fused[(4, 2)](randn(4, 64), None, bounds, 64, 64, q=q, scale=scale)
    doubled = epiq.Epilogue(lambda y: y * 2.0, outputs=("doubled",))
    found = zeros(4, 64)
    x = randn(4, 64)
    epiq.fuse(parts_of_a_row, "out", doubled)[(4, 2)](x, None, bounds, 64, 64, doubled=found)
    assert same_bits(found, x * 2.0)


def test_an_output_that_is_not_what_the_results_belong_to():
    x = randn(16, 32)
    q, scale = epiq.quantize(x, FP8_GROUP16)
    fused = epiq.fuse(reversed_rows, "out", epiq.Quantize(replace(FP8_GROUP16, name="g16")))
    args = {"M": 16, "stride": 32, "BM": 8, "BN": 32}
    with pytest.raises(
        ValueError, match=r"out has shape \(16, 32\), the epilogue's tensors are those of 8 x 32"
    ):
        fused[(2,)](x, zeros(16, 32), **args, q=q[:8], scale=scale[:8])
    with pytest.raises(ValueError, match="out must be contiguous along its rows"):
        fused[(2,)](x, zeros(32, 16).t(), **args, q=q, scale=scale)
    with pytest.raises(ValueError, match="rows of out -32 elements apart, from the last to the first"):
        fused[(2,)](x, None, **{**args, "stride": -32}, q=q, scale=scale)
