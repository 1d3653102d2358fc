"""Batches of values: taking the rows of some programs, and putting rows back together.

A value is a tensor whose first dimension is 1 (all programs agree) or the number of programs,
or an aggregate of such tensors (a descriptor, a block pointer).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from epiq.executor.types import Shaped

# torch indexes float8 on CPU only in part, so rows of it move as bytes.
_FLOAT8 = (
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.float8_e4m3fnuz,
    torch.float8_e5m2fnuz,
    torch.float8_e8m0fnu,
)


@dataclass(frozen=True)
class Descriptor:
    """A tensor descriptor. base: (b,) addresses; shape, strides: (b,) each, strides in elements."""

    kind: Shaped
    base: Tensor
    shape: tuple[Tensor, ...]
    strides: tuple[Tensor, ...]
    padding: str = "zero"

    def parts(self) -> list[Tensor]:
        return [self.base, *self.shape, *self.strides]

    def rebuilt(self, parts: Sequence[Tensor]) -> Descriptor:
        rank = len(self.shape)
        return Descriptor(
            self.kind, parts[0], tuple(parts[1 : 1 + rank]), tuple(parts[1 + rank :]), self.padding
        )


@dataclass(frozen=True)
class BlockPointer:
    """A pointer to a block of a parent tensor: `offsets` (b,) each move with `tt.advance`."""

    kind: Shaped
    base: Tensor
    shape: tuple[Tensor, ...]
    strides: tuple[Tensor, ...]
    offsets: tuple[Tensor, ...]

    def parts(self) -> list[Tensor]:
        return [self.base, *self.shape, *self.strides, *self.offsets]

    def rebuilt(self, parts: Sequence[Tensor]) -> BlockPointer:
        rank = len(self.shape)
        groups = [tuple(parts[1 + i * rank : 1 + (i + 1) * rank]) for i in range(3)]
        return BlockPointer(self.kind, parts[0], *groups)


Value = Any  # Tensor | Descriptor | BlockPointer; handlers know which from the op's types.


def common_shape(*shapes: Sequence[int]) -> torch.Size:
    """The shape that all broadcast to."""
    result: torch.Size = torch.broadcast_shapes(*shapes)  # type: ignore[no-untyped-call]
    return result


def as_bits(tensor: Tensor) -> Tensor:
    """The same data in a dtype that torch can index: float8 as uint8."""
    return tensor.view(torch.uint8) if tensor.dtype in _FLOAT8 else tensor


def select(value: Value, rows: Tensor) -> Value:
    """The rows of some programs. rows: (m,) int64 positions in the batch."""
    if not isinstance(value, Tensor):
        return value.rebuilt([select(part, rows) for part in value.parts()])
    if value.shape[0] == 1:
        return value
    if value.dtype in _FLOAT8:
        return value.view(torch.uint8).index_select(0, rows).view(value.dtype)
    return value.index_select(0, rows)


def merge(parts: Sequence[tuple[Tensor, Value]], size: int) -> Value:
    """Puts together one value from the rows that disjoint groups of programs computed.

    Args: parts: (rows, value) for each group; together the rows are 0..size-1.
    """
    if len(parts) == 1:
        return _in_order(parts[0], size)
    first = parts[0][1]
    if not isinstance(first, Tensor):
        columns = zip(*[[(rows, part) for part in value.parts()] for rows, value in parts], strict=True)
        return first.rebuilt([merge(column, size) for column in columns])
    bits = as_bits(first)
    result = bits.new_empty((size, *bits.shape[1:]))
    for rows, value in parts:
        result[rows] = as_bits(value).expand(len(rows), *bits.shape[1:])
    return result.view(first.dtype)


def _in_order(part: tuple[Tensor, Value], size: int) -> Value:
    rows, value = part
    order = torch.empty_like(rows)
    order[rows] = torch.arange(size)
    return select(value, order)
