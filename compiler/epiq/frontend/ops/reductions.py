"""Reductions over given dimensions; small floats are summed in f32 and rounded once."""

from __future__ import annotations

import math
import operator
from typing import Any

import torch

from epiq.frontend.emitter import Value
from epiq.frontend.ops.table import EmitFn, Emitted, Scope, emits, overload
from epiq.frontend.types import is_float, is_known, opmath_dtype


def _dims(given: Any, rank: int) -> tuple[int, ...] | None:
    """The reduced dimensions, counted from 0; none given means all. None if they are not static."""
    if given is None or given == []:
        return tuple(range(rank))
    listed = [given] if isinstance(given, int) else list(given)
    if not all(isinstance(dim, int) for dim in listed):
        return None
    return tuple(sorted(dim % max(rank, 1) for dim in listed))


def _reduce(scope: Scope, kind: str, math_dtype: torch.dtype) -> tuple[Value, int | None] | None:
    """The reduction in `math_dtype`, and how many values went into each result (None: dynamic)."""
    x = scope.arg(0)
    if not isinstance(x, Value) or not is_known(x.dtype) or not x.shape:
        return None
    dims = _dims(scope.arg(1, "dim"), len(x.shape))
    if dims is None:
        return None
    keep = bool(scope.arg(2, "keepdim", False))
    wide = scope.emitter.cast(x, math_dtype)
    sizes = [x.shape[dim] for dim in dims]
    count = None if None in sizes else math.prod(size for size in sizes if size is not None)
    return scope.emitter.reduce(kind, wide, dims, keep), count


@emits(overload("aten.sum.dim_IntList"))
def sum_(scope: Scope) -> Emitted:
    if not is_known(scope.dtype):
        return None
    found = _reduce(scope, "sum", opmath_dtype(scope.dtype))
    return None if found is None else scope.emitter.cast(found[0], scope.dtype)


@emits(overload("aten.mean.dim"))
def mean(scope: Scope) -> Emitted:
    if not is_known(scope.dtype) or not is_float(scope.dtype):
        return None
    found = _reduce(scope, "sum", opmath_dtype(scope.dtype))
    total, count = found if found is not None else (None, None)
    if total is None or count is None:
        return None
    return scope.emitter.cast(scope.divided(total, float(count)), scope.dtype)


def _extremum(kind: str) -> EmitFn:
    def emit(scope: Scope) -> Emitted:
        if not is_known(scope.dtype) or scope.dtype == torch.bool:
            return None
        found = _reduce(scope, kind, opmath_dtype(scope.dtype))
        return None if found is None else scope.emitter.cast(found[0], scope.dtype)

    return emit


emits(overload("aten.amax.default"))(_extremum("max"))
emits(overload("aten.amin.default"))(_extremum("min"))


def _first_of_two(kind: str) -> EmitFn:
    """`x.max(dim)`: the values; the indices must be unused."""

    def emit(scope: Scope) -> Emitted:
        if any(user.args[1] != 0 for user in scope.node.users if user.target is operator.getitem):
            return None
        values = _extremum(kind)(scope)
        return (values,) if isinstance(values, Value) else None

    return emit


emits(overload("aten.max.dim"))(_first_of_two("max"))
emits(overload("aten.min.dim"))(_first_of_two("min"))


def _over_all(kind: str) -> EmitFn:
    """`x.sum()`, `x.max()`: no dimensions, a 0-d result."""

    def emit(scope: Scope) -> Emitted:
        if len(scope.node.args) != 1 or not is_known(scope.dtype) or scope.dtype == torch.bool:
            return None
        found = _reduce(scope, kind, opmath_dtype(scope.dtype))
        return None if found is None else scope.emitter.cast(found[0], scope.dtype)

    return emit


emits(overload("aten.sum.default"))(_over_all("sum"))
emits(overload("aten.max.default"))(_over_all("max"))
emits(overload("aten.min.default"))(_over_all("min"))


def _moments(scope: Scope) -> tuple[Value, Value] | None:
    """The variance and the mean, both in the math type: the mean first, then the mean square around it."""
    correction = scope.arg(2, "correction", 1)
    keep = bool(scope.arg(3, "keepdim", False))
    x, dims = scope.arg(0), scope.arg(1, "dim")
    if not isinstance(x, Value) or not is_known(x.dtype) or not isinstance(correction, int | float | None):
        return None
    e, reduced = scope.emitter, _dims(dims, len(x.shape))
    if reduced is None or not x.shape or not is_float(x.dtype):
        return None
    sizes = [size for size in (x.shape[dim] for dim in reduced) if size is not None]
    count = math.prod(sizes)
    rest = count - (1 if correction is None else correction)
    if len(sizes) != len(reduced) or rest <= 0:
        return None
    wide = e.cast(x, opmath_dtype(x.dtype))
    mean = scope.divided(e.reduce("sum", wide, reduced, True), float(count))
    distance = e.binary("arith.subf", wide, e.broadcast(mean, wide.shape))
    square = e.binary("arith.mulf", distance, distance)
    variance = scope.divided(e.reduce("sum", square, reduced, keep), float(rest))
    return variance, mean if keep else e.reshape(mean, variance.shape)


@emits(overload("aten.var_mean.correction"))
def var_mean(scope: Scope) -> Emitted:
    found = _moments(scope)
    return None if found is None else tuple(scope.emitter.cast(part, scope.dtype) for part in found)


@emits(overload("aten.var.correction"))
def var(scope: Scope) -> Emitted:
    found = _moments(scope)
    return None if found is None else scope.emitter.cast(found[0], scope.dtype)
