"""Casts. Float to float is exact or rounds once (`epiq.executor.floats`); float to integer rounds
toward zero and saturates, NaN giving 0, as `cvt` does; integer to float rounds once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from epiq.executor import floats
from epiq.executor.ops.arith import signed, unsigned
from epiq.executor.registry import Op, elementwise, typed
from epiq.executor.types import Element

Unary = Callable[[Tensor], Tensor]

_ROUNDING = {0: "rtz", 1: "rtne"}
# MLIR's rounding modes of arith.truncf, of which two mean something here.
_ARITH_ROUNDING = {0: "rtne", 1: "downward", 2: "upward", 3: "rtz", 4: "to_nearest_away"}
_ARITH_NAMES = {"to_nearest_even": "rtne", "toward_zero": "rtz"}


def float_cast(source: Element, target: Element, rounding: str) -> Unary:
    """The cast between two float types; exact when the target holds every value of the source."""
    if source == target:
        return lambda x: x
    if _holds(target, source):
        return lambda x: floats.widen(x, source, target.dtype)
    if source.is_float8 or source.dtype is torch.uint8:
        return lambda x: floats.narrow(floats.widen(x, source, torch.float32), target, rounding)
    return lambda x: floats.narrow(x, target, rounding)


def _holds(target: Element, source: Element) -> bool:
    if target.is_float8:
        return False
    if target.name == "f16":
        return source.is_float8 and source.name != "f8E8M0FNU"
    if target.name == "bf16":
        return source.is_float8
    return target.bits > source.bits


@typed("arith.extf")
def extf(op: Op) -> Unary:
    return float_cast(op.source, op.element, "rtne")


@typed("arith.truncf")
def truncf(op: Op) -> Unary:
    rounding = op.enum("roundingmode", _ARITH_ROUNDING, "rtne")
    rounding = _ARITH_NAMES.get(rounding, rounding)
    if op.element.name == "f8E8M0FNU":
        rounding = {"upward": "rceil", "downward": "rtz"}.get(rounding, rounding)
    if rounding not in ("rtne", "rtz", "rceil"):
        raise op.unsupported(f"rounding mode {rounding}")
    return float_cast(op.source, op.element, rounding)


@typed("tt.fp_to_fp")
def fp_to_fp(op: Op) -> Unary:
    return float_cast(op.source, op.element, op.enum("rounding", _ROUNDING, "rtne"))


@typed("arith.convertf")
def convertf(op: Op) -> Unary:
    return float_cast(op.source, op.element, "rtne")


@typed("arith.extsi", "arith.index_cast")
def extsi(op: Op) -> Unary:
    dtype = op.element.dtype
    return lambda x: signed(x).to(dtype)


@typed("arith.extui", "arith.index_castui")
def extui(op: Op) -> Unary:
    dtype = op.element.dtype
    if op.source.bits in (1, 64):
        return lambda x: x.to(dtype)
    return lambda x: unsigned(x).to(dtype)


@typed("arith.trunci")
def trunci(op: Op) -> Unary:
    dtype = op.element.dtype
    if op.element.bits == 1:
        return lambda x: (x & 1) != 0
    return lambda x: x.to(dtype)


@typed("arith.sitofp", "arith.uitofp")
def int_to_float(op: Op) -> Unary:
    """Exact in f64 up to 2^53, then rounded once; 64-bit integers go straight to f32 and f64."""
    target, bits = op.element, op.source.bits
    extend = signed if op.name == "arith.sitofp" else unsigned
    if op.name == "arith.uitofp" and bits == 64:
        return lambda x: floats.narrow(_unsigned64_to_double(x), target)
    if target.dtype in (torch.float32, torch.float64):
        return lambda x: extend(x).to(target.dtype)
    return lambda x: floats.narrow(extend(x).to(torch.float64), target)


def _unsigned64_to_double(x: Tensor) -> Tensor:
    # Halving with the cut bit kept sticky rounds like the whole number.
    half = ((x >> 1) & torch.iinfo(torch.int64).max) | (x & 1)
    return torch.where(x < 0, half.to(torch.float64) * 2, x.to(torch.float64))


@typed("arith.fptosi", "arith.fptoui")
def float_to_int(op: Op) -> Unary:
    bits, dtype = op.element.bits, op.element.dtype
    if bits == 1:
        return lambda x: x.nan_to_num(0.0).trunc() != 0
    if op.name == "arith.fptosi":
        low, high = -(2.0 ** (bits - 1)), 2.0 ** (bits - 1)
    else:
        low, high = 0.0, 2.0**bits

    def convert(x: Tensor) -> Tensor:
        wide = x.to(torch.float64).nan_to_num(0.0, float("inf"), -float("inf")).trunc()
        if bits < 64:
            return wide.clamp(low, high - 1).to(torch.int64).to(dtype)
        inside = wide.clamp(low, 2.0**63 - 1024)
        result = inside.to(torch.int64)
        if low == 0.0:
            upper = (wide - 2.0**63).clamp(0, 2.0**63 - 1024).to(torch.int64) ^ torch.iinfo(torch.int64).min
            return torch.where(wide >= high, -1, torch.where(wide >= 2.0**63, upper, result))
        return torch.where(wide >= high, torch.iinfo(torch.int64).max, result)

    return convert


@typed("arith.bitcast", "tt.bitcast")
def bitcast(op: Op) -> Unary:
    source, target = op.source, op.element
    if source.is_pointer or target.is_pointer or source.dtype == target.dtype:
        return lambda x: x
    if source.bits == 1 or target.bits == 1:
        return lambda x: x.to(target.dtype)
    return lambda x: x.contiguous().view(target.dtype)


@elementwise("tt.int_to_ptr", "tt.ptr_to_int")
def pointer_cast(x: Tensor) -> Tensor:
    """Pointers are int64 addresses already."""
    return x
