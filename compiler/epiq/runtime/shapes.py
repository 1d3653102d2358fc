"""Shapes of a kernel's outputs as functions of its inputs, the same in tracing and at run time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from epiq.formats.layouts import LAYOUTS
from epiq.pipeline.program import Layout


@dataclass(frozen=True)
class Tiles:
    """A dimension of an output that is padded: ceil(M / rows) * size."""

    rows: int
    size: int


# A dimension of an output: a number, dimension d of input i, the number of rows, or that rounded up.
Dim = int | tuple[int, int] | Literal["M"] | Tiles


@dataclass(frozen=True)
class OutputSpec:
    """One output. width: elements of a row as they lie in memory. layout: how they lie there; the
    shape is one that memory of that layout can be viewed in. zeroed: holds 0 before the kernel runs.
    """

    dtype: torch.dtype
    dims: tuple[Dim, ...]
    width: int
    layout: Layout = "row_major"
    zeroed: bool = False

    def sizes(self, inputs: Sequence[Tensor], num_rows: Any) -> tuple[Any, ...]:
        """The shape; SymInts where the inputs have them."""
        return tuple(self._size(dim, inputs, num_rows) for dim in self.dims)

    def _size(self, dim: Dim, inputs: Sequence[Tensor], num_rows: Any) -> Any:
        if isinstance(dim, int):
            return dim
        if isinstance(dim, Tiles):
            return (num_rows + dim.rows - 1) // dim.rows * dim.size
        return num_rows if dim == "M" else inputs[dim[0]].shape[dim[1]]

    def allocate(self, inputs: Sequence[Tensor], num_rows: Any, device: torch.device) -> Tensor:
        """A tensor of this shape and these strides, uninitialized unless it must hold 0."""
        sizes = self.sizes(inputs, num_rows)
        if self.zeroed:
            return torch.zeros(sizes, dtype=self.dtype, device=device)
        multiple = LAYOUTS[self.layout].column_multiple if self.layout in LAYOUTS else 0
        if multiple == 0:
            return torch.empty(sizes, dtype=self.dtype, device=device)
        strides = column_strides(sizes, self.width, num_rows, multiple)
        return torch.empty_strided(sizes, strides, dtype=self.dtype, device=device)


def column_strides(sizes: Sequence[Any], width: int, num_rows: Any, multiple: int = 1) -> tuple[Any, ...]:
    """Strides of [*leading, *row] where the rows, counted in order, are one element apart, and the
    elements of a row as many as there are rows, rounded up to a multiple.

    (M, G) has (1, M); (B, S, G) with M = B * S has (S, 1, M).
    """
    leading = leading_rank(sizes, width)
    distance = (num_rows + multiple - 1) // multiple * multiple
    strides = []
    for index in range(len(sizes)):
        if index < leading:
            strides.append(math.prod(sizes[index + 1 : leading]))
        else:
            strides.append(distance * math.prod(sizes[index + 1 :]))
    return tuple(strides)


def known_size(size: Any) -> int | None:
    """A size as a number; None for a SymInt that guards have not made one."""
    if isinstance(size, int):
        return size
    expr = size.node.expr
    return int(expr) if expr.is_number else None


def leading_rank(sizes: Sequence[Any], width: int) -> int:
    """How many leading dimensions count rows: all but the fewest trailing ones that make a row.

    Raises: ValueError if no trailing dimensions hold `width` elements.
    """
    rest = 1
    for index in range(len(sizes), -1, -1):
        if rest == width:
            return index
        size = known_size(sizes[index - 1]) if index else None
        if size is None:
            break
        rest *= size
    raise ValueError(f"no trailing dimensions of shape {tuple(sizes)} hold a row of {width}")
