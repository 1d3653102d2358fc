"""The PTX conversions of sm_100 to ue8m0 and e2m1, as `tt.elementwise_inline_asm` writes them.

| instruction | what it does | here |
|---|---|---|
| `cvt.rp.satfinite.ue8m0x2.f32 d, a, b` | the least power of two not under \\|x\\|, 2^-127 at least, 2^127 for what is above; NaN 255 | a is 0, b in the low byte |
| `cvt.rn.satfinite.e2m1x2.f32 d, a, b` | nearest even, 6 for what is above and for NaN; a in the high nibble | four a register |

Source: PTX ISA 8.6, `cvt`.
"""  # noqa: E501

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from torch import Tensor

from epiq.executor.floats import encode_e2m1, narrow_e8m0

Function = Callable[..., Tensor]

_SCALE = re.compile(
    r"\{ \.reg \.b16 (\w+); cvt\.rp\.satfinite\.ue8m0x2\.f32 \1, 0f00000000, \$1; cvt\.u32\.u16 \$0, \1; \}"
)
_PAIR = re.compile(r"cvt\.rn\.satfinite\.e2m1x2\.f32 (\w+), \$(\d+), \$(\d+); ")


def find_scaled_cast(text: str, packed: int, operands: int) -> Function | None:
    """What the assembly computes, element by element; None if it is not one of these conversions.

    packed: elements of one instance of the text. operands: how many tensors it takes.
    """
    text = " ".join(text.split())
    if _SCALE.fullmatch(text) and (packed, operands) == (1, 1):
        return _to_ue8m0
    pairs = _PAIR.findall(text)
    names = ", ".join(name for name, _, _ in pairs)
    body = "".join(f"cvt.rn.satfinite.e2m1x2.f32 {name}, ${high}, ${low}; " for name, high, low in pairs)
    if text != f"{{ .reg .b8 {names}; {body}mov.b32 $0, {{{names}}}; }}":
        return None
    # Registers 1 to 4 are elements of the first operand, 5 to 8 of the second.
    numbers = [(int(high), int(low)) for _, high, low in pairs]
    is_known = (packed, operands) == (4, 2) and numbers == [(5, 1), (6, 2), (7, 3), (8, 4)]
    return _pack_e2m1 if is_known else None


def _to_ue8m0(x: Tensor) -> Tensor:
    finite = x.abs().clamp(max=2.0**127)
    return narrow_e8m0(finite, "rceil").view(torch.uint8).to(torch.int32)


def _pack_e2m1(low: Tensor, high: Tensor) -> Tensor:
    return (encode_e2m1(low) | encode_e2m1(high) << 4).view(torch.int8)
