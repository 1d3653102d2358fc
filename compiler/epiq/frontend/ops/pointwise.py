"""Elementwise ops: compute in the math type, round once to the result's dtype."""

from __future__ import annotations

from typing import Any

import torch

from epiq.frontend.emitter import Value
from epiq.frontend.ops.table import EmitFn, Emitted, Scope, emits, overload
from epiq.frontend.types import BITS, PACKED_TYPES, is_float, is_known, is_movable, is_signed, opmath_dtype

# f32, f64 and integer spelling of the same arithmetic.
_BINARY = {
    "add": ("arith.addf", "arith.addi"),
    "sub": ("arith.subf", "arith.subi"),
    "mul": ("arith.mulf", "arith.muli"),
}
# Roundings to a whole number.
_WHOLE = {
    "ceil": "math.ceil",
    "floor": "math.floor",
    "round": "math.roundeven",
    "trunc": "math.trunc",
}
_RELATIONS = ("eq", "ne", "lt", "le", "gt", "ge")


def common_dtype(scope: Scope) -> torch.dtype | None:
    """The dtype that torch brings both operands to, None for operands that it would not take."""
    fakes = [scope.fake(0), scope.fake(1)]
    if any(isinstance(fake, torch.SymInt | torch.SymFloat | type(None)) for fake in fakes):
        return None
    dtype = torch.result_type(fakes[0], fakes[1])
    return dtype if is_known(dtype) else None


def both(scope: Scope, common: torch.dtype | None) -> tuple[Value, Value] | None:
    if common is None:
        return None
    a, b = scope.operand(0, common), scope.operand(1, common)
    return None if a is None or b is None else (a, b)


def rounded(scope: Scope, value: Value) -> Value:
    return scope.emitter.cast(value, scope.dtype)


def _arithmetic(kind: str) -> EmitFn:
    def emit(scope: Scope) -> Emitted:
        if scope.arg(2, "alpha", 1) != 1 or scope.dtype == torch.bool:
            return None
        operands = both(scope, common_dtype(scope))
        if operands is None:
            return None
        op = _BINARY[kind][0 if is_float(operands[0].dtype) else 1]
        return rounded(scope, scope.emitter.binary(op, *operands))

    return emit


for _kind in _BINARY:
    emits(overload(f"aten.{_kind}.Tensor"), overload(f"aten.{_kind}.Scalar"))(_arithmetic(_kind))


@emits(overload("aten.div.Tensor"), overload("aten.div.Scalar"), overload("prims.div.default"))
def div(scope: Scope) -> Emitted:
    if not is_float(scope.dtype) or scope.arg(2, "rounding_mode") is not None:
        return None
    operands = both(scope, scope.dtype)
    if operands is None:
        return None
    number = scope.arg(1)
    if isinstance(number, int | float):
        return rounded(scope, scope.divided(operands[0], float(number)))
    return rounded(scope, scope.emitter.binary("arith.divf", *operands))


@emits(overload("aten.reciprocal.default"))
def reciprocal(scope: Scope) -> Emitted:
    x = scope.operand(0, scope.dtype)
    if x is None or not is_float(scope.dtype):
        return None
    one = scope.emitter.splat(1.0, x.dtype, x.shape)
    return rounded(scope, scope.emitter.binary("arith.divf", one, x))


def unary_float(op: str) -> EmitFn:
    """What emits a function of one float, such as math.exp."""

    def emit(scope: Scope) -> Emitted:
        x = scope.operand(0, scope.dtype)
        if x is None or not is_float(scope.dtype):
            return None
        return rounded(scope, scope.emitter.unary(op, x))

    return emit


for _name, _op in _WHOLE.items():
    emits(overload(f"aten.{_name}.default"))(unary_float(_op))


@emits(overload("aten.neg.default"))
def neg(scope: Scope) -> Emitted:
    x = scope.operand(0, scope.dtype)
    if x is None:
        return None
    if is_float(x.dtype):
        return rounded(scope, scope.emitter.unary("arith.negf", x))
    zero = scope.emitter.splat(0, x.dtype, x.shape)
    return rounded(scope, scope.emitter.binary("arith.subi", zero, x))


@emits(overload("aten.abs.default"))
def abs_(scope: Scope) -> Emitted:
    x = scope.operand(0, scope.dtype)
    if x is None or not is_signed(x.dtype):
        return x
    op = "math.absf" if is_float(x.dtype) else "math.absi"
    return rounded(scope, scope.emitter.unary(op, x))


def logistic(scope: Scope, x: Value) -> Value:
    """1 + exp(-x), the divisor of sigmoid and silu."""
    e = scope.emitter
    one = e.splat(1.0, x.dtype, x.shape)
    return e.binary("arith.addf", one, e.unary("math.exp", e.unary("arith.negf", x)))


@emits(overload("aten.sigmoid.default"))
def sigmoid(scope: Scope) -> Emitted:
    x = scope.operand(0, scope.dtype)
    if x is None or not is_float(scope.dtype):
        return None
    one = scope.emitter.splat(1.0, x.dtype, x.shape)
    return rounded(scope, scope.emitter.binary("arith.divf", one, logistic(scope, x)))


@emits(overload("aten.silu.default"))
def silu(scope: Scope) -> Emitted:
    x = scope.operand(0, scope.dtype)
    if x is None or not is_float(scope.dtype):
        return None
    return rounded(scope, scope.emitter.binary("arith.divf", x, logistic(scope, x)))


@emits(overload("aten.square.default"))
def square(scope: Scope) -> Emitted:
    x = scope.operand(0, scope.dtype)
    if x is None or not is_float(scope.dtype):
        return None
    return rounded(scope, scope.emitter.binary("arith.mulf", x, x))


def _bound(scope: Scope, value: Value, kind: str, bound: Value) -> Value:
    """The larger (`max`) or smaller of two; NaN in either stays NaN."""
    if is_float(value.dtype):
        return scope.emitter.binary(f"arith.{kind}imumf", value, bound)
    sign = "s" if is_signed(value.dtype) else "u"
    return scope.emitter.binary(f"arith.{kind}{sign}i", value, bound)


def _extremum(kind: str) -> EmitFn:
    def emit(scope: Scope) -> Emitted:
        operands = both(scope, common_dtype(scope))
        if operands is None:
            return None
        return rounded(scope, _bound(scope, operands[0], kind, operands[1]))

    return emit


# A lower bound (`clamp_min`) is the larger of the two.
for _kind, _bounded in (("max", "clamp_min"), ("min", "clamp_max")):
    emits(
        overload(f"aten.{_kind}imum.default"),
        overload(f"aten.{_bounded}.default"),
        overload(f"aten.{_bounded}.Tensor"),
        overload(f"aten.{_kind}.other"),
    )(_extremum(_kind))


@emits(overload("aten.relu.default"))
def relu(scope: Scope) -> Emitted:
    x = scope.operand(0, scope.dtype)
    if x is None:
        return None
    return rounded(scope, _bound(scope, x, "max", scope.emitter.splat(0, x.dtype, x.shape)))


@emits(overload("aten.clamp.default"), overload("aten.clamp.Tensor"))
def clamp(scope: Scope) -> Emitted:
    x = scope.operand(0, scope.dtype)
    for index, name, kind in ((1, "min", "max"), (2, "max", "min")):
        if scope.arg(index, name) is None or x is None:
            continue
        bound = scope.operand(index, scope.dtype, name)
        x = None if bound is None else _bound(scope, x, kind, bound)
    return None if x is None else rounded(scope, x)


def _comparison(relation: str) -> EmitFn:
    def emit(scope: Scope) -> Emitted:
        operands = both(scope, common_dtype(scope))
        return None if operands is None else scope.emitter.compare(relation, *operands)

    return emit


for _relation in _RELATIONS:
    emits(overload(f"aten.{_relation}.Tensor"), overload(f"aten.{_relation}.Scalar"))(_comparison(_relation))


@emits(overload("aten.isnan.default"))
def isnan(scope: Scope) -> Emitted:
    x = scope.arg(0)
    if not isinstance(x, Value) or not is_known(x.dtype) or not is_float(x.dtype):
        return None
    wide = scope.emitter.cast(x, opmath_dtype(x.dtype))
    return scope.emitter.compare("ne", wide, wide)


@emits(overload("aten.isinf.default"))
def isinf(scope: Scope) -> Emitted:
    x = scope.arg(0)
    if not isinstance(x, Value) or not is_known(x.dtype) or not is_float(x.dtype):
        return None
    size = scope.emitter.unary("math.absf", scope.emitter.cast(x, opmath_dtype(x.dtype)))
    return scope.emitter.compare("eq", size, scope.emitter.splat(float("inf"), size.dtype, size.shape))


@emits(overload("aten.where.self"))
def where(scope: Scope) -> Emitted:
    condition = scope.arg(0)
    if not isinstance(condition, Value) or condition.dtype != torch.bool:
        return None
    a, b = (_chosen(scope, index) for index in (1, 2))
    if a is None or b is None:
        return None
    return scope.emitter.select(scope.emitter.broadcast(condition, scope.shape), a, b)


def _chosen(scope: Scope, index: int) -> Value | None:
    """A branch of `where`: nothing is computed, so it is cast to the result's dtype alone."""
    found = scope.arg(index)
    if isinstance(found, bool | int | float):
        return scope.emitter.splat(found, scope.dtype, scope.shape)
    if not isinstance(found, Value) or not is_known(found.dtype):
        return None
    return scope.emitter.broadcast(scope.emitter.cast(found, scope.dtype), scope.shape)


def _integer_op(op: str) -> EmitFn:
    def emit(scope: Scope) -> Emitted:
        if is_float(scope.dtype):
            return None
        operands = both(scope, common_dtype(scope))
        return None if operands is None else scope.emitter.binary(op, *operands)

    return emit


for _name, _op in (("and", "andi"), ("or", "ori"), ("xor", "xori")):
    emits(
        overload(f"aten.bitwise_{_name}.Tensor"),
        overload(f"aten.bitwise_{_name}.Scalar"),
    )(_integer_op(f"arith.{_op}"))


@emits(overload("aten.bitwise_not.default"))
def bitwise_not(scope: Scope) -> Emitted:
    x = scope.arg(0)
    if not isinstance(x, Value) or is_float(x.dtype):
        return None
    ones = scope.emitter.splat(True if x.dtype == torch.bool else -1, x.dtype, x.shape)
    return scope.emitter.binary("arith.xori", x, ones)


for _name in ("and", "or", "xor"):

    def _logical(scope: Scope, op: str = {"and": "andi", "or": "ori", "xor": "xori"}[_name]) -> Emitted:
        if any(not isinstance(v, Value) or v.dtype != torch.bool for v in (scope.arg(0), scope.arg(1))):
            return None
        return _integer_op(f"arith.{op}")(scope)

    emits(overload(f"aten.logical_{_name}.default"))(_logical)


@emits(overload("aten.logical_not.default"))
def logical_not(scope: Scope) -> Emitted:
    x = scope.arg(0)
    if not isinstance(x, Value) or not is_known(x.dtype):
        return None
    wide = scope.emitter.cast(x, opmath_dtype(x.dtype))
    return scope.emitter.compare("eq", wide, scope.emitter.splat(0, wide.dtype, wide.shape))


def _shift(left: bool) -> EmitFn:
    def emit(scope: Scope) -> Emitted:
        amount = scope.arg(1)
        if is_float(scope.dtype) or not isinstance(amount, int):
            return None
        if not 0 <= amount < BITS[scope.dtype]:
            return None
        operands = both(scope, scope.dtype)
        if operands is None:
            return None
        op = "arith.shli" if left else f"arith.shr{'s' if is_signed(scope.dtype) else 'u'}i"
        return scope.emitter.binary(op, *operands)

    return emit


for _name, _is_left in (("left", True), ("right", False)):
    emits(
        overload(f"aten.bitwise_{_name}_shift.Tensor_Scalar"),
        overload(f"aten.bitwise_{_name}_shift.Tensor"),
        overload(f"aten.__{_name[0]}shift__.Scalar"),
        overload(f"prims.shift_{_name}.default"),
        overload("prims.shift_right_arithmetic.default") if not _is_left else None,
    )(_shift(_is_left))


@emits(overload("prims.convert_element_type.default"))
def convert_element_type(scope: Scope) -> Emitted:
    x: Any = scope.arg(0)
    if not isinstance(x, Value) or not is_known(x.dtype) or not is_known(scope.dtype):
        return None
    if scope.dtype == torch.float8_e8m0fnu and scope.dtype != x.dtype:
        return None  # no instruction rounds as torch does, to the nearest power of two
    return scope.emitter.cast(x, scope.dtype)


@emits(overload("aten._to_copy.default"))
def to_copy(scope: Scope) -> Emitted:
    kwargs = scope.node.kwargs
    if kwargs.get("device") not in (None, scope.fake(0).device):
        return None
    if kwargs.get("layout") not in (None, torch.strided) or kwargs.get("pin_memory"):
        return None
    if kwargs.get("memory_format") not in (None, torch.preserve_format, torch.contiguous_format):
        return None
    x = scope.arg(0)
    if kwargs.get("memory_format") == torch.contiguous_format and not scope.fake(0).is_contiguous():
        return None
    if isinstance(x, Value) and x.dtype == scope.dtype:
        return None  # a copy of the tensor: no arithmetic, and not an alias
    return convert_element_type(scope)


@emits(overload("aten.copy.default"))
def copy(scope: Scope) -> Emitted:
    """What `x.copy_(y)` becomes: `y` in the dtype and shape of `x`."""
    source = scope.arg(1)
    if not isinstance(source, Value) or not is_known(source.dtype) or not is_known(scope.dtype):
        return None
    if not scope.result.is_contiguous():
        return None
    return scope.emitter.broadcast(scope.emitter.cast(source, scope.dtype), scope.shape)


@emits(overload("aten.view.dtype"))
def view_dtype(scope: Scope) -> Emitted:
    x = scope.arg(0)
    if not isinstance(x, Value) or not is_movable(x.dtype) or not is_movable(scope.dtype):
        return None
    if x.dtype.itemsize != scope.dtype.itemsize or torch.bool in (x.dtype, scope.dtype):
        return None
    if PACKED_TYPES & {x.dtype, scope.dtype}:
        # The same bytes, as an op: this node is what holds values of that dtype.
        return scope.emitter.reshape(scope.emitter.bitcast(x, scope.dtype), scope.shape)
    return scope.emitter.bitcast(x, scope.dtype)


@emits(overload("aten.signbit.default"))
def signbit(scope: Scope) -> Emitted:
    """-0 and a negative NaN have one."""
    x = scope.arg(0)
    if not isinstance(x, Value) or not is_known(x.dtype) or not is_signed(x.dtype):
        return None
    integers = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    bits = scope.emitter.bitcast(x, integers[x.dtype.itemsize]) if is_float(x.dtype) else x
    return scope.emitter.compare("lt", bits, scope.emitter.splat(0, bits.dtype, bits.shape))
