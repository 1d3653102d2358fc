"""Where scales lie in memory, as data: one entry for each layout, read by the reference and the runtime.

A layout is a map from the scales [M, G] of M rows to the tensor that a consumer takes. NUMERICS.md has the
table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class ScaleLayout:
    """One layout of scales.

    Fields:
      name: as `QuantFormat.scale_layout` and the graph's `#epiq.layout` have it.
      column_multiple: columns lie one behind the other, as far apart as there are rows, rounded up to this;
        0 where rows do.
      word: groups that share one element of the stored tensor.
      tile: rows and groups of the blocks that it is made of, both padded up; None for no blocks.
    """

    name: str
    column_multiple: int = 0
    word: int = 1
    tile: tuple[int, int] | None = None

    @property
    def row_multiple(self) -> int:
        """Rows are stored up to a multiple of this, those beyond the last as zeros."""
        return self.tile[0] if self.tile is not None else 1

    def shape(self, leading: Sequence[Any], groups: int) -> tuple[Any, ...]:
        """Shape of the stored tensor of scales (\\*leading, groups); sizes may be SymInts."""
        if self.tile is None:
            return (*leading, -(-groups // self.word))
        rows, columns = self.tile
        blocks = (_round_up(math.prod(leading), rows) // rows, -(-groups // columns))
        return (*blocks, rows // 4, 4, columns)

    def strides(self, leading: Sequence[Any], groups: int) -> tuple[Any, ...]:
        """Its strides in elements."""
        shape = self.shape(leading, groups)
        if self.column_multiple == 0:
            return tuple(math.prod(shape[index + 1 :]) for index in range(len(shape)))
        tokens = tuple(math.prod(leading[index + 1 :]) for index in range(len(leading)))
        return (*tokens, _round_up(math.prod(leading), self.column_multiple))

    def lay_out(self, scales: Tensor) -> Tensor:
        """The stored tensor of row-major scales (.., G), padding 0.

        Every step is an op that traces with a dynamic number of rows: the compiler recognizes what they do.
        """
        if self.name == "row_major" or (self.name == "column_major" and scales.dim() == 1):
            return scales
        leading = scales.shape[:-1]
        flat = scales.flatten(0, -2) if scales.dim() > 1 else scales.unsqueeze(0)
        if self.tile is not None:
            return self._swizzled(flat)
        if self.word > 1:
            flat = _words(flat, self.word)
        columns = _column_major(flat) if self.column_multiple == 1 else _columns(flat, self.column_multiple)
        if len(leading) == 1:
            return columns
        if len(leading) == 0:
            return columns.select(0, 0)
        return torch.unflatten(columns, 0, tuple(leading))

    def read_back(self, stored: Tensor, leading: Sequence[int], groups: int, dtype: torch.dtype) -> Tensor:
        """The row-major scales (\\*leading, groups) of `dtype` that `lay_out` stored."""
        rows = math.prod(leading)
        if self.tile is not None:
            raw = stored.view(torch.uint8).permute(0, 3, 2, 1, 4)
            matrix = raw.reshape(-1, stored.shape[1] * self.tile[1])[:rows, :groups].contiguous().view(dtype)
            return matrix.reshape(*leading, groups)
        if self.word > 1:
            # Not `contiguous()`: it keeps the stride of a dimension of size 1.
            words = stored.clone(memory_format=torch.contiguous_format)
            return words.view(torch.uint8)[..., :groups].contiguous().view(dtype)
        return stored

    def _swizzled(self, flat: Tensor) -> Tensor:
        assert self.tile is not None
        rows, columns = self.tile
        blocks, words, _, _, _ = self.shape(flat.shape[:1], flat.shape[1])
        raw = _pad(_pad(flat.view(torch.uint8), 1, words * columns), 0, blocks * rows)
        tiles = raw.view(blocks, 4, rows // 4, words, columns).permute(0, 3, 2, 1, 4)
        # Not `contiguous()`: it guards on whether there is one block of rows.
        return tiles.clone(memory_format=torch.contiguous_format).view(flat.dtype)


LAYOUTS: dict[str, ScaleLayout] = {
    layout.name: layout
    for layout in (
        ScaleLayout("row_major"),
        ScaleLayout("column_major", column_multiple=1),
        ScaleLayout("tma_aligned", column_multiple=4),
        ScaleLayout("packed_ue8m0", column_multiple=4, word=4),
        ScaleLayout("swizzled_128x4", tile=(128, 4)),
    )
}


def _round_up(size: Any, multiple: int) -> Any:
    return (size + multiple - 1) // multiple * multiple


def _column_major(flat: Tensor) -> Tensor:
    if flat.shape[0] == 1 or flat.shape[1] == 1:
        # torch calls such a tensor contiguous either way; consumers that read strides want column-major ones.
        return flat.as_strided(tuple(flat.shape), (1, flat.shape[0]))
    return flat.t().clone(memory_format=torch.contiguous_format).t()


def _pad(x: Tensor, dim: int, size: Any) -> Tensor:
    """`x` with zeros behind it along `dim`.

    An assignment to a slice would guard on whether the slice is all of it, and so would a test here.
    """
    sizes = [size if index == dim else length for index, length in enumerate(x.shape)]
    return torch.slice_scatter(x.new_zeros(sizes), x, dim, 0, x.shape[dim])


def _columns(flat: Tensor, multiple: int) -> Tensor:
    """[M, G] with strides (1, M rounded up)."""
    rows = flat.shape[0]
    return _pad(flat.t(), 1, _round_up(rows, multiple))[:, :rows].t()


def _words(flat: Tensor, word: int) -> Tensor:
    """Bytes [M, G] as int32 [M, ceil(G / 4)], the first group in the lowest byte."""
    raw = _pad(flat.view(torch.uint8), 1, -(-flat.shape[1] // word) * word)
    return raw.view(torch.int32)
