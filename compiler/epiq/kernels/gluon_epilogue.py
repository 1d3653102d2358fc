"""An epilogue as a Gluon function: the Triton IR that epiq-fuse-epilogue makes of it, written in Gluon.

The pass fuses the epilogue into a kernel that loads a tile and stores it. What it makes of that store, with
its rules, rounding points and masks, is what a Gluon kernel has to compute on a tile of its own, so it is
taken over op by op (gluon_writer.py). So the same description of an epilogue serves both kinds of kernel.
"""

from __future__ import annotations

import functools
import hashlib
import linecache
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from epiq.fuse import Epilogue, Fused
from epiq.fuse import fuse as fuse_epilogue
from epiq.fuse.matrix import input_kind, output_matrix
from epiq.kernels.gluon_writer import write

ROWS = 64
# Columns of a half tile.
HALF = 128
# Other types of a byte are stored as plain bytes.
_FLOATS_OF_A_BYTE = (torch.float8_e4m3fn, torch.float8_e5m2)
# Values for `row` and `M` that Triton specializes nothing to: what is made holds for all.
_ANY_ROW, _ANY_M = 7, 1001


@triton.jit
def _tile(  # type: ignore[no-untyped-def]
    tile_ptr,
    c_ptr,
    row,
    M,
    N,
    stride,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    ONE: tl.constexpr,
):
    """Stores a tile of ROWS x COLUMNS: what the epilogue is fused into, to be written in Gluon.

    gluon_writer.py knows the order of the arguments. ONE: a tile holds whole rows, of which the start of a
    second tile would be the next.
    """
    rows = tl.arange(0, ROWS)
    cols = tl.arange(0, COLUMNS)
    tile = tl.load(tile_ptr + rows[:, None] * COLUMNS + cols[None, :])
    rows += row
    if not ONE:
        cols += tl.program_id(0) * COLUMNS
    c_ptrs = c_ptr + rows[:, None].to(tl.int64) * stride + cols[None, :]
    tl.store(c_ptrs, tile, mask=(rows < M)[:, None] & (cols < N)[None, :])


def gluon_function(
    epilogue: Epilogue,
    dtype: torch.dtype,
    n: int,
    tile: tuple[int, int],
    gate_up: bool,
    tensors: Mapping[str, Tensor],
) -> Any:
    """The function (y, other, row, block, M, N, extras) that computes `epilogue` of a tile.

    Of its rows from `row` on, any row, and its columns from block * columns on; the rows from M on, which may
    be others' rows, are not stored. extras: as `extras` gives them. In the gate_up form y and other are the
    halves of the tile, else y is the tile.
    Args: epilogue: of the tile; in the gate_up form of both halves side by side. dtype: of the tile.
      n: columns of c. tile: its rows and columns. tensors: the epilogue's inputs and outputs, by name; values
      are not looked at.
    Raises: FusionError where the epilogue cannot be fused, UnsupportedError where it has ops without a form
      in Gluon.
    """
    kinds = tuple((name, x.dtype, tuple(x.shape), tuple(x.stride())) for name, x in tensors.items())
    return _function(epilogue, dtype, n, tile, gate_up, kinds)


@functools.lru_cache(1024)
def _function(
    epilogue: Epilogue,
    dtype: torch.dtype,
    n: int,
    tile: tuple[int, int],
    gate_up: bool,
    kinds: tuple[tuple[str, torch.dtype, tuple[int, ...], tuple[int, ...]], ...],
) -> Any:
    values = torch.empty(tile, dtype=dtype, device="meta")
    metas = {
        name: torch.empty_strided(shape, stride, dtype=kind, device="meta")
        for name, kind, shape, stride in kinds
    }
    fused = _fused(epilogue, dtype)
    made = fused.specialize(values, None, _ANY_ROW, _ANY_M, n, n, *tile, tile[1] >= n, **metas)
    return function_of(made.ir("fused"), tile[1] // 2 if gate_up else 0)


@functools.lru_cache(256)
def _fused(epilogue: Epilogue, dtype: torch.dtype) -> Fused:
    return fuse_epilogue(_tile, "c_ptr", epilogue, output_dtype=dtype)


def extras(
    epilogue: Epilogue, inputs: Mapping[str, Tensor], results: Sequence[Tensor], m: int, n: int
) -> tuple[Any, ...]:
    """The epilogue's tensors and strides, in the order of epiq-fuse-epilogue's new arguments.

    Args: results: what the epilogue returns for an output of m x n.
    """
    found: list[Any] = []
    for name in epilogue.inputs:
        stride = input_kind(name, inputs[name], m, n).stride
        found += [inputs[name]] if stride is None else [inputs[name], stride]
    for name, result in zip(epilogue.names(results), results, strict=True):
        if result.element_size() == 1 and result.dtype not in _FLOATS_OF_A_BYTE:
            result = result.view(torch.uint8)
        found += [result, output_matrix(name, result).stride]
    return tuple(found)


@functools.lru_cache(256)
def function_of(text: str, half: int) -> Any:
    """The Gluon function for the fused `_tile`; half: columns of a half tile in the gate_up form, else 0."""
    from triton.experimental import gluon
    from triton.experimental.gluon import language as gl

    source = write(text, half)
    # Gluon reads a function's source by the name of its file.
    path = f"<epiq epilogue {hashlib.sha256(source.encode()).hexdigest()[:16]}>"
    linecache.cache[path] = (len(source), None, source.splitlines(keepends=True), path)
    space: dict[str, Any] = {
        "gl": gl,
        "gluon": gluon,
        "ALL": gl.constexpr(tl.PropagateNan.ALL),
        "__name__": "epiq.kernels.epilogues",
    }
    exec(compile(source, path, "exec"), space)
    return space["epilogue"]
