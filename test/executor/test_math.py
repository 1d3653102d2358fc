"""The math dialect, libdevice functions and inline assembly against torch."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from executor_ir import ELEMENTS, apply, evaluate, same, tensor_type

from epiq.errors import UnsupportedError

POSITIVE = torch.rand(64, generator=torch.Generator().manual_seed(3)) * 4 + 0.1
UNIT = torch.rand(64, generator=torch.Generator().manual_seed(4)) * 1.8 - 0.9
DOMAIN = dict.fromkeys(("asin", "acos", "atanh"), UNIT) | {"acosh": POSITIVE + 1}
SAME_NAME = (
    ["ceil", "floor", "trunc", "sqrt", "rsqrt", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p"]
    + ["sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh"]
    + ["erf", "erfc"]
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", SAME_NAME)
def test_unary_function_is_torch_s(name: str, dtype: torch.dtype) -> None:
    """Half precision is computed in f32 and rounded once."""
    x = DOMAIN.get(name, POSITIVE).to(dtype)
    wide = x.float() if dtype.itemsize == 2 else x
    assert same(apply(f"math.{name}", x), getattr(torch, name)(wide).to(dtype))


@pytest.mark.parametrize("name", SAME_NAME)
def test_an_element_does_not_depend_on_its_neighbours(name: str) -> None:
    """torch's vector loop and its remainder differ in the last bit of some functions."""
    x = DOMAIN.get(name, POSITIVE)
    whole = apply(f"math.{name}", x)
    for start, size in ((0, 1), (5, 2), (13, 8), (32, 16)):
        assert same(apply(f"math.{name}", x[start : start + size]), whole[start : start + size])


def test_rounding_functions_at_halves() -> None:
    x = torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 2.4, 0.49999997])
    assert apply("math.roundeven", x).tolist() == [0, 2, 2, 0, -2, -2, 2, 0]
    assert apply("math.round", x).tolist() == [1, 2, 3, -1, -2, -3, 2, 0]


def test_abs_copysign_power() -> None:
    x, y = torch.tensor([-1.5, 2.0, -0.0]), torch.tensor([2.0, -3.0, 1.0])
    assert same(apply("math.absf", x), x.abs())
    assert same(apply("math.copysign", x, y), torch.copysign(x, y))
    assert same(apply("math.powf", x.abs(), y), torch.pow(x.abs(), y))
    assert same(apply("math.atan2", x, y), torch.atan2(x, y))
    assert apply("math.absi", torch.tensor([-3, 4], dtype=torch.int32)).tolist() == [3, 4]
    assert same(apply("math.cbrt", torch.tensor([8.0, -27.0])), torch.tensor([2.0, -3.0]))


def test_bit_counts() -> None:
    x = torch.tensor([0, 1, -1, 0x00F0], dtype=torch.int32)
    assert apply("math.ctlz", x).tolist() == [32, 31, 0, 24]
    assert apply("math.cttz", x).tolist() == [32, 0, 0, 4]
    assert apply("math.ctpop", x).tolist() == [0, 1, 32, 4]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_fma_rounds_once(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b, c = (torch.randn(512, generator=generator).to(dtype) for _ in range(3))
    c = torch.where(torch.arange(512) % 2 == 0, -(a.double() * b.double()).to(dtype), c)
    found = apply("math.fma", a, b, c).double().tolist()
    for x, y, z, value in zip(a.tolist(), b.tolist(), c.tolist(), found, strict=True):
        exact = Fraction(x) * Fraction(y) + Fraction(z)
        # The error of one rounding is at most half a unit in the last place of the result.
        digits = {torch.float32: 24, torch.float16: 11, torch.bfloat16: 8}[dtype]
        smallest = {torch.float32: -149, torch.float16: -24, torch.bfloat16: -133}[dtype]
        exponent = max(math.frexp(value)[1] - digits, smallest)
        assert abs(Fraction(value) - exact) <= Fraction(2) ** exponent / 2


def extern(symbol: str, *inputs: torch.Tensor, result: torch.dtype | None = None) -> torch.Tensor:
    dtype = result or inputs[0].dtype
    shape = tuple(inputs[0].shape)
    kinds = ", ".join(tensor_type(shape, ELEMENTS[x.dtype]) for x in inputs)
    operands = ", ".join(f"%x{i}" for i in range(len(inputs)))
    attributes = f'{{libname = "", libpath = "", pure = true, symbol = "{symbol}"}}'
    target = tensor_type(shape, ELEMENTS[dtype])
    body = f"%y0 = tt.extern_elementwise {operands} {attributes} : ({kinds}) -> {target}"
    return evaluate(body, list(inputs), [(shape, dtype)])[0]


@pytest.mark.parametrize(
    ("symbol", "function"),
    [
        ("__nv_rsqrtf", torch.rsqrt),
        ("__nv_expf", torch.exp),
        ("__nv_exp2f", torch.exp2),
        ("__nv_fast_expf", torch.exp),
        ("__nv_tanhf", torch.tanh),
        ("__nv_erff", torch.erf),
        ("__nv_log1pf", torch.log1p),
        ("__nv_rintf", torch.round),
        ("__nv_floorf", torch.floor),
        ("__nv_fabsf", torch.abs),
        ("__nv_lgammaf", torch.lgamma),
        ("__nv_fsqrt_rn", torch.sqrt),
        ("__ocml_tanh_f32", torch.tanh),
    ],
)
def test_libdevice_f32(symbol: str, function: object) -> None:
    assert callable(function)
    assert same(extern(symbol, POSITIVE), function(POSITIVE))


def test_libdevice_other_types() -> None:
    x = POSITIVE.double()
    assert same(extern("__nv_sin", x), torch.sin(x))
    assert same(extern("__nv_powf", POSITIVE, UNIT), torch.pow(POSITIVE, UNIT))
    assert same(extern("__nv_div_rn", x, x + 1), x / (x + 1))
    assert extern("__nv_isnanf", torch.tensor([1.0, math.nan]), result=torch.int32).tolist() == [0, 1]
    ints = torch.tensor([12, 0, -1], dtype=torch.int32)
    assert extern("__nv_popc", ints).tolist() == [2, 0, 32]
    assert extern("__nv_ffs", ints).tolist() == [3, 0, 1]
    assert extern("__nv_brev", torch.tensor([1], dtype=torch.int32)).tolist() == [-(2**31)]
    assert extern("__nv_llrintf", torch.tensor([2.5, -1.5]), result=torch.int64).tolist() == [2, -2]


def test_an_unknown_external_function_is_named_with_its_line() -> None:
    with pytest.raises(UnsupportedError, match=r":\d+:\d+: tt.extern_elementwise: .*__nv_quux is not known"):
        extern("__nv_quux", POSITIVE)


def asm(text: str, *inputs: torch.Tensor) -> torch.Tensor:
    shape = tuple(inputs[0].shape)
    kind = tensor_type(shape, ELEMENTS[inputs[0].dtype])
    operands = ", ".join(f"%x{i}" for i in range(len(inputs)))
    attributes = '{constraints = "=r,r", packed_element = 1 : i32, pure = true}'
    kinds = ", ".join([kind] * len(inputs))
    body = f'%y0 = tt.elementwise_inline_asm "{text}" {attributes} {operands} : {kinds} -> {kind}'
    return evaluate(body, list(inputs), [(shape, inputs[0].dtype)])[0]


def test_known_inline_assembly() -> None:
    assert same(asm("tanh.approx.f32 $0, $1;", UNIT), torch.tanh(UNIT))
    assert same(asm("ex2.approx.ftz.f32 $0, $1;", UNIT), torch.exp2(UNIT))
    assert same(asm("mul.rn.f32 $0, $1, $2;", UNIT, POSITIVE), UNIT * POSITIVE)
    rounded = asm("cvt.rna.tf32.f32 $0, $1;", torch.tensor([1.0, 1 + 2.0**-11, 1 + 2.0**-12]))
    assert rounded.tolist() == [1.0, 1 + 2.0**-10, 1.0]


@pytest.mark.parametrize("text", ["shf.l.wrap.b32 $0, $1, $1, 8;", "tanh.approx.f32 $0, $1; mov.b32 $0, $1;"])
def test_unknown_inline_assembly_is_named_with_its_line(text: str) -> None:
    with pytest.raises(UnsupportedError, match=r":\d+:\d+: tt.elementwise_inline_asm: .* is not known"):
        asm(text, UNIT)
