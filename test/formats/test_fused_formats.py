"""Every format behind every producer: one kernel, with the bits of the reference on what was produced."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from epiq.formats import (
    ALL,
    FP8_GROUP64,
    FP8_GROUP128,
    FP8_PER_TENSOR,
    FP8_PER_TOKEN,
    INT8_PER_TOKEN,
    MXFP4,
    MXFP8,
    NVFP4,
    dequantize,
    quantize,
)

_change = dataclasses.replace
FORMATS = {
    **{fmt.name: fmt for fmt in ALL if fmt != FP8_PER_TENSOR},
    "group128_ue8m0": _change(FP8_GROUP128, scale_dtype="f8E8M0FNU", scale_rounding="rceil"),
    "group64_reciprocal": _change(FP8_GROUP64, floor=1e-4, floor_on="amax", division=False),
    "token_bounded": _change(FP8_PER_TOKEN, upper_bound=2.0),
    "int8_reciprocal": _change(INT8_PER_TOKEN, division=False, upper_bound=3.0),
    "mxfp8_e5m2": _change(MXFP8, element="f8E5M2"),
    "mxfp8_floor": _change(MXFP8, scale_rounding="floor", floor=1e-6, floor_on="amax"),
    "mxfp8_e5m2_floor": _change(MXFP8, element="f8E5M2", scale_rounding="floor"),
    "mxfp4_rceil": _change(MXFP4, scale_rounding="rceil"),
    "nvfp4_group32": _change(NVFP4, group_size=32),
}
# Rows of the widths 64 and 384, and tokens in two dimensions.
SHAPES = {64: (6, 64), 128: (2, 3, 384)}


def rms_norm(x, weight):
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6)).to(x.dtype) * weight


PRODUCERS = {
    "none": lambda x, weight: x,
    "rms_norm": rms_norm,
    "silu_mul": lambda x, weight: F.silu(x) * weight,
}


def special(shape):
    """Zeros of both signs, denormals, ties of every format, the largest numbers, NaN and Inf, a row each."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(7))
    rows = x.view(-1, shape[-1])
    rows[0] = 0.0
    rows[0, ::3] = -0.0
    rows[1] *= 1e-39
    rows[2] = torch.arange(shape[-1]) * 0.25 - 6.0
    rows[3] *= 1e38
    rows[4, 5], rows[4, 40] = float("nan"), -float("inf")
    rows[5, ::16] *= 448.0
    return x.to(torch.bfloat16)


def bits(tensor):
    """The bytes as integers; of floats that have NaN, those made alike (NUMERICS.md, N5)."""
    if tensor.dtype in (torch.float4_e2m1fn_x2, torch.int8):
        return tensor.view(torch.uint8)
    integer = {1: torch.uint8, 4: torch.int32}[tensor.element_size()]
    return tensor.contiguous().view(integer).masked_fill(tensor.float().isnan(), 127)


NAMED = [fmt.name for fmt in ALL if fmt != FP8_PER_TENSOR]
CASES = [(name, producer) for name in NAMED for producer in PRODUCERS]
CASES += [(name, "silu_mul") for name in FORMATS if name not in NAMED]


@pytest.mark.parametrize(("name", "producer"), CASES)
def test_fused_is_the_reference_bit_for_bit(name, producer):
    fmt = FORMATS[name]
    shape = SHAPES[128 if fmt.group_size == 128 else 64]
    given = torch.tensor(0.03 if fmt.static else 40.0)

    def fn(x, weight, given):
        y = PRODUCERS[producer](x, weight)
        q, scale = quantize(
            y, fmt, scale=given if fmt.static else None, global_scale=given if fmt.global_scale else None
        )
        return (y, q) if fmt.static else (y, q, scale)

    torch._dynamo.reset()
    options = {"epiq.strict": True, "epiq.fail_on_unfused": producer != "none"}
    fused = torch.compile(fn, backend="epiq", fullgraph=True, options=options)
    x, weight = special(shape), torch.randn(shape[-1]).to(torch.bfloat16)
    with torch.no_grad():
        y, *got = fused(x, weight, given)
        # Sums of rows may differ from torch's in their order: the reference quantizes what the kernel stored.
        want = quantize(
            y, fmt, scale=given if fmt.static else None, global_scale=given if fmt.global_scale else None
        )
    for mine, reference in zip(got, want, strict=False):
        assert (mine.shape, mine.dtype) == (reference.shape, reference.dtype)
        assert torch.equal(bits(mine), bits(reference))


@pytest.mark.parametrize(("source", "target"), [(FP8_GROUP128, MXFP8), (MXFP8, NVFP4)])
def test_requantization_is_one_kernel(source, target):
    """Values of one format and their scales to another format: nothing is stored between."""
    q, scale = quantize(torch.randn(3, 256).to(torch.bfloat16), source)
    given = torch.tensor(20.0)

    def fn(q, scale, given):
        return quantize(
            dequantize(q, scale, source), target, global_scale=given if target.global_scale else None
        )

    torch._dynamo.reset()
    options = {"epiq.strict": True, "epiq.fail_on_unfused": True}
    with torch.no_grad():
        got = torch.compile(fn, backend="epiq", fullgraph=True, options=options)(q, scale, given)
        want = fn(q, scale, given)
    for mine, reference in zip(got, want, strict=True):
        assert torch.equal(bits(mine), bits(reference))
