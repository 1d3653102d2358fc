"""Casts that torch does not have: e2m1 values packed two a byte, and UE8M0 scales from exponent bits.

All of it is integer and compare work on f32, so that it traces, and gives the same bits on any device.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Between code c and c + 1 lies the midpoint MIDPOINTS[c]; a tie goes to the even code, so every second one is
# inclusive.
E2M1_MAGNITUDES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
E2M1_MIDPOINTS = (0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0)
# floor(log2(largest element)): what OCP's `floor` rule subtracts from the exponent of amax.
LARGEST_EXPONENT = {"f8E4M3FN": 8, "f8E5M2": 15, "f4E2M1FN": 2}


def to_e2m1(values: Tensor) -> Tensor:
    """Rounds f32 values to e2m1, nearest even, saturating, and packs two a byte.

    Args: values: (.., K) f32, K even. A NaN becomes 6, as in PTX's conversion.
    Returns: (.., K // 2) float4_e2m1fn_x2, element 2i in the low nibble.
    """
    magnitude = values.abs()
    code = torch.zeros_like(values, dtype=torch.int32)
    for index, midpoint in enumerate(E2M1_MIDPOINTS):
        above = magnitude >= midpoint if index % 2 else magnitude > midpoint
        code = code + above.to(torch.int32)
    code = torch.where(
        values.isnan(), torch.full_like(code, 7), code | (torch.signbit(values).to(torch.int32) << 3)
    )
    pairs = torch.unflatten(code, -1, (values.shape[-1] // 2, 2))
    packed = pairs.select(-1, 0) | (pairs.select(-1, 1) << 4)
    return packed.to(torch.uint8).view(torch.float4_e2m1fn_x2)


def from_e2m1(packed: Tensor) -> Tensor:
    """The f32 values of packed e2m1: (.., K // 2) float4_e2m1fn_x2 to (.., K) f32."""
    raw = packed.view(torch.uint8).to(torch.int32)
    codes = torch.stack((raw & 15, raw >> 4), dim=-1).flatten(-2)
    table = torch.tensor(E2M1_MAGNITUDES, dtype=torch.float32, device=packed.device)
    magnitude = table[codes & 7]
    return torch.where(codes > 7, -magnitude, magnitude)


def to_ue8m0(value: Tensor, *, round_up: bool, less: int = 0) -> Tensor:
    """A power of two as a UE8M0 scale, from the exponent bits of a value.

    Args: value: f32, not negative. round_up: the least power of two that is not under the value, else the
      largest that is not over it. less: subtracted from the exponent.
    Returns: float8_e8m0fnu, same shape. NaN gives NaN (byte 255), 0 byte 0; Inf counts as exponent 255, which
      is the largest scale (byte 254) unless something is subtracted.
    """
    bits = value.view(torch.int32)
    byte = bits >> 23
    if round_up:
        byte = byte + ((bits & 0x7FFFFF) != 0).to(torch.int32)
    if less:
        byte = byte - less
    byte = byte.clamp(0, 254)
    byte = torch.where(value.isnan(), torch.full_like(byte, 255), byte)
    return byte.to(torch.uint8).view(torch.float8_e8m0fnu)
