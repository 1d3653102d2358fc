"""Integer arithmetic, comparisons and constants.

Integers wrap. Division by zero, which a masked lane may reach, gives what NVIDIA GPUs give: all ones
for the quotient, the dividend for the remainder. The smallest integer divided by -1 wraps. Shifts by
the width or more give 0 (or the sign), where MLIR leaves the value open.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from epiq.executor import attributes
from epiq.executor.frame import Frame
from epiq.executor.registry import Op, Step, elementwise, handler, typed

Binary = Callable[[Tensor, Tensor], Tensor]

_INT_PREDICATES = dict(enumerate(("eq", "ne", "slt", "sle", "sgt", "sge", "ult", "ule", "ugt", "uge")))
_COMPARE: dict[str, Binary] = {
    "eq": torch.eq,
    "ne": torch.ne,
    "lt": torch.lt,
    "le": torch.le,
    "gt": torch.gt,
    "ge": torch.ge,
}


@handler("arith.constant")
def constant(op: Op) -> Step:
    value = attributes.read_constant(op.attributes["value"], op.result_types[0])
    result = op.results[0]

    def step(frame: Frame) -> None:
        frame.slots[result] = value

    return step


@handler("ub.poison")
def poison(op: Op) -> Step:
    """Poison holds zeros: what depends on it is undefined, so any value is right."""
    kind = op.result_types[0]
    if kind.kind not in ("scalar", "tensor"):
        raise op.unsupported(f"poison of type {kind.kind}")
    value = torch.zeros((1,) * (1 + len(kind.shape)), dtype=torch.int8).to(kind.element.dtype)
    value = value.expand(1, *kind.shape)
    result = op.results[0]

    def step(frame: Frame) -> None:
        frame.slots[result] = value

    return step


def signed(value: Tensor) -> Tensor:
    """An i1 as the signed integer it is, 0 or -1; other integers as they are."""
    return -value.to(torch.int8) if value.dtype is torch.bool else value


def unsigned(value: Tensor) -> Tensor:
    """The unsigned value of integers below 64 bits, as i64."""
    if value.dtype is torch.bool:
        return value.to(torch.int64)
    bits = value.element_size() * 8
    return value.to(torch.int64) & ((1 << bits) - 1)


def unsigned_order(value: Tensor) -> Tensor:
    """Signed integers in the order of the unsigned values."""
    if value.dtype is torch.bool:
        return value.to(torch.int8)
    if value.dtype is torch.int64:
        return value ^ torch.iinfo(torch.int64).min
    return unsigned(value)


def _bool_or(on_bool: Binary, on_int: Binary) -> Binary:
    return lambda a, b: on_bool(a, b) if a.dtype is torch.bool else on_int(a, b)


elementwise("arith.addi")(_bool_or(torch.logical_xor, torch.add))
elementwise("arith.subi")(_bool_or(torch.logical_xor, torch.sub))
elementwise("arith.muli")(_bool_or(torch.logical_and, torch.mul))
elementwise("arith.andi")(torch.bitwise_and)
elementwise("arith.ori")(torch.bitwise_or)
elementwise("arith.xori")(torch.bitwise_xor)


@elementwise("arith.maxsi")
def maxsi(a: Tensor, b: Tensor) -> Tensor:
    return a & b if a.dtype is torch.bool else torch.maximum(a, b)


@elementwise("arith.minsi")
def minsi(a: Tensor, b: Tensor) -> Tensor:
    return a | b if a.dtype is torch.bool else torch.minimum(a, b)


@elementwise("arith.maxui")
def maxui(a: Tensor, b: Tensor) -> Tensor:
    return torch.where(unsigned_order(a) >= unsigned_order(b), a, b)


@elementwise("arith.minui")
def minui(a: Tensor, b: Tensor) -> Tensor:
    return torch.where(unsigned_order(a) <= unsigned_order(b), a, b)


def _safe(divisor: Tensor) -> Tensor:
    """The divisor with 0 and -1 replaced by 1: on some CPUs both trap."""
    return torch.where((divisor == 0) | (divisor == -1), 1, divisor)


def _signed_division(mode: str) -> Binary:
    def divide(a: Tensor, b: Tensor) -> Tensor:
        if a.dtype is torch.bool:
            return a
        quotient = torch.div(a, _safe(b), rounding_mode=mode)
        quotient = torch.where(b == -1, -a, quotient)
        return torch.where(b == 0, -1, quotient)

    return divide


divsi = elementwise("arith.divsi")(_signed_division("trunc"))
elementwise("arith.floordivsi")(_signed_division("floor"))


@elementwise("arith.ceildivsi")
def ceildivsi(a: Tensor, b: Tensor) -> Tensor:
    quotient = divsi(a, b)
    exact = quotient * b == a
    return quotient + (~exact & ((a < 0) == (b < 0)) & (b != 0)).to(a.dtype)


@elementwise("arith.remsi")
def remsi(a: Tensor, b: Tensor) -> Tensor:
    if a.dtype is torch.bool:
        return torch.zeros_like(a)
    remainder = torch.fmod(a, _safe(b))
    return torch.where(b == 0, a, torch.where(b == -1, 0, remainder)).to(a.dtype)


@elementwise("arith.divui")
def divui(a: Tensor, b: Tensor) -> Tensor:
    if a.dtype is torch.int64:
        return _divui64(a, b)[0]
    wide = torch.div(unsigned(a), unsigned(b).clamp(min=1), rounding_mode="trunc")
    return torch.where(unsigned(b) == 0, -1, wide).to(a.dtype)


@elementwise("arith.remui")
def remui(a: Tensor, b: Tensor) -> Tensor:
    if a.dtype is torch.int64:
        return _divui64(a, b)[1]
    wide = torch.fmod(unsigned(a), unsigned(b).clamp(min=1))
    return torch.where(unsigned(b) == 0, unsigned(a), wide).to(a.dtype)


@elementwise("arith.ceildivui")
def ceildivui(a: Tensor, b: Tensor) -> Tensor:
    rest = remui(a, b)
    return divui(a, b) + ((rest != 0) & (b != 0)).to(a.dtype)


def _divui64(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Unsigned 64-bit division by means of signed operations."""
    safe = torch.where(b == 0, 1, b)
    # Halving makes the dividend positive; the quotient is then low by at most one.
    positive = torch.where(safe < 0, 1, safe)
    half = torch.div((a >> 1) & torch.iinfo(torch.int64).max, positive, rounding_mode="trunc")
    quotient = half << 1
    rest = a - quotient * positive
    over = unsigned_order(rest) >= unsigned_order(positive)
    quotient = quotient + over.to(torch.int64)
    # A divisor of 2^63 or more goes in once or not at all.
    large = (unsigned_order(a) >= unsigned_order(safe)).to(torch.int64)
    quotient = torch.where(safe < 0, large, quotient)
    rest = a - quotient * safe
    return torch.where(b == 0, -1, quotient), torch.where(b == 0, a, rest)


@typed("arith.shli")
def shli(op: Op) -> Binary:
    bits = op.element.bits

    def shift(a: Tensor, b: Tensor) -> Tensor:
        amount = unsigned(b) if b.dtype is not torch.int64 else b
        over = (amount < 0) | (amount >= bits)
        return torch.where(over, 0, torch.bitwise_left_shift(a, amount.clamp(0, bits - 1).to(a.dtype)))

    return shift if bits > 1 else lambda a, b: a & ~b


@typed("arith.shrsi")
def shrsi(op: Op) -> Binary:
    bits = op.element.bits

    def shift(a: Tensor, b: Tensor) -> Tensor:
        amount = torch.where(b < 0, bits - 1, b).clamp(max=bits - 1).to(a.dtype)
        return torch.bitwise_right_shift(a, amount)

    return shift if bits > 1 else lambda a, b: a


@typed("arith.shrui")
def shrui(op: Op) -> Binary:
    bits = op.element.bits
    if bits == 1:
        return lambda a, b: a & ~b

    def shift(a: Tensor, b: Tensor) -> Tensor:
        over = (b < 0) | (b >= bits)
        amount = b.clamp(0, bits - 1).to(torch.int64)
        if bits < 64:
            result = (unsigned(a) >> amount).to(a.dtype)
        else:
            kept = torch.where(amount == 0, -1, (1 << (64 - amount.clamp(min=1))) - 1)
            result = (a >> amount) & kept
        return torch.where(over, 0, result)

    return shift


@typed("arith.cmpi")
def cmpi(op: Op) -> Binary:
    predicate = op.enum("predicate", _INT_PREDICATES)
    if predicate in ("eq", "ne"):
        return _COMPARE[predicate]
    compare = _COMPARE[predicate[1:]]
    if predicate[0] == "u":
        return lambda a, b: compare(unsigned_order(a), unsigned_order(b))
    if op.source.bits == 1:
        return lambda a, b: compare(signed(a), signed(b))
    return compare


@elementwise("arith.select")
def select(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    if condition.dim() < a.dim():
        condition = condition.reshape(-1, *[1] * (a.dim() - 1))
    return torch.where(condition, a, b)


@elementwise("tt.mulhiui")
def mulhiui(a: Tensor, b: Tensor) -> Tensor:
    """The upper half of the unsigned product."""
    if a.dtype is not torch.int64:
        return _shift_down(unsigned(a), unsigned(b), a.element_size() * 8).to(a.dtype)
    mask = 0xFFFFFFFF
    a_low, a_high = a & mask, (a >> 32) & mask
    b_low, b_high = b & mask, (b >> 32) & mask
    cross = a_high * b_low + ((a_low * b_low) >> 32 & mask)
    second = a_low * b_high + (cross & mask)
    return a_high * b_high + (cross >> 32 & mask) + (second >> 32 & mask)


def _shift_down(a: Tensor, b: Tensor, bits: int) -> Tensor:
    return (a * b) >> bits


@handler("arith.mului_extended", "arith.mulsi_extended")
def mul_extended(op: Op) -> Step:
    a, b = op.operands
    low, high = op.results
    is_signed = "mulsi" in op.name

    def step(frame: Frame) -> None:
        x, y = frame.slots[a], frame.slots[b]
        upper = mulhiui(x, y)
        if is_signed:
            upper = upper - torch.where(x < 0, y, 0) - torch.where(y < 0, x, 0)
        frame.slots[low], frame.slots[high] = x * y, upper

    return step


@handler("arith.addui_extended")
def add_extended(op: Op) -> Step:
    a, b = op.operands
    total, carry = op.results

    def step(frame: Frame) -> None:
        x, y = frame.slots[a], frame.slots[b]
        frame.slots[total] = x + y
        frame.slots[carry] = unsigned_order(x + y) < unsigned_order(x)

    return step
