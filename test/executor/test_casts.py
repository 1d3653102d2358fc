"""Casts against independent oracles: exhaustive where a type is small, hypothesis where it is not."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from executor_ir import cast, evaluate, same
from hypothesis import given, settings
from hypothesis import strategies as st

from epiq.executor import floats
from epiq.executor.types import element_type

# name: dtype, mantissa bits, smallest normal exponent, largest finite value
NARROW = {
    "f16": (torch.float16, 10, -14, 65504.0),
    "bf16": (torch.bfloat16, 7, -126, 3.3895313892515355e38),
    "f8E4M3FN": (torch.float8_e4m3fn, 3, -6, 448.0),
    "f8E5M2": (torch.float8_e5m2, 2, -14, 57344.0),
    "f8E4M3FNUZ": (torch.float8_e4m3fnuz, 3, -7, 240.0),
    "f8E5M2FNUZ": (torch.float8_e5m2fnuz, 2, -15, 57344.0),
}


def rounded(value: float, name: str, mode: str) -> float:
    """Rounds with exact rationals: the definition, not the method under test."""
    _, mantissa, smallest, largest = NARROW[name]
    saturates = name.startswith("f8")
    if math.isnan(value):
        return value
    if math.isinf(value):
        return math.copysign(largest, value) if saturates else value
    magnitude = Fraction(abs(value))
    exponent = smallest
    while magnitude >= Fraction(2) ** (exponent + 1):
        exponent += 1
    step = Fraction(2) ** (exponent - mantissa)
    count = magnitude / step
    whole = count.numerator // count.denominator
    rest = count - whole
    up = mode == "rtne" and (rest > Fraction(1, 2) or (rest == Fraction(1, 2) and whole % 2 == 1))
    result = (whole + up) * step
    if result > Fraction(largest):
        return math.copysign(largest if saturates or mode == "rtz" else math.inf, value)
    return math.copysign(float(result), value)


def interesting(dtype: torch.dtype) -> torch.Tensor:
    """Ties, their neighbours, denormals, extremes, NaN and infinities, as f32."""
    codes = (
        torch.arange(1 << 16, dtype=torch.int32).to(torch.int16) if dtype.itemsize == 2 else torch.arange(256)
    )
    values = codes.to(torch.uint8).view(dtype) if dtype.itemsize == 1 else codes.view(dtype)
    exact = values.to(torch.float32)
    exact = exact[exact.isfinite()].sort().values
    ties = (exact[1:].double() + exact[:-1].double()) / 2
    near = ties.to(torch.float32)
    up, down = torch.full_like(near, math.inf), torch.full_like(near, -math.inf)
    special = torch.tensor([0.0, -0.0, math.inf, -math.inf, math.nan, -math.nan, 3.4e38, -3.4e38, 1e-45])
    return torch.cat([exact, near, torch.nextafter(near, up), torch.nextafter(near, down), special])


@pytest.mark.parametrize("mode", ["rtne", "rtz"])
@pytest.mark.parametrize("name", [n for n in NARROW if n not in ("f16", "bf16")])
def test_float8_from_f32_at_every_tie_and_its_neighbours(name: str, mode: str) -> None:
    """A cast that truncates, ties away or overflows to NaN fails here."""
    dtype = NARROW[name][0]
    values = interesting(dtype)
    result = cast("tt.fp_to_fp", values, dtype, f", rounding = {mode}").to(torch.float64).tolist()
    for value, found in zip(values.tolist(), result, strict=True):
        expected = rounded(value, name, mode)
        if name.endswith("FNUZ") and expected == 0:
            expected = 0.0
        assert found == expected or (math.isnan(found) and math.isnan(expected)), (value, found, expected)


@pytest.mark.parametrize("name", ["f8E4M3FN", "f8E5M2"])
def test_a_nan_has_no_sign_in_float8(name: str) -> None:
    values = torch.tensor([math.nan, -math.nan])
    bits = cast("tt.fp_to_fp", values, NARROW[name][0], ", rounding = rtne").view(torch.uint8)
    assert bits.tolist() == [0x7F, 0x7F]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.floats(width=64), min_size=1, max_size=32), st.sampled_from(sorted(NARROW)))
def test_narrowing_from_f64_rounds_once(values: list[float], name: str) -> None:
    """Going through f32 on the way would round twice."""
    for mode in ("rtne", "rtz"):
        result = floats.narrow(torch.tensor(values, dtype=torch.float64), element_type(name), mode)
        for value, found in zip(values, result.to(torch.float64).tolist(), strict=True):
            expected = rounded(value, name, mode)
            if name.endswith("FNUZ") and expected == 0:
                expected = 0.0
            assert found == expected or (math.isnan(found) and math.isnan(expected)), (value, mode)


@pytest.mark.parametrize("name", ["f16", "bf16", "f8E4M3FN", "f8E5M2"])
def test_f64_just_above_a_tie_goes_up(name: str) -> None:
    """The excess vanishes in f32: the classic double rounding."""
    dtype, mantissa, _, _ = NARROW[name]
    tie = 1 + 2.0 ** -(mantissa + 1)
    values = torch.tensor([tie, tie + 2.0**-50, -tie - 2.0**-50], dtype=torch.float64)
    up = 1 + 2.0**-mantissa
    assert floats.narrow(values, element_type(name)).to(torch.float64).tolist() == [1.0, up, -up]
    assert floats.narrow(values, element_type(name)).dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_truncf_to_half_precision_on_random_bits(dtype: torch.dtype) -> None:
    bits = torch.randint(-(2**31), 2**31 - 1, (1 << 14,), generator=torch.Generator().manual_seed(1))
    values = bits.to(torch.int32).view(torch.float32)
    name = "bf16" if dtype == torch.bfloat16 else "f16"
    expected = torch.tensor([rounded(v, name, "rtne") for v in values.tolist()], dtype=torch.float64)
    assert same(cast("arith.truncf", values, dtype), expected.to(dtype))


@pytest.mark.parametrize("target", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("name", [n for n in NARROW if n.startswith("f8")])
def test_widening_float8_is_exact(name: str, target: torch.dtype) -> None:
    codes = torch.arange(256).to(torch.uint8).view(NARROW[name][0])
    result = cast("tt.fp_to_fp", codes, target)
    assert same(result.to(torch.float32), codes.to(torch.float32))


def test_e4m3b11_round_trips_and_rounds() -> None:
    element = element_type("f8E4M3B11FNUZ")
    codes = torch.arange(256).to(torch.uint8)
    values = floats.widen(codes, element, torch.float32)
    assert values[0x58] == 1.0 and values[0x7F] == 30.0 and values[1] == 2.0**-13 and values[0x80].isnan()
    assert torch.equal(floats.narrow(values, element), codes)
    assert floats.narrow(torch.tensor([100.0, -100.0, 1.0625, 1.1875, -0.0]), element).tolist() == [
        0x7F,
        0xFF,
        0x58,
        0x5A,
        0,
    ]


def test_e8m0_roundings() -> None:
    """Exact at powers of two; in between `floor` keeps the exponent, `rceil` adds one."""
    values = torch.tensor([1.0, 1.25, 2.0, 3.9, 2.0**-126, 2.0**-127, 1.5 * 2.0**-127, 0.0, 3e38, math.inf])
    floor = floats.narrow_e8m0(values, "floor").view(torch.uint8).tolist()
    rceil = floats.narrow_e8m0(values, "rceil").view(torch.uint8).tolist()
    nearest = floats.narrow_e8m0(values, "nearest").view(torch.uint8).tolist()
    assert floor == [127, 127, 128, 128, 1, 0, 0, 0, 254, 255]
    assert rceil == [127, 128, 128, 129, 1, 0, 1, 0, 254, 255]
    assert nearest[:4] == [127, 127, 128, 129]


def test_e8m0_widens_to_its_powers_of_two() -> None:
    codes = torch.arange(256).to(torch.uint8)
    values = floats.widen(codes.view(torch.float8_e8m0fnu), element_type("f8E8M0FNU"), torch.float32)
    assert values[:255].tolist() == [2.0 ** (code - 127) for code in range(255)] and values[255].isnan()


@settings(max_examples=200, deadline=None)
@given(st.floats(width=32))
def test_e2m1_takes_the_nearest_and_the_even_on_a_tie(value: float) -> None:
    code = int(floats.encode_e2m1(torch.tensor([value])))
    if math.isnan(value):
        assert code == 7
        return
    magnitude = min(abs(value), 6.0)
    best = min(range(8), key=lambda c: (abs(Fraction(floats.E2M1[c]) - Fraction(magnitude)), c % 2))
    assert code & 7 == best
    assert bool(code & 8) == (math.copysign(1.0, value) < 0)


def test_e2m1_unpacks_the_low_nibble_first() -> None:
    packed = torch.tensor([[0x21, 0xF7]], dtype=torch.uint8).view(torch.int8)
    assert floats.split_e2m1(packed, 1).tolist() == [[0.5, 1.0, 6.0, -6.0]]


@pytest.mark.parametrize("op", ["arith.fptosi", "arith.fptoui"])
def test_float_to_int_truncates_and_saturates(op: str) -> None:
    values = torch.tensor([1.9, -1.9, 3e9, -3e9, 1e20, -1e20, math.nan, math.inf, -math.inf, 2.0**31, -0.5])
    result = cast(op, values, torch.int32).tolist()
    if op == "arith.fptosi":
        big, small = 2**31 - 1, -(2**31)
        assert result == [1, -1, big, small, big, small, 0, big, small, big, 0]
    else:
        unsigned = [number & 0xFFFFFFFF for number in result]
        top = 2**32 - 1
        assert unsigned == [1, 0, 3000000000, 0, top, 0, 0, top, 0, 2**31, 0]


@pytest.mark.parametrize("op", ["arith.fptosi", "arith.fptoui"])
def test_float_to_i64_at_the_ends(op: str) -> None:
    values = torch.tensor([2.0**62, 2.0**63, 2.0**64, -(2.0**63), -(2.0**70), math.nan], dtype=torch.float64)
    result = cast(op, values, torch.int64).tolist()
    if op == "arith.fptosi":
        assert result == [2**62, 2**63 - 1, 2**63 - 1, -(2**63), -(2**63), 0]
    else:
        assert [number & (2**64 - 1) for number in result] == [2**62, 2**63, 2**64 - 1, 0, 0, 0]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=16))
def test_int_to_float_rounds_once(values: list[int]) -> None:
    ints = torch.tensor(values, dtype=torch.int32)
    for name, dtype in (("f16", torch.float16), ("bf16", torch.bfloat16)):
        expected = torch.tensor([rounded(float(v), name, "rtne") for v in values], dtype=torch.float64)
        assert same(cast("arith.sitofp", ints, dtype), expected.to(dtype))
    assert cast("arith.uitofp", ints, torch.float64).tolist() == [float(v & 0xFFFFFFFF) for v in values]


def test_u64_to_float_rounds_once() -> None:
    values = [0, 1, 2**63, 2**64 - 1, 2**63 + 2**10 + 1, 2**53 + 1]
    ints = torch.tensor([v - 2**64 if v >= 2**63 else v for v in values])
    assert cast("arith.uitofp", ints, torch.float64).tolist() == [float(v) for v in values]


def test_integer_extension_and_truncation() -> None:
    values = torch.tensor([-1, 127, -128, 5], dtype=torch.int8)
    assert cast("arith.extsi", values, torch.int32).tolist() == [-1, 127, -128, 5]
    assert cast("arith.extui", values, torch.int32).tolist() == [255, 127, 128, 5]
    wide = torch.tensor([2**31 + 5, -1, 300], dtype=torch.int64)
    assert cast("arith.trunci", wide, torch.int8).tolist() == [5, -1, 44]


def test_bitcast_keeps_bits() -> None:
    values = torch.tensor([1.0, -2.5, math.inf])
    assert torch.equal(cast("arith.bitcast", values, torch.int32), values.view(torch.int32))
    assert torch.equal(cast("tt.bitcast", values, torch.int32), values.view(torch.int32))


def test_clampf_treats_nan_as_asked() -> None:
    x, low, high = torch.tensor([-5.0, 0.5, 9.0, math.nan]), torch.full((4,), -1.0), torch.full((4,), 1.0)
    for mode, last in (("none", -1.0), ("all", math.nan)):
        body = f"%y0 = tt.clampf %x0, %x1, %x2, propagateNan = {mode} : tensor<4xf32>"
        result = evaluate(body, [x, low, high], [((4,), torch.float32)])[0].tolist()
        assert result[:3] == [-1.0, 0.5, 1.0]
        assert result[3] == last or (math.isnan(last) and math.isnan(result[3]))
