"""The math dialect, computed by torch.

f32 and f64 use torch's functions of that type (rsqrt is 1 / sqrt(x), two roundings); f16 and bf16 are
computed in f32 and rounded once. Fused multiply-add rounds once. Results may differ from a GPU's
approximate instructions in the last bits, never from run to run.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from epiq.executor import floats
from epiq.executor.frame import Frame
from epiq.executor.registry import Op, Step, elementwise, handler, typed
from epiq.executor.types import Element
from epiq.executor.values import common_shape

Unary = Callable[[Tensor], Tensor]
Function = Callable[..., Tensor]


# Elements of a whole number of vectors, whatever torch's vectors and their unrolling.
_VECTOR = 128


def in_f32(function: Function) -> Function:
    """The function with half precision computed in f32, and every element by torch's vector loop.

    torch computes what is left after whole vectors by other code, which for exp2, pow and others
    differs in the last bit; an element's value must not depend on what stands beside it. So operands
    are padded to whole vectors.
    """

    def computed(*values: Tensor) -> Tensor:
        shape, dtype = common_shape(*[v.shape for v in values]), values[0].dtype
        half = dtype in (torch.float16, torch.bfloat16)
        flat = [(v.to(torch.float32) if half else v).expand(shape).reshape(-1) for v in values]
        count = flat[0].shape[0]
        rest = -count % _VECTOR
        if rest:
            flat = [torch.cat([v, v.new_ones(rest)]) for v in flat]
        result = function(*flat)[:count].reshape(shape)
        return result.to(dtype) if half else result

    return computed


def round_half_away(x: Tensor) -> Tensor:
    """C's `round`: halves go away from zero."""
    whole = x.trunc()
    return torch.where((x - whole).abs() >= 0.5, whole + torch.sign(x), whole)


def cbrt(x: Tensor) -> Tensor:
    root = x.abs().to(torch.float64).pow(1 / 3)
    return torch.copysign(root, x.to(torch.float64)).to(x.dtype)


UNARY: dict[str, Unary] = {
    "abs": torch.abs,
    "ceil": torch.ceil,
    "floor": torch.floor,
    "trunc": torch.trunc,
    "round": round_half_away,
    "roundeven": torch.round,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "cbrt": cbrt,
    "exp": torch.exp,
    "exp2": torch.exp2,
    "expm1": torch.expm1,
    "log": torch.log,
    "log2": torch.log2,
    "log10": torch.log10,
    "log1p": torch.log1p,
    "sin": torch.sin,
    "cos": torch.cos,
    "tan": torch.tan,
    "asin": torch.asin,
    "acos": torch.acos,
    "atan": torch.atan,
    "sinh": torch.sinh,
    "cosh": torch.cosh,
    "tanh": torch.tanh,
    "asinh": torch.asinh,
    "acosh": torch.acosh,
    "atanh": torch.atanh,
    "erf": torch.erf,
    "erfc": torch.erfc,
}

for _name, _function in UNARY.items():
    elementwise(f"math.{'absf' if _name == 'abs' else _name}")(in_f32(_function))
elementwise("tt.precise_sqrt")(in_f32(torch.sqrt))
elementwise("math.absi")(torch.abs)
elementwise("math.atan2")(in_f32(torch.atan2))
elementwise("math.powf")(in_f32(torch.pow))
elementwise("math.copysign")(torch.copysign)
elementwise("math.isnan")(torch.isnan)
elementwise("math.isinf")(torch.isinf)
elementwise("math.isfinite")(torch.isfinite)


@elementwise("math.isnormal")
def isnormal(x: Tensor) -> Tensor:
    return torch.isfinite(x) & (x.abs() >= torch.finfo(x.dtype).tiny)


@elementwise("math.fpowi")
def fpowi(x: Tensor, n: Tensor) -> Tensor:
    return torch.pow(x.to(torch.float64), n.to(torch.float64)).to(x.dtype)


@elementwise("math.ipowi")
def ipowi(x: Tensor, n: Tensor) -> Tensor:
    """Integer power by squaring, wrapping; a negative exponent gives 0 unless |x| = 1."""
    result, base, rest = torch.ones_like(x), x, n.clamp(min=0)
    while bool((rest != 0).any()):
        result = torch.where((rest & 1) != 0, result * base, result)
        base, rest = base * base, rest >> 1
    inverse = torch.where(x == 1, 1, torch.where(x == -1, torch.where((n & 1) != 0, -1, 1), 0))
    return torch.where(n < 0, inverse, result).to(x.dtype)


@handler("math.sincos")
def sincos(op: Op) -> Step:
    (x,), (sine, cosine) = op.operands, op.results
    sin, cos = in_f32(torch.sin), in_f32(torch.cos)

    def step(frame: Frame) -> None:
        frame.slots[sine], frame.slots[cosine] = sin(frame.slots[x]), cos(frame.slots[x])

    return step


def fused_multiply_add(element: Element) -> Function:
    """a * b + c with one rounding to `element`; f64 rounds twice (no wider type to hold it)."""
    if element.name == "f64":
        return lambda a, b, c: a * b + c

    def fma(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        product = a.to(torch.float64) * b.to(torch.float64)  # exact: 48 bits at most
        addend = c.to(torch.float64)
        total = product + addend
        # Two-sum gives what the sum lost; rounding to odd keeps it visible to the last rounding.
        virtual = total - product
        lost = (product - (total - virtual)) + (addend - virtual)
        bits = total.view(torch.int64)
        outward = (lost > 0) == (total > 0)
        odd = torch.where(outward, bits | 1, torch.where(bits & 1 == 0, bits - 1, bits))
        inexact = (lost != 0) & total.isfinite() & lost.isfinite()
        return floats.narrow(torch.where(inexact, odd, bits).view(torch.float64), element)

    return fma


@typed("math.fma")
def fma(op: Op) -> Function:
    return fused_multiply_add(op.element)


def count_leading_zeros(x: Tensor) -> Tensor:
    bits = x.element_size() * 8
    result = torch.full_like(x, bits)
    for position in range(bits):
        result = torch.where((x >> position) & 1 != 0, bits - 1 - position, result)
    return result


def count_trailing_zeros(x: Tensor) -> Tensor:
    bits = x.element_size() * 8
    result = torch.full_like(x, bits)
    for position in reversed(range(bits)):
        result = torch.where((x >> position) & 1 != 0, position, result)
    return result


def population_count(x: Tensor) -> Tensor:
    result = torch.zeros_like(x)
    for position in range(x.element_size() * 8):
        result = result + ((x >> position) & 1)
    return result


elementwise("math.ctlz")(count_leading_zeros)
elementwise("math.cttz")(count_trailing_zeros)
elementwise("math.ctpop")(population_count)
