"""Float arithmetic: one IEEE operation, one rounding, in the type of the operands (f16 and bf16 too).

`maximumf` and `minimumf` propagate a NaN, `maxnumf` and `minnumf` drop it; all four order -0 below +0.
Division and square root are correctly rounded, also where a GPU would take its fast division.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from epiq.executor.registry import Op, elementwise, typed
from epiq.executor.values import common_shape

_FLOAT_PREDICATES = dict(
    enumerate(
        ("false", "oeq", "ogt", "oge", "olt", "ole", "one", "ord")
        + ("ueq", "ugt", "uge", "ult", "ule", "une", "uno", "true")
    )
)
_PROPAGATE = {0: "none", 0xFFFF: "all"}

elementwise("arith.addf")(torch.add)
elementwise("arith.subf")(torch.sub)
elementwise("arith.mulf")(torch.mul)
elementwise("arith.divf", "tt.precise_divf", "tt.approx_divf")(torch.div)
elementwise("arith.remf")(torch.fmod)
elementwise("arith.negf")(torch.neg)


def _zeros_ordered(result: Tensor, a: Tensor, b: Tensor, larger: bool) -> Tensor:
    """Corrects the sign where two zeros met: torch keeps either one."""
    zeros = (a == 0) & (b == 0)
    if not bool(zeros.any()):
        return result
    # -0 + -0 is -0 and any other sum of zeros is +0.
    return torch.where(zeros, a + b if larger else -(-a - b), result)


def _number(result: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """`result`, or where it is NaN the operand that is not: libm passes a signaling NaN on, PTX does not."""
    nan = result.isnan()
    if not bool(nan.any()):
        return result
    return torch.where(nan, torch.where(a.isnan(), b, a), result)


@elementwise("arith.maximumf")
def maximumf(a: Tensor, b: Tensor) -> Tensor:
    return _zeros_ordered(torch.maximum(a, b), a, b, larger=True)


@elementwise("arith.minimumf")
def minimumf(a: Tensor, b: Tensor) -> Tensor:
    return _zeros_ordered(torch.minimum(a, b), a, b, larger=False)


@elementwise("arith.maxnumf")
def maxnumf(a: Tensor, b: Tensor) -> Tensor:
    return _zeros_ordered(_number(torch.fmax(a, b), a, b), a, b, larger=True)


@elementwise("arith.minnumf")
def minnumf(a: Tensor, b: Tensor) -> Tensor:
    return _zeros_ordered(_number(torch.fmin(a, b), a, b), a, b, larger=False)


@typed("tt.clampf", "math.clampf")
def clampf(op: Op) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """min(max(x, low), high); without `propagateNan` a NaN becomes `low`."""
    if op.name == "math.clampf" or op.enum("propagateNan", _PROPAGATE) == "all":
        return lambda x, low, high: minimumf(maximumf(x, low), high)
    return lambda x, low, high: minnumf(maxnumf(x, low), high)


@typed("arith.cmpf")
def cmpf(op: Op) -> Callable[[Tensor, Tensor], Tensor]:
    predicate = op.enum("predicate", _FLOAT_PREDICATES)
    if predicate in ("true", "false"):
        return lambda a, b: torch.full(common_shape(a.shape, b.shape), predicate == "true", dtype=torch.bool)
    if predicate == "ord":
        return lambda a, b: ~(a.isnan() | b.isnan())
    if predicate == "uno":
        return lambda a, b: a.isnan() | b.isnan()
    compare = {
        "oeq": torch.eq,
        "ogt": torch.gt,
        "oge": torch.ge,
        "olt": torch.lt,
        "ole": torch.le,
        "une": torch.ne,
    }.get(predicate)
    if compare is not None:
        return compare
    if predicate == "one":
        return lambda a, b: (a < b) | (a > b)
    # Unordered: true unless the opposite holds of two numbers.
    if predicate == "ueq":
        return lambda a, b: ~((a < b) | (a > b))
    opposite = {"ugt": torch.le, "uge": torch.lt, "ult": torch.ge, "ule": torch.gt}[predicate]
    return lambda a, b: ~opposite(a, b)
