"""Exact casts between float types.

Widening is exact. Narrowing rounds once: `rtne` to nearest, ties to even, or `rtz` toward zero,
also when the source is f64 and the target has 3 bits of mantissa (no double rounding).

| target | overflow, rtne | infinity, rtne | NaN |
|---|---|---|---|
| f32, f16, bf16 | infinity | infinity | NaN |
| e4m3fn, e5m2, e4m3fnuz, e5m2fnuz | the largest finite value | the largest finite value | NaN |
| e4m3b11fnuz | the largest finite value | the largest finite value | the byte 0x80 |
| ue8m0 | see `narrow_e8m0` | byte 255 | byte 255 |

The saturating rows are what `cvt.rn.satfinite` does, which Triton emits for `tt.fp_to_fp`. With
`rtz` a finite value never leaves the finite range and an infinity becomes the largest finite value
of a float8.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from epiq.executor.types import Element

_SATURATES = {
    "f8E4M3FN": 448.0,
    "f8E5M2": 57344.0,
    "f8E4M3FNUZ": 240.0,
    "f8E5M2FNUZ": 57344.0,
}
_INTEGER = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
# Magnitudes of e2m1 by code, of which bit 3 is the sign.
E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def widen(value: Tensor, source: Element, dtype: torch.dtype) -> Tensor:
    """Casts to a dtype that holds every value of `source`: exact."""
    if source.name == "f8E4M3B11FNUZ":
        return _b11_values()[value.long()].to(dtype)
    if source.is_float8 and dtype is not torch.float32:
        return value.to(torch.float32).to(dtype)
    return value.to(dtype)


def narrow(value: Tensor, target: Element, rounding: str = "rtne") -> Tensor:
    """Casts to `target` with one rounding, as the table above says.

    Args: value: f16, bf16, f32 or f64. rounding: "rtne" or "rtz"; for ue8m0 also "rceil".
    """
    if target.name == "f8E8M0FNU":
        mode = {"rtne": "nearest", "rtz": "floor"}.get(rounding, rounding)
        return narrow_e8m0(value.to(torch.float32), mode)
    if target.name == "f8E4M3B11FNUZ":
        return _narrow_b11(value.to(torch.float64), rounding)
    if value.dtype is torch.float64 and target.dtype is not torch.float64:
        if target.dtype is torch.float32:
            return value.to(torch.float32) if rounding == "rtne" else _toward_zero(value, target)
        # Rounding to odd in f32 keeps enough of what was cut for the second rounding to be right.
        value = round_to_odd(value)
    elif value.dtype in (torch.float16, torch.bfloat16):
        value = value.to(torch.float32)
    limit = _SATURATES.get(target.name)
    if limit is not None:
        value = value.clamp(-limit, limit)
    if rounding == "rtz":
        return _toward_zero(value, target)
    result = value.to(target.dtype)
    if limit is None:
        return result
    return _canonical_nan(value, result, target)


def round_to_odd(value: Tensor) -> Tensor:
    """f64 -> f32, rounded toward zero with the last bit set when anything was cut off."""
    nearest = value.to(torch.float32)
    back = nearest.to(torch.float64)
    inexact = (back != value) & ~value.isnan()
    bits = nearest.view(torch.int32)
    bits = bits - (back.abs() > value.abs()).to(torch.int32)
    bits = torch.where(inexact, bits | 1, nearest.view(torch.int32))
    return bits.view(torch.float32)


def narrow_e8m0(value: Tensor, rounding: str) -> Tensor:
    """f32 -> ue8m0 from the exponent bits. The sign is dropped; 0 gives byte 0, infinity and NaN 255.

    Args: rounding: "floor"; "rceil" (up to the next power of two, 2^127 at most); "nearest"
    (a tie goes up; above 1.5 * 2^127 byte 255, as torch casts).
    """
    if rounding == "nearest":
        return value.to(torch.float8_e8m0fnu)
    bits = value.contiguous().view(torch.int32) & 0x7FFFFFFF
    exponent = bits >> 23
    byte = exponent
    if rounding == "rceil":
        # A subnormal up to 2^-127 is byte 0, above it byte 1.
        above = torch.where(exponent == 0, bits > 0x400000, (bits & 0x7FFFFF) != 0)
        byte = (exponent + above.to(torch.int32)).clamp(max=254)
    byte = torch.where(exponent == 255, 255, byte)
    return byte.to(torch.uint8).view(torch.float8_e8m0fnu)


def decode_e2m1(codes: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Values of e2m1 codes. codes: integers, of which the low 4 bits are read."""
    table = torch.tensor([*E2M1, *(-v for v in E2M1)], dtype=dtype)
    return table[(codes & 15).long()]


def encode_e2m1(value: Tensor) -> Tensor:
    """f32 -> e2m1 codes (uint8): nearest, ties to even, saturating at 6; NaN gives 6 as `cvt` does."""
    midpoints = torch.tensor([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0], dtype=torch.float64)
    magnitude = value.abs().to(torch.float64).nan_to_num(nan=6.0, posinf=6.0)
    # On a tie the even code wins: the lower one at midpoints 0, 2, 4, 6, the upper one at the others.
    low = torch.bucketize(magnitude, midpoints, right=False)
    high = torch.bucketize(magnitude, midpoints, right=True)
    code = torch.where(low % 2 == 0, low, high)
    sign = torch.signbit(value) & ~value.isnan()
    return (code + 8 * sign).to(torch.uint8)


def split_e2m1(packed: Tensor, dim: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Values of bytes that hold two e2m1 each along `dim`: element 2i in the low nibble."""
    pair = torch.stack([decode_e2m1(packed, dtype), decode_e2m1(packed >> 4, dtype)], dim + 1)
    return pair.flatten(dim, dim + 1)


def _toward_zero(value: Tensor, target: Element) -> Tensor:
    """Rounds toward zero: one step back from the nearest value where that lies beyond."""
    nearest = value.to(target.dtype)
    integers = _INTEGER[target.size]
    bits = nearest.contiguous().view(integers)
    beyond = nearest.to(value.dtype).abs() > value.abs()
    bits = torch.where(beyond, bits - 1, bits)
    if target.name.endswith("FNUZ"):
        # One step back from the smallest negative is zero, which has one byte only.
        bits = torch.where((bits == -128) & ~value.isnan(), 0, bits)
    return bits.to(integers).view(target.dtype)


def _canonical_nan(value: Tensor, result: Tensor, target: Element) -> Tensor:
    """A NaN becomes the float8's NaN without a sign, as the hardware writes it."""
    nan = value.isnan()
    if not bool(nan.any()):
        return result
    code = 0x80 if target.name.endswith("FNUZ") else 0x7F
    return torch.where(nan, code, result.contiguous().view(torch.uint8)).to(torch.uint8).view(target.dtype)


@lru_cache(maxsize=1)
def _b11_values() -> Tensor:
    """f64 values of the 256 bytes of e4m3b11fnuz: bias 11, no infinity, 0x80 is NaN."""
    codes = torch.arange(256)
    exponent, mantissa = (codes >> 3) & 15, (codes & 7).to(torch.float64)
    subnormal = torch.ldexp(mantissa / 8, torch.full_like(mantissa, -10))
    normal = torch.ldexp(1 + mantissa / 8, (exponent - 11).to(torch.float64))
    values = torch.where(exponent == 0, subnormal, normal)
    values = torch.where(codes >= 128, -values, values)
    values[128] = torch.nan
    return values


def _narrow_b11(value: Tensor, rounding: str) -> Tensor:
    table = _b11_values()[:128]
    magnitude = value.abs().clamp(max=float(table[-1])).nan_to_num(0.0)
    low = (torch.searchsorted(table, magnitude.contiguous(), right=True) - 1).clamp(0, 127)
    code = low
    if rounding == "rtne":
        high = (low + 1).clamp(max=127)
        below, above = magnitude - table[low], table[high] - magnitude
        up = (above < below) | ((above == below) & (low % 2 == 1))
        code = torch.where(up, high, low)
    # There is no negative zero: its byte is the NaN.
    code = torch.where(torch.signbit(value) & (code != 0), code + 128, code)
    return torch.where(value.isnan(), 128, code).to(torch.uint8)
