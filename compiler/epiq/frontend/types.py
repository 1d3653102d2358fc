"""torch dtypes and shapes as MLIR types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from epiq.runtime.shapes import known_size

# What the importer can compute with. Signedness is not in MLIR's type: the importer knows the
# torch dtype of each value and picks the signed or the unsigned op.
ELEMENT_TYPES: dict[torch.dtype, str] = {
    torch.float64: "f64",
    torch.float32: "f32",
    torch.float16: "f16",
    torch.bfloat16: "bf16",
    torch.float8_e4m3fn: "f8E4M3FN",
    torch.float8_e5m2: "f8E5M2",
    torch.float8_e8m0fnu: "f8E8M0FNU",
    torch.int64: "i64",
    torch.int32: "i32",
    torch.int16: "i16",
    torch.int8: "i8",
    torch.uint8: "i8",
    torch.bool: "i1",
}

# Only passed through opaque nodes; the type is a stand-in of some size.
_OPAQUE_TYPES: dict[torch.dtype, str] = {
    torch.complex64: "complex<f32>",
    torch.complex128: "complex<f64>",
    torch.uint16: "i16",
    torch.uint32: "i32",
    torch.uint64: "i64",
}

FP8_TYPES = frozenset(
    {
        torch.float8_e4m3fn,
        torch.float8_e5m2,
        torch.float8_e8m0fnu,
    }
)
# Bytes that hold two values each: moved, and viewed as other bytes, never computed with.
PACKED_TYPES = frozenset({torch.float4_e2m1fn_x2})
# What quantized values are stored as.
QUANTIZED_TYPES = FP8_TYPES | PACKED_TYPES | {torch.int8, torch.uint8}
UNSIGNED_TYPES = frozenset({torch.uint8, torch.bool})
BITS: dict[torch.dtype, int] = {dtype: dtype.itemsize * 8 for dtype in ELEMENT_TYPES}

Shape = tuple[int | None, ...]


def element_type(dtype: torch.dtype) -> str:
    """The MLIR element type of `dtype`; a dtype that the importer knows nothing of is opaque i8."""
    return ELEMENT_TYPES.get(dtype) or _OPAQUE_TYPES.get(dtype, "i8")


def is_known(dtype: torch.dtype) -> bool:
    return dtype in ELEMENT_TYPES


def is_movable(dtype: torch.dtype) -> bool:
    """Whether views and copies of such a tensor are known; packed values are bytes in the IR."""
    return is_known(dtype) or dtype in PACKED_TYPES


def is_signed(dtype: torch.dtype) -> bool:
    return dtype not in UNSIGNED_TYPES


def static_shape(sizes: Sequence[Any]) -> Shape:
    """Sizes of a fake tensor; a SymInt that is not a plain number becomes None."""
    return tuple(known_size(size) for size in sizes)


def tensor_type(dtype: torch.dtype, shape: Shape) -> str:
    """`tensor<?x4096xbf16>`."""
    dims = "".join("?x" if dim is None else f"{dim}x" for dim in shape)
    return f"tensor<{dims}{element_type(dtype)}>"


def opmath_dtype(dtype: torch.dtype) -> torch.dtype:
    """What torch computes in for operands of `dtype`: f32 for the small floats, else itself."""
    if dtype in (torch.bfloat16, torch.float16) or dtype in FP8_TYPES:
        return torch.float32
    return dtype


def is_float(dtype: torch.dtype) -> bool:
    return dtype.is_floating_point
