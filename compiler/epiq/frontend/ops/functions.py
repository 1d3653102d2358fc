"""Powers, exponentials and the other functions that a mathematical library has."""

from __future__ import annotations

from epiq.frontend.emitter import Value
from epiq.frontend.ops.pointwise import logistic, rounded, unary_float
from epiq.frontend.ops.table import Emitted, Scope, emits, overload
from epiq.frontend.types import is_float

# torch's name -> the op of the math dialect.
_FUNCTIONS = {
    "acos": "math.acos",
    "asin": "math.asin",
    "atan": "math.atan",
    "cos": "math.cos",
    "cosh": "math.cosh",
    "erf": "math.erf",
    "erfc": "math.erfc",
    "exp": "math.exp",
    "exp2": "math.exp2",
    "expm1": "math.expm1",
    "log": "math.log",
    "log10": "math.log10",
    "log1p": "math.log1p",
    "log2": "math.log2",
    "rsqrt": "math.rsqrt",
    "sin": "math.sin",
    "sinh": "math.sinh",
    "sqrt": "math.sqrt",
    "tan": "math.tan",
    "tanh": "math.tanh",
}


for _name, _op in _FUNCTIONS.items():
    emits(overload(f"aten.{_name}.default"))(unary_float(_op))


@emits(overload("aten.pow.Tensor_Scalar"))
def pow_(scope: Scope) -> Emitted:
    """The exponents that torch computes without a logarithm; others are math.powf."""
    x = scope.operand(0, scope.dtype)
    exponent = scope.arg(1)
    if x is None or not is_float(scope.dtype) or not isinstance(exponent, int | float):
        return None
    return rounded(scope, _power(scope, x, float(exponent)))


def _power(scope: Scope, x: Value, exponent: float) -> Value:
    e = scope.emitter
    if exponent == 0.5:
        return e.unary("math.sqrt", x)
    if exponent == -0.5:
        return e.unary("math.rsqrt", x)
    if exponent in (2.0, 3.0):
        square = e.binary("arith.mulf", x, x)
        return square if exponent == 2.0 else e.binary("arith.mulf", square, x)
    if exponent in (-1.0, -2.0):
        whole = x if exponent == -1.0 else e.binary("arith.mulf", x, x)
        return e.binary("arith.divf", e.splat(1.0, x.dtype, x.shape), whole)
    return e.binary("math.powf", x, e.splat(exponent, x.dtype, x.shape))


@emits(overload("aten.glu.default"))
def glu(scope: Scope) -> Emitted:
    """The first half times the sigmoid of the second, in the math type, rounded once."""
    x = scope.arg(0)
    dim = scope.arg(1, "dim", -1)
    if not isinstance(x, Value) or not isinstance(dim, int) or not is_float(scope.dtype):
        return None
    axis = dim % len(x.shape)
    size = x.shape[axis]
    if size is None:
        return None
    halves = [scope.emitter.slice(x, axis, begin, begin + size // 2) for begin in (0, size // 2)]
    value, gate = (scope.emitter.cast(half, scope.math_dtype) for half in halves)
    one = scope.emitter.splat(1.0, gate.dtype, gate.shape)
    sigmoid = scope.emitter.binary("arith.divf", one, logistic(scope, gate))
    return rounded(scope, scope.emitter.binary("arith.mulf", value, sigmoid))
