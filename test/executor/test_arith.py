"""Integer and float arithmetic against Python's integers and torch."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from executor_ir import apply, evaluate, same
from hypothesis import given, settings
from hypothesis import strategies as st

WIDTHS = {8: torch.int8, 16: torch.int16, 32: torch.int32, 64: torch.int64}


def wrap(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def unsigned(value: int, bits: int) -> int:
    return value & ((1 << bits) - 1)


def truncated(a: int, b: int) -> int:
    """C's quotient."""
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


# Results from signed operands and the width; division by zero as on NVIDIA GPUs.
ORACLES: dict[str, Callable[[int, int, int], int]] = {
    "addi": lambda a, b, n: a + b,
    "subi": lambda a, b, n: a - b,
    "muli": lambda a, b, n: a * b,
    "andi": lambda a, b, n: a & b,
    "ori": lambda a, b, n: a | b,
    "xori": lambda a, b, n: a ^ b,
    "maxsi": lambda a, b, n: max(a, b),
    "minsi": lambda a, b, n: min(a, b),
    "maxui": lambda a, b, n: max(unsigned(a, n), unsigned(b, n)),
    "minui": lambda a, b, n: min(unsigned(a, n), unsigned(b, n)),
    "divsi": lambda a, b, n: truncated(a, b) if b else -1,
    "remsi": lambda a, b, n: a - b * truncated(a, b) if b else a,
    "floordivsi": lambda a, b, n: a // b if b else -1,
    "ceildivsi": lambda a, b, n: -(-a // b) if b else -1,
    "divui": lambda a, b, n: unsigned(a, n) // unsigned(b, n) if b else -1,
    "remui": lambda a, b, n: unsigned(a, n) % unsigned(b, n) if b else a,
    "ceildivui": lambda a, b, n: -(-unsigned(a, n) // unsigned(b, n)) if b else -1,
}


def integers(bits: int) -> st.SearchStrategy[int]:
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    return st.one_of(st.sampled_from([low, low + 1, -1, 0, 1, 2, 3, high]), st.integers(low, high))


@pytest.mark.parametrize("bits", sorted(WIDTHS))
@pytest.mark.parametrize("op", sorted(ORACLES))
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_integer_op(op: str, bits: int, data: st.DataObject) -> None:
    pairs = data.draw(st.lists(st.tuples(integers(bits), integers(bits)), min_size=1, max_size=24))
    a, b = (torch.tensor(column, dtype=WIDTHS[bits]) for column in zip(*pairs, strict=True))
    found = apply(f"arith.{op}", a, b).tolist()
    assert found == [wrap(ORACLES[op](x, y, bits), bits) for x, y in pairs]


@pytest.mark.parametrize("bits", sorted(WIDTHS))
@pytest.mark.parametrize("op", ["shli", "shrsi", "shrui"])
def test_shifts(op: str, bits: int) -> None:
    values = [-(1 << (bits - 1)), -1, 1, (1 << (bits - 1)) - 1, 5, -7]
    amounts = [0, 1, bits - 1]
    a = torch.tensor([v for v in values for _ in amounts], dtype=WIDTHS[bits])
    b = torch.tensor(amounts * len(values), dtype=WIDTHS[bits])
    expected = {
        "shli": lambda x, s: x << s,
        "shrsi": lambda x, s: x >> s,
        "shrui": lambda x, s: unsigned(x, bits) >> s,
    }[op]
    found = apply(f"arith.{op}", a, b).tolist()
    assert found == [wrap(expected(x, s), bits) for x, s in zip(a.tolist(), b.tolist(), strict=True)]


@pytest.mark.parametrize("bits", [32, 64])
def test_mulhiui(bits: int) -> None:
    values = [-(1 << (bits - 1)), -1, 1, (1 << (bits - 1)) - 1, 0x12345678, -0x1234567]
    pairs = [(x, y) for x in values for y in values]
    a, b = (torch.tensor(column, dtype=WIDTHS[bits]) for column in zip(*pairs, strict=True))
    expected = [wrap(unsigned(x, bits) * unsigned(y, bits) >> bits, bits) for x, y in pairs]
    assert apply("tt.mulhiui", a, b).tolist() == expected


@pytest.mark.parametrize("op", ["mului_extended", "mulsi_extended"])
def test_extended_products(op: str) -> None:
    values = [-(1 << 31), -1, 1, (1 << 31) - 1, 12345678]
    pairs = [(x, y) for x in values for y in values]
    a, b = (torch.tensor(column, dtype=torch.int32) for column in zip(*pairs, strict=True))
    count = len(pairs)
    outputs = [((count,), torch.int32)] * 2
    low, high = evaluate(f"%y0, %y1 = arith.{op} %x0, %x1 : tensor<{count}xi32>", [a, b], outputs)
    number = unsigned if op == "mului_extended" else lambda v, n: v
    products = [number(x, 32) * number(y, 32) for x, y in pairs]
    assert low.tolist() == [wrap(p, 32) for p in products]
    assert high.tolist() == [wrap(p >> 32, 32) for p in products]


PREDICATES = ("eq", "ne", "slt", "sle", "sgt", "sge", "ult", "ule", "ugt", "uge")


@pytest.mark.parametrize("bits", [8, 32, 64])
@pytest.mark.parametrize("predicate", PREDICATES)
def test_cmpi(predicate: str, bits: int) -> None:
    values = [-(1 << (bits - 1)), -1, 0, 1, (1 << (bits - 1)) - 1]
    pairs = [(x, y) for x in values for y in values]
    a, b = (torch.tensor(column, dtype=WIDTHS[bits]) for column in zip(*pairs, strict=True))
    count = len(pairs)
    body = (
        f"%c = arith.cmpi {predicate}, %x0, %x1 : tensor<{count}xi{bits}>\n"
        f"%y0 = arith.extui %c : tensor<{count}xi1> to tensor<{count}xi32>"
    )
    found = evaluate(body, [a, b], [((count,), torch.int32)])[0].tolist()
    number = unsigned if predicate[0] == "u" else lambda v, n: v
    compare = predicate if predicate in ("eq", "ne") else predicate[1:]
    expected = [getattr(int, f"__{compare}__")(number(x, bits), number(y, bits)) for x, y in pairs]
    assert found == [int(flag) for flag in expected]


FLOATS = [0.0, -0.0, 1.0, -1.0, 1.5, math.inf, -math.inf, math.nan, 1e-45, 3e38]
FLOAT_PREDICATES = (
    "oeq",
    "ogt",
    "oge",
    "olt",
    "ole",
    "one",
    "ord",
    "ueq",
    "ugt",
    "uge",
    "ult",
    "ule",
    "une",
    "uno",
)


@pytest.mark.parametrize("predicate", ["false", "true", *FLOAT_PREDICATES])
def test_cmpf(predicate: str) -> None:
    pairs = [(x, y) for x in FLOATS for y in FLOATS]
    a, b = (torch.tensor(column) for column in zip(*pairs, strict=True))
    count = len(pairs)
    body = (
        f"%c = arith.cmpf {predicate}, %x0, %x1 : tensor<{count}xf32>\n"
        f"%y0 = arith.extui %c : tensor<{count}xi1> to tensor<{count}xi32>"
    )
    found = evaluate(body, [a, b], [((count,), torch.int32)])[0].tolist()

    def expected(x: float, y: float) -> bool:
        if predicate in ("true", "false"):
            return predicate == "true"
        unordered = math.isnan(x) or math.isnan(y)
        if predicate in ("ord", "uno"):
            return unordered == (predicate == "uno")
        if unordered:
            return predicate[0] == "u"
        return bool(getattr(float, f"__{predicate[1:]}__")(x, y))

    assert found == [int(expected(x, y)) for x, y in pairs]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("op", ["addf", "subf", "mulf", "divf", "remf"])
def test_float_op_rounds_once_in_its_type(op: str, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(256, generator=generator, dtype=torch.float64).to(dtype)
    b = torch.randn(256, generator=generator, dtype=torch.float64).to(dtype)
    function = {
        "addf": torch.add,
        "subf": torch.sub,
        "mulf": torch.mul,
        "divf": torch.div,
        "remf": torch.fmod,
    }[op]
    expected = function(a.double(), b.double()).to(dtype) if dtype != torch.float64 else function(a, b)
    if op == "remf":
        expected = function(a, b)
    assert same(apply(f"arith.{op}", a, b), expected)


@pytest.mark.parametrize("op", ["maximumf", "minimumf", "maxnumf", "minnumf"])
def test_nan_and_signed_zero_of_max_and_min(op: str) -> None:
    """maximumf propagates a NaN, maxnumf drops it; both order -0 below +0."""
    pairs = [(x, y) for x in FLOATS for y in FLOATS]
    a, b = (torch.tensor(column) for column in zip(*pairs, strict=True))
    found = apply(f"arith.{op}", a, b).tolist()
    pick = max if op.startswith("max") else min

    def expected(x: float, y: float) -> float:
        if math.isnan(x) or math.isnan(y):
            if op.endswith("imumf"):
                return math.nan
            return y if math.isnan(x) else x
        return pick((x, y), key=lambda v: (v, math.copysign(1.0, v)))

    for x, y, value in zip(a.tolist(), b.tolist(), found, strict=True):
        right = expected(x, y)
        both_nan = math.isnan(value) and math.isnan(right)
        assert both_nan or (value == right and math.copysign(1, value) == math.copysign(1, right)), (x, y)


def test_select_takes_a_scalar_or_a_tensor_condition() -> None:
    body = """%c = arith.cmpi sgt, %x0, %x1 : tensor<4xi32>
    %y0 = arith.select %c, %x0, %x1 : tensor<4xi1>, tensor<4xi32>
    %t = arith.constant true
    %y1 = arith.select %t, %x0, %x1 : tensor<4xi32>"""
    a, b = torch.tensor([1, 5, -3, 7], dtype=torch.int32), torch.tensor([2, 4, -4, 7], dtype=torch.int32)
    first, second = evaluate(body, [a, b], [((4,), torch.int32)] * 2)
    assert first.tolist() == [2, 5, -3, 7]
    assert torch.equal(second, a)


def test_i1_arithmetic_is_modulo_two() -> None:
    body = """%z = arith.constant dense<0> : tensor<4xi32>
    %a = arith.cmpi ne, %x0, %z : tensor<4xi32>
    %b = arith.cmpi ne, %x1, %z : tensor<4xi32>
    %s = arith.addi %a, %b : tensor<4xi1>
    %d = arith.subi %a, %b : tensor<4xi1>
    %m = arith.muli %a, %b : tensor<4xi1>
    %c = arith.cmpi slt, %a, %b : tensor<4xi1>
    %y0 = arith.extui %s : tensor<4xi1> to tensor<4xi32>
    %y1 = arith.extui %d : tensor<4xi1> to tensor<4xi32>
    %y2 = arith.extsi %m : tensor<4xi1> to tensor<4xi32>
    %y3 = arith.extui %c : tensor<4xi1> to tensor<4xi32>"""
    a, b = torch.tensor([0, 0, 1, 1], dtype=torch.int32), torch.tensor([0, 1, 0, 1], dtype=torch.int32)
    outputs = evaluate(body, [a, b], [((4,), torch.int32)] * 4)
    # A signed i1 is 0 or -1, so true is the smaller one.
    assert [o.tolist() for o in outputs] == [[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, -1], [0, 0, 1, 0]]


@pytest.mark.parametrize(
    ("text", "dtype", "expected"),
    [
        ("dense<[1, -2, 3, 4]> : tensor<4xi32>", torch.int32, [1, -2, 3, 4]),
        ("dense<7> : tensor<4xi64>", torch.int64, [7] * 4),
        ("dense<4294967295> : tensor<4xi32>", torch.int32, [-1] * 4),
        ("dense<0xFF800000> : tensor<4xf32>", torch.float32, [-math.inf] * 4),
        ("dense<0x7F80> : tensor<4xbf16>", torch.bfloat16, [math.inf] * 4),
        ("dense<[1.5, -2.0, 1.000000e-10, 0.1]> : tensor<4xf32>", torch.float32, [1.5, -2.0, 1e-10, 0.1]),
        ("dense<4.480000e+02> : tensor<4xf8E4M3FN>", torch.float8_e4m3fn, [448.0] * 4),
    ],
)
def test_constants(text: str, dtype: torch.dtype, expected: list[float]) -> None:
    found = evaluate(f"%y0 = arith.constant {text}", [torch.zeros(1)], [((4,), dtype)])[0]
    assert same(found, torch.tensor(expected, dtype=torch.float64).to(dtype))


def test_a_long_constant_is_printed_as_a_blob_and_read_back() -> None:
    values = torch.arange(256, dtype=torch.int32) * 3 - 50
    text = f"%y0 = arith.constant dense<{values.tolist()}> : tensor<256xi32>"
    assert torch.equal(evaluate(text, [torch.zeros(1)], [((256,), torch.int32)])[0], values)
