"""Formats computed without torch: numpy float32 arithmetic and tables of every element, to judge the
reference by.

Nothing here shares code with epiq.formats. Elements are found by searching the table of all of them, not by
rounding bits, so that the two can only agree if both are right.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F32 = np.float32
Floats = NDArray[np.float32]


def minifloat_table(exponent_bits: int, mantissa_bits: int, bias: int, count: int) -> NDArray[np.float64]:
    """The `count` smallest non-negative values of a small float, by their code."""
    values = []
    for code in range(count):
        exponent, mantissa = code >> mantissa_bits, code & ((1 << mantissa_bits) - 1)
        fraction = mantissa / 2**mantissa_bits
        if exponent == 0:
            values.append(fraction * 2.0 ** (1 - bias))
        else:
            values.append((1 + fraction) * 2.0 ** (exponent - bias))
    assert exponent_bits + mantissa_bits < 8
    return np.array(values)


E4M3 = minifloat_table(4, 3, 7, 127)  # code 127 is NaN
E5M2 = minifloat_table(5, 2, 15, 124)  # codes 124.. are Inf and NaN
E2M1 = minifloat_table(2, 1, 1, 8)


def nearest_code(values: Floats, table: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The code of the table value nearest to |value|; ties to the even code, saturating."""
    magnitude = np.minimum(np.abs(values.astype(np.float64)), table[-1])
    above = np.clip(np.searchsorted(table, magnitude, side="left"), 1, len(table) - 1)
    below = above - 1
    up, down = table[above] - magnitude, magnitude - table[below]  # exact: f32 and table values fit in f64
    code = np.where(up < down, above, below)
    return np.where(up == down, np.where(above % 2 == 0, above, below), code).astype(np.uint8)


def encode(values: Floats, table: NDArray[np.float64], sign_bit: int, nan_code: int) -> NDArray[np.uint8]:
    """Codes with their sign; a NaN has `nan_code` and no sign here (compare NaNs as NaNs)."""
    code = nearest_code(np.nan_to_num(values, nan=0.0, posinf=np.inf, neginf=-np.inf), table)
    code = code | (np.signbit(values).astype(np.uint8) << sign_bit)
    return np.where(np.isnan(values), np.uint8(nan_code), code).astype(np.uint8)


def group_amax(x: Floats, group: int) -> Floats:
    """Amax of each group, (M, K) to (M, K // group, 1); numpy's max propagates NaN."""
    grouped = np.abs(x).reshape(x.shape[0], x.shape[1] // group, group)
    return np.max(grouped, axis=-1, keepdims=True).astype(F32)


def fp8_group(x: Floats, group: int, floor: float) -> tuple[NDArray[np.uint8], Floats]:
    """e4m3 codes and scales of max(amax / 448, floor), values divided by them."""
    with np.errstate(all="ignore"):
        scale = np.maximum((group_amax(x, group) / F32(448)).astype(F32), F32(floor))
        scaled = (x.reshape(x.shape[0], -1, group) / scale).astype(F32)
    return encode(scaled, E4M3, 7, 0x7F).reshape(x.shape), scale[..., 0]


def exponent_byte(value: float, *, round_up: bool) -> int:
    """The biased exponent of a non-negative f32; rounding up adds one if its mantissa is not zero."""
    bits = int(np.float32(value).view(np.uint32))
    return min((bits >> 23) + (round_up and bits & 0x7FFFFF != 0), 254)
