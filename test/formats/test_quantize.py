"""quantize and dequantize against an oracle in numpy, derived error bounds, and wrong calls."""

from __future__ import annotations

import dataclasses

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from epiq.formats import (
    ALL,
    FP8_GROUP64,
    FP8_GROUP128,
    FP8_PER_TENSOR,
    FP8_PER_TOKEN,
    FP8_STATIC,
    INT8_PER_TOKEN,
    MXFP4,
    MXFP8,
    NVFP4,
    dequantize,
    quantize,
)

COLUMN_MAJOR = dataclasses.replace(FP8_GROUP128, scale_layout="column_major")
# Multiplying by a reciprocal rounds twice, dividing once; saturation at 448 hides the rest. Two roundings of
# 2^-24.
ROUNDING = 2.0**-22


def codes(q):
    return q.view(torch.uint8).numpy()


def run(x, fmt):
    """quantize with whatever second argument the format needs; returns q, scale, global scale or None."""
    if fmt.static:
        return *quantize(x, fmt, scale=torch.tensor(0.02)), None
    if fmt.global_scale:
        multiplier = torch.tensor(3.0)
        return *quantize(x, fmt, global_scale=multiplier), multiplier
    return *quantize(x, fmt), None


def assert_same_fp8(got, want):
    """Equal bytes, except that a NaN may have either sign."""
    nan = (want & 0x7F) == 0x7F
    np.testing.assert_array_equal((got & 0x7F) == 0x7F, nan)
    np.testing.assert_array_equal(np.where(nan, 0, got), np.where(nan, 0, want))


# Rows of one group with the magnitudes that break kernels: zeros, denormals, floors, ties, overflow.
def special_rows(k):
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(k, generator=generator)
    rows = [
        torch.zeros(k),
        torch.full((k,), -0.0),
        base * 1e-40,  # f32 denormals
        base * 1e-30,
        base * (1.0 / 512.0),  # about the floor
        base,
        base * 448.0,
        base * 1e30,
        torch.full((k,), 3.4028234663852886e38),
        torch.arange(k, dtype=torch.float32) * 16.0 - 448.0,  # e4m3 ties once the scale is 1
    ]
    rows.append(base.clone().index_fill(0, torch.tensor([3]), float("inf")))
    rows.append(base.clone().index_fill(0, torch.tensor([k - 1]), float("-inf")))
    rows.append(base.clone().index_fill(0, torch.tensor([0]), float("nan")))
    return torch.stack(rows)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("fmt", "group"), [(FP8_GROUP128, 128), (FP8_GROUP64, 64), (FP8_PER_TOKEN, 256)])
def test_fp8_is_the_oracle_bit_for_bit(fmt, group, dtype):
    """Any other order of division, floor and rounding shows here."""
    x = special_rows(256).to(dtype)
    q, scale = quantize(x, fmt)
    want_q, want_scale = oracle.fp8_group(x.float().numpy(), group, 1.0 / (448.0 * 512.0))
    assert_same_fp8(codes(q), want_q)
    np.testing.assert_array_equal(scale.numpy().view(np.uint32), want_scale.view(np.uint32))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.floats(width=32), min_size=128, max_size=128))
def test_fp8_group_is_the_oracle_on_any_floats(values):
    x = torch.tensor(values, dtype=torch.float32).reshape(1, 128)
    q, scale = quantize(x, FP8_GROUP128)
    want_q, want_scale = oracle.fp8_group(x.numpy(), 128, 1.0 / (448.0 * 512.0))
    assert_same_fp8(codes(q), want_q)
    np.testing.assert_array_equal(np.isnan(scale.numpy()), np.isnan(want_scale))
    np.testing.assert_array_equal(np.nan_to_num(scale.numpy()), np.nan_to_num(want_scale))


@settings(max_examples=300, deadline=None)
@given(st.floats(width=32))
def test_e4m3_rounds_to_nearest_even(value):
    """A static scale of 1 makes quantize the cast alone."""
    q, _ = quantize(torch.tensor([value]), FP8_STATIC, scale=1.0)
    want = oracle.encode(np.array([value], np.float32), oracle.E4M3, 7, 0x7F)
    assert_same_fp8(codes(q), want)


def test_e4m3_casts_every_midpoint_to_the_even_neighbour():
    midpoints = ((oracle.E4M3[1:] + oracle.E4M3[:-1]) / 2).astype(np.float32)
    around = np.concatenate(
        [midpoints, np.nextafter(midpoints, 0), np.nextafter(midpoints, np.float32(1e9)), -midpoints]
    )
    q, _ = quantize(torch.from_numpy(around), FP8_STATIC, scale=1.0)
    np.testing.assert_array_equal(codes(q), oracle.encode(around, oracle.E4M3, 7, 0x7F))


@settings(max_examples=100, deadline=None)
@given(
    fmt=st.sampled_from([FP8_PER_TENSOR, FP8_PER_TOKEN, FP8_GROUP64, FP8_GROUP128]),
    exponent=st.integers(-60, 60),
    seed=st.integers(0, 2**31),
    dtype=st.sampled_from([torch.bfloat16, torch.float32]),
)
def test_fp8_error_is_within_half_a_step(fmt, exponent, seed, dtype):
    """A value is at most half an e4m3 step off: 2^-4 of itself, or 2^-10 scales where e4m3 is subnormal."""
    x = (torch.randn(4, 256, generator=torch.Generator().manual_seed(seed)) * 2.0**exponent).to(dtype)
    q, scale = quantize(x, fmt)
    wide = scale.double()
    if fmt.granularity == "group":
        wide = wide.repeat_interleave(fmt.group_size, dim=-1)
    error = (q.double() * wide - x.double()).abs()
    bound = torch.maximum(x.double().abs() / 16, wide / 1024) + 448 * wide * ROUNDING
    assert (error <= bound).all()
    amax = x.double().abs().max()
    assert (error <= max(amax, 448 * fmt.floor) / 28 * (1 + 2.0**-16)).all()


def test_zero_groups_have_the_floor_as_scale_and_zero_values():
    q, scale = quantize(torch.zeros(3, 256), FP8_GROUP128)
    assert torch.equal(scale, torch.full((3, 2), 1.0 / (448.0 * 512.0)))
    assert not codes(q).any()


def test_a_nan_spoils_its_group_alone():
    x = torch.ones(2, 256)
    x[1, 130] = float("nan")
    q, scale = quantize(x, FP8_GROUP128)
    assert torch.equal(scale.isnan(), torch.tensor([[False, False], [False, True]]))
    assert q.float().isnan().sum() == 128


def test_inf_gives_an_inf_scale_zeros_and_a_nan():
    x = torch.ones(1, 128)
    x[0, 5] = float("-inf")
    q, scale = quantize(x, FP8_GROUP128)
    assert scale.item() == float("inf")
    assert q.float()[0, 5].isnan()
    assert q.float()[0, 6] == 0.0


def test_per_tensor_multiplies_by_the_reciprocal():
    x = special_rows(256)[5:8]
    q, scale = quantize(x, FP8_PER_TENSOR)
    want_scale = np.float32(x.abs().max().item()) / np.float32(448)
    assert scale.shape == () and scale.item() == want_scale
    scaled = x.numpy() * (np.float32(1) / want_scale)
    np.testing.assert_array_equal(codes(q), oracle.encode(scaled, oracle.E4M3, 7, 0x7F))


def test_static_takes_a_number_or_a_tensor_and_returns_it():
    x = special_rows(256)[:8]
    given_scale = torch.tensor([0.037])
    q, scale = quantize(x, FP8_STATIC, scale=given_scale)
    assert scale is given_scale
    scaled = x.numpy() * (np.float32(1) / np.float32(0.037))
    np.testing.assert_array_equal(codes(q), oracle.encode(scaled, oracle.E4M3, 7, 0x7F))
    assert torch.equal(quantize(x, FP8_STATIC, scale=0.037)[0].view(torch.uint8), q.view(torch.uint8))


@pytest.mark.parametrize("x_shape", [(), (4,), (2, 4)], ids=str)
@pytest.mark.parametrize("scale_shape", [(), (1,), (1, 1), (1, 1, 1)], ids=str)
def test_static_scales_of_one_value_in_any_shape(x_shape, scale_shape):
    x = torch.full(x_shape, 3.0)
    q, scale = quantize(x, FP8_STATIC, scale=torch.full(scale_shape, 0.5))
    assert q.shape == x_shape and scale.shape == scale_shape
    assert (q.float() == 6.0).all()


def test_floor_on_amax_and_upper_bound():
    """DeepGEMM's floor; a per-token upper bound."""
    deep_gemm = dataclasses.replace(FP8_GROUP128, floor=1e-4, floor_on="amax", division=False)
    _, scale = quantize(torch.full((1, 128), 1e-6), deep_gemm)
    assert scale.item() == np.float32(1e-4) / np.float32(448)
    bounded = dataclasses.replace(FP8_PER_TOKEN, upper_bound=10.0)
    q, scale = quantize(torch.full((1, 8), 50.0), bounded)
    assert scale.item() == np.float32(10) / np.float32(448)
    assert (q.float() == 448).all()


@pytest.mark.parametrize(
    "shape", [(128,), (5, 384), (1, 256), (5, 128), (2, 3, 256), (2, 1, 3, 128), (0, 256)], ids=str
)
def test_column_major_scales_have_column_major_strides(shape):
    """[.., G] with strides (1, M) over the M rows, the same values as row-major, any leading dimensions."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    _, rows = quantize(x, FP8_GROUP128)
    q, columns = quantize(x, COLUMN_MAJOR)
    assert torch.equal(rows, columns)
    assert q.is_contiguous()
    if x.dim() == 1 or x.numel() == 0:
        return
    m = x.numel() // x.shape[-1]
    assert columns.stride(-1) == m
    assert columns.reshape(m, -1).data_ptr() == columns.data_ptr()
    assert columns.stride(-2) == 1


@pytest.mark.parametrize("fmt", ALL, ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("shape", [(256,), (3, 256), (2, 3, 128), (0, 128)], ids=str)
def test_shapes_dtypes_and_round_trip(fmt, dtype, shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(2)).to(dtype)
    q, scale, multiplier = run(x, fmt)
    packed = 2 if fmt.element == "f4E2M1FN" else 1
    assert q.shape == (*shape[:-1], shape[-1] // packed)
    assert (q.dtype, scale.dtype) == (fmt.value_dtype, fmt.torch_scale_dtype)
    assert scale.shape == fmt.scale_shape(shape)
    assert q.is_contiguous()
    back = dequantize(q, scale, fmt, dtype, global_scale=multiplier)
    assert back.shape == x.shape and back.dtype == dtype
    if x.numel() == 0:
        return
    # Half a step: 1/16 of a value in e4m3, a quarter in e2m1 (saturation under `floor` cuts 8 to 6, a quarter
    # too, and an e4m3 scale is 1/16 off), 1/254 of amax in int8; and 2^-8 for the last rounding to bf16.
    limit = {"f4E2M1FN": 1 / 4 + 1 / 16, "i8": 1 / 254, "f8E4M3FN": 1 / 16}[fmt.element] + 2.0**-8
    assert (back.double() - x.double()).abs().max() <= limit * x.double().abs().max()


@pytest.mark.parametrize(
    "make", [lambda x: x.t().contiguous().t(), lambda x: x.repeat(1, 2)[:, : x.shape[1]]]
)
def test_strided_inputs_give_what_contiguous_ones_give(make):
    x = torch.randn(6, 256, generator=torch.Generator().manual_seed(3))
    q, scale = quantize(x, FP8_GROUP128)
    strided = make(x)
    assert torch.equal(strided, x) and not strided.is_contiguous()
    other_q, other_scale = quantize(strided, FP8_GROUP128)
    assert torch.equal(codes_tensor(q), codes_tensor(other_q)) and torch.equal(scale, other_scale)
    assert other_q.is_contiguous()


def codes_tensor(q):
    return q.view(torch.uint8)


def test_int8_rounds_half_even_and_stops_at_127():
    x = torch.tensor([[127.0, 0.5, 1.5, 2.5, -0.5, -126.5, -127.0, 63.4]])
    q, scale = quantize(x, INT8_PER_TOKEN)
    assert scale.item() == 1.0
    assert q.tolist() == [[127, 0, 2, 2, 0, -126, -127, 63]]
    _, floor = quantize(torch.zeros(1, 4), INT8_PER_TOKEN)
    assert floor.item() == 2.0**-23


@pytest.mark.parametrize(
    "fmt", [MXFP8, dataclasses.replace(MXFP8, scale_rounding="floor"), MXFP4], ids=lambda f: f.name
)
def test_mx_scales_are_exponent_bytes(fmt):
    x = special_rows(32)
    q, scale = quantize(x, fmt)
    rceil = fmt.scale_rounding == "rceil"
    largest = {448.0: 8, 6.0: 2}[fmt.element_max]
    for row, byte in zip(x.numpy(), scale.view(torch.uint8)[:, 0].tolist(), strict=True):
        amax = np.max(np.abs(row))
        if np.isnan(amax):
            assert byte == 255
        elif rceil:
            assert byte == oracle.exponent_byte(amax / np.float32(448), round_up=True)
        else:
            assert byte == max(oracle.exponent_byte(amax, round_up=False) - largest, 0) or np.isinf(amax)
    finite = x[~(scale.view(torch.uint8)[:, 0] == 255)].numpy()
    power = 2.0 ** (scale.view(torch.uint8).to(torch.float64) - 127)[: len(finite)].numpy()
    with np.errstate(over="ignore"):
        scaled = (finite / power).astype(np.float32)
    if fmt.element == "f8E4M3FN":
        np.testing.assert_array_equal(codes(q)[: len(finite)], oracle.encode(scaled, oracle.E4M3, 7, 0x7F))
    else:
        np.testing.assert_array_equal(unpack(q)[: len(finite)], oracle.encode(scaled, oracle.E2M1, 3, 7))


def test_groups_of_128_with_ue8m0_scales():
    """The floor first, then the power of two; the values are exact multiples of it before the cast."""
    fmt = dataclasses.replace(FP8_GROUP128, scale_dtype="f8E8M0FNU", scale_rounding="rceil")
    x = special_rows(128)[[0, 3, 5, 6, 7]]
    q, scale = quantize(x, fmt)
    ideal = np.maximum(oracle.group_amax(x.numpy(), 128) / np.float32(448), np.float32(fmt.floor))[:, 0, 0]
    want = [oracle.exponent_byte(one, round_up=True) for one in ideal]
    assert scale.view(torch.uint8)[:, 0].tolist() == want
    scaled = (x.double() * 2.0 ** (127 - torch.tensor(want).double())[:, None]).float().numpy()
    np.testing.assert_array_equal(codes(q), oracle.encode(scaled, oracle.E4M3, 7, 0x7F))


def unpack(q):
    raw = codes(q)
    return np.stack([raw & 15, raw >> 4], axis=-1).reshape(raw.shape[0], -1)


def test_mx_zero_groups():
    q, scale = quantize(torch.zeros(1, 32), MXFP8)
    assert scale.view(torch.uint8).item() == 0
    assert not codes(q).any()


def test_nvfp4_is_the_oracle():
    x = special_rows(32)[[0, 1, 4, 5, 6, 9]].numpy()
    multiplier = np.float32(448 * 6) / np.float32(np.abs(x).max())
    q, scale = quantize(torch.from_numpy(x), NVFP4, global_scale=float(multiplier))
    amax = oracle.group_amax(x, 16)
    ideal = (multiplier * amax / np.float32(6)).astype(np.float32)
    want_scale = oracle.encode(ideal, oracle.E4M3, 7, 0x7F)
    np.testing.assert_array_equal(scale.view(torch.uint8).numpy(), want_scale[..., 0])
    factor = oracle.E4M3[want_scale].astype(np.float32)
    with np.errstate(all="ignore"):
        scaled = (x.reshape(len(x), 2, 16) * multiplier / factor).astype(np.float32)
    scaled = np.where(factor == 0, np.float32(0), scaled).reshape(x.shape)
    np.testing.assert_array_equal(unpack(q), oracle.encode(scaled, oracle.E2M1, 3, 7))


def test_e2m1_values_come_back():
    values = torch.tensor([[0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0] * 4])
    q, scale = quantize(values, MXFP4)
    assert scale.view(torch.uint8).item() == 127
    assert torch.equal(dequantize(q, scale, MXFP4, torch.float32), values)
    assert torch.equal(dequantize(*quantize(-values, MXFP4), MXFP4, torch.float32), -values)


@pytest.mark.parametrize("fmt", [*ALL, COLUMN_MAJOR], ids=lambda fmt: f"{fmt.name}-{fmt.scale_layout}")
def test_traces_whole_with_dynamic_shapes(fmt):
    """One graph for any number of tokens, and the traced graph gives the eager bits."""

    def fn(x):
        return run(x * 2.0, fmt)[:2]

    graphs = []

    def count(module, _inputs):
        graphs.append(module)
        return module

    torch._dynamo.reset()  # each format is another trace of the same code
    traced = torch.compile(fn, backend=count, fullgraph=True, dynamic=True)
    for rows in (3, 5, 8):
        x = torch.randn(rows, 256, generator=torch.Generator().manual_seed(rows))
        q, scale = traced(x)
        want_q, want_scale = fn(x)
        assert torch.equal(codes_tensor(q), codes_tensor(want_q))
        assert torch.equal(scale.float(), want_scale.float())
        assert scale.stride() == want_scale.stride()
    assert len(graphs) == 1


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: quantize(x, FP8_GROUP128), ValueError, "group_size 128 does not divide K = 200"),
        (lambda x: quantize(x.double(), FP8_PER_TOKEN), TypeError, r"x must be one of .*, got torch.float64"),
        (lambda x: quantize(x.int(), FP8_PER_TOKEN), TypeError, r"x must be one of .*, got torch.int32"),
        (lambda x: quantize(x.tolist(), FP8_PER_TOKEN), TypeError, "x must be a Tensor, got list"),
        (lambda x: quantize(x, "fp8"), TypeError, "fmt must be a QuantFormat, got str"),
        (lambda x: quantize(x, FP8_STATIC), ValueError, "fp8_static needs scale, got None"),
        (
            lambda x: quantize(x, FP8_STATIC, scale=0.0),
            ValueError,
            r"scale must be positive and finite, got 0.0",
        ),
        (
            lambda x: quantize(x, FP8_STATIC, scale="1"),
            TypeError,
            "scale must be a Tensor or a number, got str",
        ),
        (
            lambda x: quantize(x, FP8_STATIC, scale=torch.zeros(())),
            ValueError,
            r"scale must be positive, got 0.0",
        ),
        (
            lambda x: quantize(x, FP8_STATIC, scale=torch.ones(2)),
            ValueError,
            r"must hold one value, got shape \(2,\)",
        ),
        (
            lambda x: quantize(x, FP8_STATIC, scale=torch.ones((), dtype=torch.float64)),
            TypeError,
            "must be float32",
        ),
        (
            lambda x: quantize(x, FP8_PER_TOKEN, scale=1.0),
            ValueError,
            "fp8_per_token computes its scales, got scale = 1",
        ),
        (
            lambda x: quantize(x, FP8_PER_TOKEN, global_scale=1.0),
            ValueError,
            "has no global scale, got global_scale = 1",
        ),
        (lambda x: quantize(x[:, :192], NVFP4), ValueError, "nvfp4 needs global_scale, got None"),
        (
            lambda x: quantize(x[:, :0], FP8_PER_TOKEN),
            ValueError,
            r"needs a value in each row, got x of shape \(4, 0\)",
        ),
        (
            lambda x: dequantize(x, x, FP8_PER_TOKEN),
            TypeError,
            r"holds torch.float8_e4m3fn, got q of torch.float32",
        ),
    ],
)
def test_wrong_calls_name_both_values(call, error, message):
    with pytest.raises(error, match=message):
        call(torch.ones(4, 200))


def test_wrong_scales_of_dequantize():
    q, scale = quantize(torch.ones(4, 256), FP8_GROUP128)
    with pytest.raises(
        ValueError, match=r"q of shape \(4, 256\) needs scale of shape \(4, 2\), got \(2, 4\)"
    ):
        dequantize(q, scale.t(), FP8_GROUP128)
    with pytest.raises(TypeError, match=r"has scales of torch.float32, got torch.float16"):
        dequantize(q, scale.half(), FP8_GROUP128)
    with pytest.raises(TypeError, match=r"dtype must be one of .*, got torch.int8"):
        dequantize(q, scale, FP8_GROUP128, torch.int8)
    with pytest.raises(ValueError, match=r"fp8_per_tensor has one scale, got scale of shape \(4, 2\)"):
        dequantize(q, scale, FP8_PER_TENSOR)


def test_an_empty_tensor_has_the_floor_as_its_scale():
    q, scale = quantize(torch.empty(0, 256), FP8_PER_TENSOR)
    assert q.shape == (0, 256)
    assert scale.item() == np.float32(FP8_PER_TENSOR.floor)
