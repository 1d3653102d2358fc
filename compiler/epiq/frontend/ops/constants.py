"""Tensors made of one number."""

from __future__ import annotations

from typing import Any

import torch

from epiq.frontend.emitter import Value
from epiq.frontend.ops.table import EmitFn, Emitted, Scope, emits, overload
from epiq.frontend.types import is_known


def filled(scope: Scope, value: Any) -> Emitted:
    """A 0-d constant spread over the result's shape; row-major strides only."""
    if not isinstance(value, bool | int | float) or not is_known(scope.dtype):
        return None
    if not scope.result.is_contiguous():
        return None
    return scope.emitter.splat(value, scope.dtype, scope.shape)


@emits(overload("aten.full.default"), overload("aten.full_like.default"))
def full(scope: Scope) -> Emitted:
    return filled(scope, scope.arg(1))


@emits(overload("aten.scalar_tensor.default"))
def scalar_tensor(scope: Scope) -> Emitted:
    return filled(scope, scope.arg(0))


def _fill(value: int) -> EmitFn:
    def emit(scope: Scope) -> Emitted:
        return filled(scope, value)

    return emit


for _name, _value in (("ones", 1), ("zeros", 0)):
    emits(overload(f"aten.{_name}.default"), overload(f"aten.{_name}_like.default"))(_fill(_value))


def lifted_constant(scope: Scope, tensor: Any) -> Value | None:
    """A 0-d tensor that the graph carries (`torch.tensor(448.0)` in the model) as a number."""
    if not isinstance(tensor, torch.Tensor) or tensor.dim() != 0 or not is_known(tensor.dtype):
        return None
    if type(tensor) is not torch.Tensor or tensor.device.type != "cpu":
        return None
    # Tracing runs under a fake mode; the constant is real.
    with torch._subclasses.fake_tensor.unset_fake_temporarily():
        return scope.emitter.constant(tensor.item(), tensor.dtype)
