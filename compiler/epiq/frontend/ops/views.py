"""Ops that move values without changing them: shapes, slices, transposes, layouts."""

from __future__ import annotations

from typing import Any

from epiq.formats.layouts import LAYOUTS
from epiq.frontend.emitter import Value
from epiq.frontend.ops.table import Emitted, Scope, emits, overload
from epiq.frontend.parts import part_of, parts_of
from epiq.frontend.types import is_movable


def _input(scope: Scope) -> Value | None:
    x = scope.arg(0)
    return x if isinstance(x, Value) and is_movable(x.dtype) else None


@emits(
    overload("aten.view.default"),
    overload("aten._unsafe_view.default"),
    overload("aten.reshape.default"),
    overload("aten.unsqueeze.default"),
    overload("aten.squeeze.default"),
    overload("aten.squeeze.dim"),
    overload("aten.squeeze.dims"),
    overload("aten.flatten.using_ints"),
    overload("aten.unflatten.int"),
)
def reshape(scope: Scope) -> Emitted:
    x = _input(scope)
    if x is None:
        return None
    # Equal types with a `?` may still be different shapes: only a fully static one is the same.
    if x.shape == scope.shape and (None not in x.shape or _same_sizes(scope)):
        return x
    return scope.emitter.reshape(x, scope.shape)


def _same_sizes(scope: Scope) -> bool:
    before, after = scope.fake(0).shape, scope.result.shape
    return [str(size) for size in before] == [str(size) for size in after]


@emits(overload("aten.expand.default"))
def expand(scope: Scope) -> Emitted:
    x = _input(scope)
    if x is None:
        return None
    if len(x.shape) == len(scope.shape) and _same_sizes(scope):
        return x
    return scope.emitter.broadcast(x, scope.shape)


@emits(overload("aten.permute.default"))
def permute(scope: Scope) -> Emitted:
    x = _input(scope)
    if x is None:
        return None
    return _permuted(scope, x, [dim % len(x.shape) for dim in scope.arg(1)])


@emits(overload("aten.t.default"))
def t(scope: Scope) -> Emitted:
    x = _input(scope)
    if x is None:
        return None
    return _permuted(scope, x, list(reversed(range(len(x.shape)))))


@emits(overload("aten.transpose.int"))
def transpose(scope: Scope) -> Emitted:
    x = _input(scope)
    if x is None:
        return None
    perm = list(range(len(x.shape)))
    if perm:
        a, b = scope.arg(1) % len(perm), scope.arg(2) % len(perm)
        perm[a], perm[b] = perm[b], perm[a]
    return _permuted(scope, x, perm)


def _permuted(scope: Scope, x: Value, perm: list[int]) -> Value:
    return x if perm == sorted(perm) else scope.emitter.transpose(x, perm)


@emits(overload("aten.clone.default"))
def clone(scope: Scope) -> Emitted:
    """A clone in row-major order. One that keeps other strides stays an opaque node."""
    x = _input(scope)
    if x is None or not scope.result.is_contiguous():
        return None
    return scope.emitter.contiguous(x)


@emits(overload("aten.as_strided.default"))
def as_strided(scope: Scope) -> Emitted:
    """Strides (1, M) for [M, G] where M or G is 1: the same values in the same places."""
    x = _input(scope)
    before, after = scope.fake(0), scope.result
    if x is None or None in x.shape or x.shape != scope.shape or len(x.shape) != 2:
        return None
    if 1 not in x.shape or not before.is_contiguous() or before.storage_offset() != 0:
        return None
    if scope.arg(3, "storage_offset") not in (None, 0) or after.stride() != (1, x.shape[0]):
        return None
    return scope.emitter.relayout(x, LAYOUTS["column_major"])


@emits(overload("aten.slice.Tensor"))
def slice_(scope: Scope) -> Emitted:
    x = _input(scope)
    dim, begin, end, step = (
        scope.arg(index, name, default)
        for index, name, default in ((1, "dim", 0), (2, "start", None), (3, "end", None), (4, "step", 1))
    )
    if x is None or not isinstance(step, int) or not isinstance(dim, int):
        return None
    if any(not isinstance(bound, int | type(None)) for bound in (begin, end)):
        return None
    size = x.shape[dim % len(x.shape)]
    if size is None:
        is_whole = step == 1 and begin in (None, 0) and _same_sizes(scope)
        return x if is_whole else None
    first, last = (_clip(bound, size, default) for bound, default in ((begin, 0), (end, size)))
    if step != 1:
        return _strided(scope, x, dim % len(x.shape), range(first, last, step))
    if first == 0 and last == size:
        return x
    return scope.emitter.slice(x, dim % len(x.shape), first, max(first, last))


def _strided(scope: Scope, x: Value, axis: int, taken: range) -> Value | None:
    """`x[::2]` and `x[1::2]`: one column of the values in rows of `step`."""
    size, step = x.shape[axis], taken.step
    if size is None or size % step or taken.start >= step or len(taken) != size // step:
        return None
    shape = (*x.shape[:axis], size // step, step, *x.shape[axis + 1 :])
    column = scope.emitter.slice(scope.emitter.reshape(x, shape), axis + 1, taken.start, taken.start + 1)
    return scope.emitter.reshape(column, scope.shape)


def _clip(bound: int | None, size: int, default: int) -> int:
    if bound is None:
        return default
    return min(max(bound + size if bound < 0 else bound, 0), size)


@emits(overload("aten.select.int"))
def select(scope: Scope) -> Emitted:
    """Also a getitem of unbind."""
    part = part_of(scope.node)
    part = None if part is None else part.before()
    x = None if part is None else scope.values.get(part.whole)
    if part is None or not isinstance(x, Value) or not is_movable(x.dtype):
        return None
    taken = scope.emitter.slice(x, part.dim, part.index, part.index + 1)
    return scope.emitter.reshape(taken, scope.shape)


@emits(overload("aten.unbind.int"))
def unbind(scope: Scope) -> Emitted:
    """Nothing: each getitem that reads it is a select."""
    parts = [None if part is None else part.before() for part in parts_of(scope.node)]
    wholes = [None if part is None else scope.values.get(part.whole) for part in parts]
    if all(isinstance(whole, Value) and is_movable(whole.dtype) for whole in wholes):
        return ()
    return None


def _parts(scope: Scope, sizes: list[Any], dim: Any) -> Emitted:
    """Consecutive slices; the getitem nodes that read them give them their names."""
    x = _input(scope)
    if x is None or not isinstance(dim, int) or not all(isinstance(s, int) for s in sizes):
        return None
    begins = [sum(sizes[:index]) for index in range(len(sizes))]
    axis = dim % len(x.shape)
    if x.shape[axis] is None:
        return None
    return tuple(
        scope.emitter.slice(x, axis, begin, begin + size) for begin, size in zip(begins, sizes, strict=True)
    )


@emits(overload("aten.split_with_sizes.default"))
def split_with_sizes(scope: Scope) -> Emitted:
    return _parts(scope, list(scope.arg(1)), scope.arg(2, "dim", 0))


@emits(overload("aten.split.Tensor"))
def split(scope: Scope) -> Emitted:
    dim = scope.arg(2, "dim", 0)
    return _parts(scope, [part.shape[dim] for part in scope.result], dim)


@emits(overload("aten.alias.default"), overload("aten.lift_fresh_copy.default"))
def same(scope: Scope) -> Emitted:
    """The tensor itself, or a copy of a constant of the graph, which nothing writes."""
    return _input(scope)
