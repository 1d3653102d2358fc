"""Through the backend on the CPU: a fused quantization gives the reference's bits, special values too."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from epiq.formats import FP8_GROUP64, FP8_GROUP128, FP8_PER_TOKEN, FP8_STATIC, quantize

COLUMN_MAJOR = dataclasses.replace(FP8_GROUP128, scale_layout="column_major")
DEEP_GEMM = dataclasses.replace(FP8_GROUP128, floor=1e-4, floor_on="amax", division=False)
BOUNDED = dataclasses.replace(FP8_PER_TOKEN, upper_bound=2.0)
FORMATS = {
    "group128": FP8_GROUP128,
    "group64": FP8_GROUP64,
    "column_major": COLUMN_MAJOR,
    "tma_aligned": dataclasses.replace(FP8_GROUP128, scale_layout="tma_aligned"),
    "deep_gemm": DEEP_GEMM,
    "token": FP8_PER_TOKEN,
    "token_bounded": BOUNDED,
    "static": FP8_STATIC,
}


def special(shape, dtype):
    """Random rows with zeros, tiny and huge values, NaN and Inf among them."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(7))
    rows = x.view(-1, shape[-1])
    rows[0] = 0.0
    rows[1] *= 1e-30
    rows[2] *= 1e4
    rows[3, 5], rows[3, 200] = float("nan"), float("inf")
    return x.to(dtype)


def bits(tensor):
    """The bytes as integers, NaNs made alike (NUMERICS.md, N5)."""
    integer = {1: torch.uint8, 4: torch.int32}[tensor.element_size()]
    return tensor.contiguous().view(integer).masked_fill(tensor.float().isnan(), 0), tensor.float().isnan()


CASES = [
    *((name, (5, 256)) for name in FORMATS),
    ("group128", (2, 3, 384)),
    ("column_major", (2, 3, 384)),
    ("tma_aligned", (2, 3, 384)),
]


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_fused_is_the_reference_bit_for_bit(name, shape):
    fmt = FORMATS[name]
    scale = torch.tensor([0.03])

    def fn(x, scale):
        q, scales = quantize(torch.relu(x), fmt, scale=scale if fmt.static else None)
        return (q,) if fmt.static else (q, scales)

    torch._dynamo.reset()
    options = {"epiq.strict": True, "epiq.fail_on_unfused": True}
    fused = torch.compile(fn, backend="epiq", fullgraph=True, options=options)
    x = special(shape, torch.bfloat16)
    with torch.no_grad():
        got, want = fused(x, scale), fn(x, scale)
    for mine, reference in zip(got, want, strict=True):
        assert (mine.shape, mine.dtype, mine.stride()) == (
            reference.shape,
            reference.dtype,
            reference.stride(),
        )
        for one, other in zip(bits(mine), bits(reference), strict=True):
            assert torch.equal(one, other)


def test_an_unfit_width_is_the_references_error():
    fused = torch.compile(lambda x: quantize(x, FP8_GROUP128), backend="epiq")
    with pytest.raises(ValueError, match="group_size 128 does not divide K = 200"):
        fused(torch.ones(4, 200))
