"""Rows by index, and tensors put side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import Node

from epiq.frontend.emitter import Value
from epiq.frontend.ops.table import Emitted, Scope, emits, overload
from epiq.frontend.types import Shape, is_known

_VIEWS = (torch.ops.aten.view.default, torch.ops.aten.squeeze.dim, torch.ops.aten.squeeze.dims)
_INDEX_TYPES = (torch.int32, torch.int64)


@emits(overload("aten.cat.default"))
def cat(scope: Scope) -> Emitted:
    """Tensors of one rank; each is cast to the common dtype first, as torch does."""
    dim = scope.arg(1, "dim", 0)
    parts = [scope.values.get(part) for part in scope.arg(0, "tensors")]
    if not isinstance(dim, int) or not is_known(scope.dtype):
        return None
    values = [part for part in parts if isinstance(part, Value) and is_known(part.dtype)]
    rank = len(scope.shape)
    dim %= max(rank, 1)
    if len(values) != len(parts) or any(
        len(part.shape) != rank or part.shape[dim] is None for part in values
    ):
        return None
    return scope.emitter.concat([scope.emitter.cast(part, scope.dtype) for part in values], dim)


@emits(overload("aten.index.Tensor"))
def index(scope: Scope) -> Emitted:
    """`table[i]` and `table[i, j]`: indices of the first dimensions, which may count from the end."""
    table = scope.arg(0)
    if not isinstance(table, Value) or not is_known(table.dtype):
        return None
    found = _flat_index(scope, table, scope.arg(1))
    if found is None:
        return None
    rows, flat = found
    return _of_shape(scope, scope.emitter.gather_rows(_as_rows(scope, table, rows), flat))


@emits(overload("aten.embedding.default"))
def embedding(scope: Scope) -> Emitted:
    table, flat = scope.arg(0), scope.arg(1)
    if not isinstance(table, Value) or not is_known(table.dtype) or not _is_index(flat):
        return None
    return scope.emitter.gather_rows(table, flat)


@emits(overload("aten.index_put.default"))
def index_put(scope: Scope) -> Emitted:
    """`buffer[i] = rows` and `buffer[i, j] = rows`; what adds up is left alone."""
    buffer, rows = scope.arg(0), scope.arg(2, "values")
    if not isinstance(buffer, Value) or not isinstance(rows, Value) or scope.arg(3, "accumulate", False):
        return None
    if not is_known(buffer.dtype) or rows.dtype != buffer.dtype:
        return None
    found = _flat_index(scope, buffer, scope.arg(1))
    if found is None:
        return None
    count, flat = found
    rest = buffer.shape[count:]
    if None in rest or len(rows.shape) > len(flat.shape) + len(rest):
        return None
    rows = _spread(scope, rows, (*flat.shape, *rest))
    return _of_shape(scope, scope.emitter.scatter_rows(rows, _as_rows(scope, buffer, count), flat))


def _spread(scope: Scope, rows: Value, wanted: Shape) -> Value:
    """Torch squeezes what is assigned to one row: the value before that is the one."""
    node = scope.node.args[2]
    while rows.shape != wanted and isinstance(node, Node) and node.target in _VIEWS:
        (node, *_) = node.args
        before = scope.values.get(node) if isinstance(node, Node) else None
        if isinstance(before, Value) and before.shape == wanted:
            return before
    return scope.emitter.broadcast(rows, wanted)


def _is_index(value: Any) -> bool:
    return isinstance(value, Value) and value.dtype in _INDEX_TYPES


def _as_rows(scope: Scope, memory: Value, count: int) -> Value:
    """The first `count` dimensions of `memory` as one."""
    if count == 1:
        return memory
    sizes = [size for size in memory.shape[:count] if size is not None]
    return scope.emitter.reshape(memory, (math.prod(sizes), *memory.shape[count:]))


def _of_shape(scope: Scope, value: Value) -> Value:
    return value if value.shape == scope.shape else scope.emitter.reshape(value, scope.shape)


def _flat_index(scope: Scope, memory: Value, given: Sequence[Node | None]) -> tuple[int, Value] | None:
    """How many first dimensions of `memory` are indexed, and the index into all of them as one.

    Sizes must be known, since indices below 0 count from the end.
    """
    indices = [scope.values.get(node) if isinstance(node, Node) else None for node in given]
    while indices and indices[-1] is None and given[len(indices) - 1] is None:
        indices.pop()
    sizes = memory.shape[: len(indices)]
    if not indices or not all(map(_is_index, indices)) or None in sizes:
        return None
    e, flat = scope.emitter, None
    for number, size in zip(indices, sizes, strict=True):
        assert isinstance(number, Value) and size is not None
        number = e.cast(number, torch.int64)
        if flat is not None and flat.shape != number.shape:
            return None
        below = e.compare("lt", number, e.splat(0, number.dtype, number.shape))
        end = e.binary("arith.addi", number, e.splat(size, number.dtype, number.shape))
        number = e.select(below, end, number)
        if flat is not None:
            flat = e.binary("arith.muli", flat, e.splat(size, flat.dtype, flat.shape))
            number = e.binary("arith.addi", flat, number)
        flat = number
    assert flat is not None
    return len(indices), flat
