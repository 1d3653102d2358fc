"""The table of emitters, and what an emitter sees of the graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from epiq.frontend.emitter import Emitter, Value
from epiq.frontend.types import Shape, is_known, opmath_dtype, static_shape

Emitted = Value | tuple[Value, ...] | None
EmitFn = Callable[["Scope"], Emitted]

EMITTERS: dict[Any, EmitFn] = {}

_NUMBERS = (bool, int, float)


def emits(*targets: Any) -> Callable[[EmitFn], EmitFn]:
    """Registers an emitter for overloads; one that this torch does not have is None and skipped."""

    def register(fn: EmitFn) -> EmitFn:
        for target in targets:
            if target is not None:
                assert target not in EMITTERS, f"{target} has two emitters"
                EMITTERS[target] = fn
        return fn

    return register


def overload(path: str) -> Any:
    """`aten.add.Tensor` -> torch.ops.aten.add.Tensor, or None in a torch without it."""
    namespace, name, variant = path.split(".")
    packet = getattr(getattr(torch.ops, namespace), name, None)
    return getattr(packet, variant, None) if packet is not None else None


@dataclass
class Scope:
    """One FX node on its way into the IR.

    args: by position and name, with FX nodes replaced by values (SymInts are left as nodes).
    """

    emitter: Emitter
    node: Node
    values: dict[Node, Emitted]

    def arg(self, index: int, name: str = "", default: Any = None) -> Any:
        """Argument `index`, or keyword `name`; nodes of tensors come back as values."""
        found = self._given(index, name, default)
        return self.values.get(found, found) if isinstance(found, Node) else found

    def fake(self, index: int, name: str = "") -> Any:
        """What tracing knows of an argument: a fake tensor, or the argument itself."""
        found = self._given(index, name, None)
        return found.meta.get("val") if isinstance(found, Node) else found

    def _given(self, index: int, name: str, default: Any) -> Any:
        if index < len(self.node.args):
            return self.node.args[index]
        return self.node.kwargs.get(name, default)

    @property
    def result(self) -> Any:
        """The fake tensor that the node results in, or a list or tuple of several."""
        return self.node.meta["val"]

    @property
    def first(self) -> Any:
        """The first of the fake tensors of a node that results in several, or the only one."""
        return self.result[0] if isinstance(self.result, list | tuple) else self.result

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.first.dtype
        return dtype

    @property
    def math_dtype(self) -> torch.dtype:
        """What the result is computed in, before it is rounded to `dtype`."""
        return opmath_dtype(self.dtype)

    @property
    def shape(self) -> Shape:
        return static_shape(self.first.shape)

    def operand(self, index: int, common: torch.dtype, name: str = "") -> Value | None:
        """Argument `index` as a value of the result's shape, in the math type of `common`.

        torch casts each tensor to the common dtype first, which rounds it, and computes in f32
        where that is a small float. Python numbers, and on the CPU 0-d tensors, skip the rounding.
        """
        found = self.arg(index, name)
        math = opmath_dtype(common)
        if isinstance(found, _NUMBERS):
            return self.emitter.splat(found, math, self.shape)
        if not isinstance(found, Value) or not is_known(found.dtype):
            return None
        fake = self.fake(index, name)
        is_cpu_scalar = fake is not None and fake.dim() == 0 and fake.device.type == "cpu"
        value = found if is_cpu_scalar else self.emitter.cast(found, common)
        return self.emitter.broadcast(self.emitter.cast(value, math), self.shape)

    def divided(self, x: Value, number: float) -> Value:
        """`x / number` with the rounding of torch's kernels on the device at hand.

        Those for CUDA multiply by the reciprocal, itself rounded to the math type.
        """
        if self.first.device.type != "cuda":
            return self.emitter.binary("arith.divf", x, self.emitter.splat(number, x.dtype, x.shape))
        exact = np.float64 if x.dtype == torch.float64 else np.float32
        with np.errstate(divide="ignore", over="ignore"):
            inverse = float(exact(1.0) / exact(number))
        return self.emitter.binary("arith.mulf", x, self.emitter.splat(inverse, x.dtype, x.shape))
