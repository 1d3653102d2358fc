"""`tt.extern_elementwise`: functions of CUDA's libdevice, by symbol.

`__nv_NAMEf` takes f32, `__nv_NAME` f64; the ocml names of the same functions are known too.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from epiq.executor.ops import math
from epiq.executor.ops.arith import mulhiui
from epiq.executor.ops.floats import maxnumf, minnumf
from epiq.executor.registry import Op, typed

Function = Callable[..., Tensor]


def _flag(test: Callable[[Tensor], Tensor]) -> Function:
    """A predicate that returns an i32."""
    return lambda x: test(x).to(torch.int32)


def _find_first_set(x: Tensor) -> Tensor:
    return torch.where(x == 0, 0, math.count_trailing_zeros(x) + 1).to(torch.int32)


def _reverse_bits(x: Tensor) -> Tensor:
    bits = x.element_size() * 8
    result = torch.zeros_like(x)
    for position in range(bits):
        result = result | (((x >> position) & 1) << (bits - 1 - position))
    return result


# Name after `__nv_`, without the `f` of the f32 form.
_FLOAT: dict[str, Function] = {
    **{name: function for name, function in math.UNARY.items() if name not in ("abs", "roundeven")},
    "fabs": torch.abs,
    "rint": torch.round,
    "nearbyint": torch.round,
    "rcbrt": lambda x: 1 / math.cbrt(x),
    "exp10": lambda x: torch.pow(torch.full_like(x, 10.0), x),
    "sinpi": lambda x: torch.sin(torch.fmod(x, 2.0) * torch.pi),
    "cospi": lambda x: torch.cos(torch.fmod(x, 2.0) * torch.pi),
    "erfinv": torch.erfinv,
    "erfcinv": lambda x: torch.erfinv(1 - x),
    "erfcx": torch.special.erfcx,
    "normcdf": torch.special.ndtr,
    "normcdfinv": torch.special.ndtri,
    "lgamma": torch.lgamma,
    "tgamma": lambda x: torch.exp(torch.lgamma(x)),
    "logb": lambda x: torch.floor(torch.log2(x.abs())),
    "j0": torch.special.bessel_j0,
    "j1": torch.special.bessel_j1,
    "y0": torch.special.bessel_y0,
    "y1": torch.special.bessel_y1,
    "cyl_bessel_i0": torch.special.i0,
    "cyl_bessel_i1": torch.special.i1,
    "atan2": torch.atan2,
    "pow": torch.pow,
    "powi": lambda x, n: math.fpowi(x, n),
    "fmod": torch.fmod,
    "remainder": lambda x, y: x - y * torch.round(x / y),
    "hypot": torch.hypot,
    "rhypot": lambda x, y: 1 / torch.hypot(x, y),
    "copysign": torch.copysign,
    "nextafter": torch.nextafter,
    "fdim": lambda x, y: torch.where(x > y, x - y, 0.0),
    "fmax": maxnumf,
    "fmin": minnumf,
    "ldexp": torch.ldexp,
    "scalbn": torch.ldexp,
    "saturate": lambda x: x.nan_to_num(0.0).clamp(0, 1),
    "fast_exp": torch.exp,
    "fast_exp10": lambda x: torch.pow(torch.full_like(x, 10.0), x),
    "fast_log": torch.log,
    "fast_log2": torch.log2,
    "fast_log10": torch.log10,
    "fast_sin": torch.sin,
    "fast_cos": torch.cos,
    "fast_tan": torch.tan,
    "fast_pow": torch.pow,
    "fast_fdivide": torch.div,
}
# Rounded-to-nearest arithmetic: `__nv_fadd_rn` and `__nv_dadd_rn`.
_ROUNDED: dict[str, Function] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "rcp": torch.reciprocal,
}
_EXACT: dict[str, Function] = {
    "isnanf": _flag(torch.isnan),
    "isnand": _flag(torch.isnan),
    "isinff": _flag(torch.isinf),
    "isinfd": _flag(torch.isinf),
    "finitef": _flag(torch.isfinite),
    "isfinited": _flag(torch.isfinite),
    "signbitf": _flag(torch.signbit),
    "signbitd": _flag(torch.signbit),
    "ilogbf": lambda x: torch.floor(torch.log2(x.abs())).to(torch.int32),
    "ilogb": lambda x: torch.floor(torch.log2(x.abs())).to(torch.int32),
    "abs": torch.abs,
    "llabs": torch.abs,
    "min": torch.minimum,
    "max": torch.maximum,
    "llmin": torch.minimum,
    "llmax": torch.maximum,
    "mulhi": lambda a, b: ((a.to(torch.int64) * b.to(torch.int64)) >> 32).to(torch.int32),
    "umulhi": mulhiui,
    "umul64hi": mulhiui,
    "mul24": lambda a, b: ((a << 8) >> 8) * ((b << 8) >> 8),
    "sad": lambda a, b, c: (a - b).abs() + c,
    "popc": lambda x: math.population_count(x).to(torch.int32),
    "popcll": lambda x: math.population_count(x).to(torch.int32),
    "clz": lambda x: math.count_leading_zeros(x).to(torch.int32),
    "clzll": lambda x: math.count_leading_zeros(x).to(torch.int32),
    "ffs": _find_first_set,
    "ffsll": _find_first_set,
    "brev": _reverse_bits,
    "brevll": _reverse_bits,
    "float_as_int": lambda x: x.contiguous().view(torch.int32),
    "float_as_uint": lambda x: x.contiguous().view(torch.int32),
    "int_as_float": lambda x: x.contiguous().view(torch.float32),
    "uint_as_float": lambda x: x.contiguous().view(torch.float32),
    "double_as_longlong": lambda x: x.contiguous().view(torch.int64),
    "longlong_as_double": lambda x: x.contiguous().view(torch.float64),
    "float2int_rz": lambda x: x.nan_to_num(0.0).trunc().clamp(-(2.0**31), 2.0**31 - 128).to(torch.int32),
    "float2int_rn": lambda x: x.nan_to_num(0.0).round().clamp(-(2.0**31), 2.0**31 - 128).to(torch.int32),
    "float2int_rd": lambda x: x.nan_to_num(0.0).floor().clamp(-(2.0**31), 2.0**31 - 128).to(torch.int32),
    "float2int_ru": lambda x: x.nan_to_num(0.0).ceil().clamp(-(2.0**31), 2.0**31 - 128).to(torch.int32),
    "int2float_rn": lambda x: x.to(torch.float32),
    "llrintf": lambda x: x.round().to(torch.int64),
    "llrint": lambda x: x.round().to(torch.int64),
    "llroundf": lambda x: math.round_half_away(x).to(torch.int64),
    "llround": lambda x: math.round_half_away(x).to(torch.int64),
}


def _find(op: Op, symbol: str) -> Function | None:
    name = symbol.removeprefix("__nv_")
    if symbol.startswith("__ocml_"):
        name = symbol.removeprefix("__ocml_").rsplit("_", 1)[0]
    if name in _EXACT:
        return _EXACT[name]
    is_f32 = op.source.name == "f32" and name.endswith("f")
    for stem in (name[:-1] if is_f32 else name, name):
        if stem == "fma":
            return math.fused_multiply_add(op.element)
        if stem in _FLOAT:
            return _FLOAT[stem]
    if name.endswith("_rn"):
        stem = name.removesuffix("_rn")
        if stem in ("fmaf", "fma", "ffma"):
            return math.fused_multiply_add(op.element)
        for prefix in ("f", "d", ""):
            if stem.startswith(prefix) and stem[len(prefix) :] in _ROUNDED:
                return _ROUNDED[stem[len(prefix) :]]
    return None


@typed("tt.extern_elementwise")
def extern_elementwise(op: Op) -> Function:
    symbol = op.string("symbol")
    function = _find(op, symbol)
    if function is None:
        raise op.unsupported(f"the external function {symbol} is not known")
    return math.in_f32(function) if op.source.is_float else function
