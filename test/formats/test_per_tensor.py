"""One scale for the tensor, computed from it: two programs, amax with the values and then the quantization.

Everything goes through the backend on the CPU; what is fused must be the reference's bits.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from epiq import explain
from epiq.formats import FP8_GROUP64, FP8_PER_TENSOR, FP8_STATIC, quantize
from epiq.frontend import recording
from epiq.runtime.registry import lookup

OPTIONS = {"epiq.strict": True, "epiq.fail_on_unfused": True}


def plain(x, r, w):
    return x


def relu(x, r, w):
    return torch.relu(x)


def add(x, r, w):
    return x + r


def silu_mul(x, r, w):
    return F.silu(x) * r


def rms_norm(x, r, w):
    return torch.rms_norm(x, w.shape, w, 1e-5)


def add_rms_norm(x, r, w):
    return torch.rms_norm(x + r, w.shape, w, 1e-5)


PRODUCERS = (plain, relu, add, silu_mul, rms_norm, add_rms_norm)


def inputs(shape, dtype=torch.bfloat16):
    """Small whole numbers: sums of their squares are exact in any order."""
    torch.manual_seed(3)
    x, r = (torch.randint(-4, 5, shape).to(dtype) for _ in range(2))
    return x, r, torch.randn(shape[-1]).to(dtype)


def compiled(fn, **options):
    torch._dynamo.reset()
    return torch.compile(fn, backend="epiq", fullgraph=True, options={**OPTIONS, **options})


def assert_same_bits(got, want):
    for mine, reference in zip(got, want, strict=True):
        assert (mine.shape, mine.dtype, mine.stride()) == (
            reference.shape,
            reference.dtype,
            reference.stride(),
        )
        assert torch.equal(mine.float().isnan(), reference.float().isnan())
        integer = {1: torch.uint8, 2: torch.int16, 4: torch.int32}[mine.element_size()]
        numbers = ~mine.float().isnan()
        assert torch.equal(mine.view(integer)[numbers], reference.view(integer)[numbers])


@pytest.mark.parametrize("shape", [(7, 96), (2, 3, 200), (1, 64)], ids=str)
@pytest.mark.parametrize("producer", PRODUCERS, ids=lambda p: p.__name__)
def test_fused_is_the_reference_bit_for_bit(producer, shape):
    def fn(x, r, w):
        y = producer(x, r, w)
        return *quantize(y, FP8_PER_TENSOR), y

    fused = compiled(fn, **{"epiq.fail_on_unfused": producer is not plain})
    args = inputs(shape)
    with torch.no_grad(), recording() as records:
        got = fused(*args)
    assert_same_bits(got, fn(*args))
    assert len(records[0].used) == 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
def test_other_dtypes(dtype):
    def fn(x, r, w):
        return quantize(torch.relu(x), FP8_PER_TENSOR)

    args = inputs((5, 72), dtype)
    assert_same_bits(compiled(fn)(*args), fn(*args))


def special(name: str) -> Tensor:
    x = torch.randn(5, 72)
    if name == "nan":
        x[3, 5] = float("nan")
        x[4, 71] = float("inf")
    elif name == "negative_nan":
        x[4, 71] = torch.tensor(-1, dtype=torch.int32).view(torch.float32)
    elif name == "inf":
        x[0, 0] = float("-inf")
    elif name == "zeros":
        x.zero_()
    elif name == "negative_zeros":
        x.zero_().neg_()
    elif name == "tiny":
        x *= 1e-42
    elif name == "huge":
        x *= 1e37
    return x


@pytest.mark.parametrize(
    "name", ["nan", "negative_nan", "inf", "zeros", "negative_zeros", "tiny", "huge"], ids=str
)
def test_special_values(name):
    """The maximum is combined as bits: a NaN lies above infinity, whatever its sign."""

    def fn(x):
        return quantize(x * 1.0, FP8_PER_TENSOR)

    x = special(name)
    assert_same_bits(compiled(fn)(x), fn(x))


def test_numbers_of_tokens_share_a_compilation():
    def fn(x, r, w):
        y = rms_norm(x, r, w)
        return *quantize(y, FP8_PER_TENSOR), y

    fused = compiled(fn)
    with torch.no_grad(), recording() as records:
        for tokens in (3, 8, 17):
            args = inputs((tokens, 64))
            torch._dynamo.mark_dynamic(args[0], 0)
            torch._dynamo.mark_dynamic(args[1], 0)
            assert_same_bits(fused(*args), fn(*args))
    assert len(records) == 1


def test_no_tokens():
    """amax of nothing is 0 (NUMERICS.md), and the scale is stored though no row is."""

    def fn(x):
        return quantize(x * 2.0, FP8_PER_TENSOR)

    some = torch.ones(3, 64)
    torch._dynamo.mark_dynamic(some, 0)
    with recording() as records:
        compiled(fn)(some)
    first, second = (lookup(key) for key in records[0].kernels)
    x = torch.ones(0, 64)
    values, amax = first([x])
    q, scale = second([values, amax])
    assert amax == 0.0
    assert_same_bits((q, scale), quantize(x, FP8_PER_TENSOR))


def test_fusion_off_gives_the_same_bits_in_two_programs():
    def fn(x, r, w):
        return quantize(add_rms_norm(x, r, w), FP8_PER_TENSOR)

    args = inputs((5, 72))
    with torch.no_grad(), recording() as records:
        got = compiled(fn, **{"epiq.fuse": False, "epiq.fail_on_unfused": False})(*args)
    assert_same_bits(got, fn(*args))
    assert [program.composites for program in records[0].used] == [("rms_norm",), ("amax",), ("quantize",)]


def test_quantizations_of_one_value_share_its_amax():
    def fn(x, r, w):
        y = x + r
        return *quantize(y, FP8_PER_TENSOR), *quantize(y, FP8_GROUP64), y.float().abs().amax()

    args = inputs((4, 128))
    with recording() as records:
        got = compiled(fn)(*args)
    assert_same_bits(got, fn(*args))
    first, second = records[0].used
    assert (first.composites, second.composites) == (("amax", "quantize"), ("quantize",))


def test_a_given_scale_made_of_amax():
    """Servers write it so; what is between amax and the scale is part of the second program."""

    def fn(x, r, w):
        y = x + r
        scale = y.abs().max().float() / 400.0
        return *quantize(y, FP8_STATIC, scale=scale), scale

    args = inputs((4, 128))
    with recording() as records:
        got = compiled(fn)(*args)
    assert_same_bits(got, (fn(*args)))
    assert [program.composites for program in records[0].used] == [("amax",), ("quantize",)]
    assert records[0].nodes_after == 2 + 4  # The calls and their results: nothing is left to Inductor.


@pytest.mark.parametrize("spelling", [
    lambda y: y.abs().max(),
    lambda y: y.flatten().abs().amax(),
    lambda y: y.float().reshape(-1, 32).abs().amax(),
    lambda y: y.abs().amax(dim=(0, 1, 2)),
    lambda y: y.abs().amax(dim=(-3, -2, -1), keepdim=True),
])  # fmt: skip
def test_spellings_of_amax(spelling):
    def fn(x, r, w):
        y = x + r
        scale = (spelling(y).float() / 448.0).clamp(min=1e-6)
        return (y.float() / scale).clamp(-448.0, 448.0).to(torch.float8_e4m3fn), scale

    args = inputs((2, 3, 64))
    with recording() as records:
        got = compiled(fn)(*args)
    assert_same_bits(got, fn(*args))
    assert [program.composites for program in records[0].used] == [("amax",), ("quantize",)]


def test_report_counts_both_programs():
    def fn(x, r, w):
        return quantize(rms_norm(x, r, w), FP8_PER_TENSOR)

    report = explain(fn, *inputs((16, 256)))
    (quantization,) = report.quantizations
    assert (quantization.what, quantization.fused_into) == ("quantize(e4m3 tensor)", "rms_norm (amax)")
    assert [kernel.parts for kernel in report.kernels] == [("rms_norm", "amax"), ("quantize",)]
    rows = 16 * 256
    assert report.kernels[0].num_bytes == 2 * rows + 2 * 256 + 2 * rows + 4
    assert report.kernels[0].unfused_bytes == report.kernels[0].num_bytes + 2 * rows
    assert report.kernels[1].num_bytes == 2 * rows + 4 + rows + 4
    assert (report.kernels_before, report.kernels_after) == (3, 2)
