"""Tensors of an epilogue as the kernel addresses them: rows at one distance, columns next to each other."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from epiq.formats.layouts import LAYOUTS

_ALIGNMENT = 16


@dataclass(frozen=True)
class Matrix:
    """A tensor as rows and columns.

    stride: between rows if row-major, between columns if column-major, else what the pass takes for the
    layout, in elements; None for one value. starts_at_zero: the kernel does not store all of it.
    """

    rows: int
    columns: int
    layout: str
    stride: int | None
    is_aligned: bool
    starts_at_zero: bool = False

    def of(self, name: str, tensor: Tensor, rows: int, columns: int, layout: str | None) -> Matrix:
        """The matrix, which must be `rows` x `columns`, in `layout` if that is not for its strides to say.

        Raises: ValueError if it is not.
        """
        if (self.rows, self.columns) != (rows, columns):
            raise ValueError(f"{name} must have {rows} rows of {columns}, got shape {tuple(tensor.shape)}")
        if layout is None:
            return self
        if self.layout != "row_major":
            raise ValueError(
                f"{name} holds two values a byte, and its rows must be contiguous, got shape "
                f"{tuple(tensor.shape)} with strides {tuple(tensor.stride())}"
            )
        return replace(self, layout=layout)


def output_matrix(name: str, tensor: Tensor) -> Matrix:
    """A result tensor as a matrix, its leading dimensions being the rows.

    Raises: ValueError if its strides are neither row-major nor column-major.
    """
    if tensor.ndim == 0:
        raise ValueError(f"{name} must have rows and columns, got shape ()")
    rows = math.prod(tensor.shape[:-1])
    columns = tensor.shape[-1]
    row_stride = _collapsed_stride(tensor)
    inner = tensor.stride(-1)
    aligned = _is_aligned(tensor)
    if row_stride is not None and (columns == 1 or inner == 1):
        return Matrix(rows, columns, "row_major", row_stride, aligned)
    if row_stride == 1 or rows == 1:
        return Matrix(rows, columns, "column_major", inner, aligned)
    raise ValueError(
        f"{name} must be contiguous along its rows or its columns, got shape {tuple(tensor.shape)} "
        f"with strides {tuple(tensor.stride())}"
    )


def _collapsed_stride(tensor: Tensor) -> int | None:
    """The distance between neighbouring rows; None if they have no single one."""
    stride, expected = None, None
    for size, step in zip(reversed(tensor.shape[:-1]), reversed(tensor.stride()[:-1]), strict=True):
        if size == 1:
            continue
        if stride is None:
            stride = step
        elif step != expected:
            return None
        expected = step * size
    return tensor.shape[-1] if stride is None else stride


def _is_aligned(tensor: Tensor) -> bool:
    return tensor.device.type == "meta" or tensor.data_ptr() % _ALIGNMENT == 0


def laid_out(name: str, tensor: Tensor, layout: str, rows: int, columns: int) -> Matrix:
    """A result that lies in a layout of its own: scales of `rows` x `columns`, packed or swizzled.

    Raises: ValueError if the tensor has not the shape and the strides of the layout.
    """
    kind = LAYOUTS[layout]
    shape, strides = kind.shape((rows,), columns), kind.strides((rows,), columns)
    found = zip(tensor.shape, tensor.stride(), strides, strict=False)
    if tuple(tensor.shape) != shape or any(size > 1 and a != b for size, a, b in found):
        raise ValueError(
            f"{name} must have shape {shape} and strides {strides}, as scales of {rows} x {columns} in "
            f"{layout} have, got shape {tuple(tensor.shape)} and strides {tuple(tensor.stride())}"
        )
    is_padded = rows % kind.row_multiple != 0 or columns % (kind.tile[1] if kind.tile else kind.word) != 0
    # Between blocks of rows, or between columns of words.
    distance = strides[0] if kind.tile else strides[-1]
    return Matrix(rows, columns, layout, distance, _is_aligned(tensor), is_padded)


def one_value(name: str, tensor: Tensor) -> Matrix:
    """A result that is one number, which programs combine in memory.

    Raises: ValueError for a tensor of more values.
    """
    if tensor.numel() != 1:
        raise ValueError(f"{name} must have one value, got shape {tuple(tensor.shape)}")
    return Matrix(1, 1, "row_major", None, _is_aligned(tensor), starts_at_zero=True)


@dataclass(frozen=True)
class InputKind:
    """How an input varies. shape: as describe.describe takes it. stride: between rows, None if it has
    one row; a number given instead of a tensor is part of the trace."""

    shape: tuple[Any, ...]
    stride: int | None
    is_aligned: bool


def input_kind(name: str, tensor: Tensor, rows: int, columns: int) -> InputKind:
    """How an input of the epilogue lies over an output of `rows` x `columns`.

    Raises: ValueError for a shape that does not go with it, or strides that are not contiguous.
    """
    shape = tuple(tensor.shape)
    aligned = _is_aligned(tensor)
    if tensor.numel() == 1 and tensor.ndim < 2:
        return InputKind(shape, None, aligned)
    last = shape[-1]
    if last != 1 and tensor.stride(-1) != 1:
        raise ValueError(f"{name} must be contiguous along its columns, got strides {tuple(tensor.stride())}")
    if columns % last != 0:
        raise ValueError(f"{name} of shape {shape} does not go with an output of {rows} x {columns}")
    width = 1 if last == 1 else ("N", last / columns)
    if tensor.ndim == 1:
        return InputKind((width,), None, aligned)
    if math.prod(shape[:-1]) != rows:
        raise ValueError(f"{name} of shape {shape} does not go with an output of {rows} x {columns}")
    stride = _collapsed_stride(tensor)
    if stride is None:
        raise ValueError(f"{name} must have rows at one distance, got strides {tuple(tensor.stride())}")
    return InputKind(("M", width), stride, aligned)


def divisor(value: int) -> int:
    """What Triton is told divides a stride."""
    return _ALIGNMENT if value % _ALIGNMENT == 0 else 1
