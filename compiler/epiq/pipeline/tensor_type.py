"""Tensor types as MLIR spells them."""

from __future__ import annotations

import math
import re

_TENSOR = re.compile(r"tensor<((?:(?:\?|\d+)x)*)(\w+)>")

# Bytes of one element. i1 takes a byte in memory.
_ELEMENT_BYTES = {
    "f64": 8,
    "f32": 4,
    "f16": 2,
    "bf16": 2,
    "f8E4M3FN": 1,
    "f8E5M2": 1,
    "f8E8M0FNU": 1,
    "i64": 8,
    "i32": 4,
    "i16": 2,
    "i8": 1,
    "i1": 1,
}


def parse_tensor_type(text: str) -> tuple[str, tuple[int | None, ...]]:
    """`tensor<?x4096xbf16>` -> ("bf16", (None, 4096)). Raises ValueError for any other text."""
    match = _TENSOR.fullmatch(text)
    if match is None:
        raise ValueError(f"type {text} is not a ranked tensor without an encoding")
    dims = match.group(1).split("x")[:-1]
    return match.group(2), tuple(None if dim == "?" else int(dim) for dim in dims)


def element_bytes(dtype: str) -> int:
    """Bytes of one element of `dtype`. Raises ValueError for a type that has no such size."""
    if dtype not in _ELEMENT_BYTES:
        raise ValueError(f"element type {dtype} is not one of {', '.join(_ELEMENT_BYTES)}")
    return _ELEMENT_BYTES[dtype]


def tensor_bytes(dtype: str, elements: int) -> int:
    """Bytes of `elements` elements of `dtype`, two of which may share a byte."""
    return elements // 2 if dtype == "f4E2M1FN" else elements * element_bytes(dtype)


def static_size(shape: tuple[int | None, ...]) -> int:
    """The product of the dimensions that are known, 0 counted as 1.

    Only token dimensions can be 0, and the width of a row must not vanish with them.
    """
    return math.prod(dim for dim in shape if dim)
