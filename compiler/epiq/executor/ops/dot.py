"""Matrix products.

Each program's product is one `torch.mm` in f64 of the exact operands, so the result depends on the
tile's shape alone and hardly on the order within it; the accumulator is added in f64 and the sum is
rounded once to its type. Integer products are exact and wrap. `maxNumImpreciseAcc` is not looked at.

Operands in f32 are used as they are with `inputPrecision = ieee`, tf32x3, bf16x3 and bf16x6 (all of
which approach f32); with `tf32` their last 13 bits are cut off, as tensor cores do.
"""

from __future__ import annotations

import torch
from torch import Tensor

from epiq.executor import floats
from epiq.executor.frame import Frame
from epiq.executor.registry import Op, Step, handler
from epiq.executor.types import Element

_PRECISION = {0: "tf32", 1: "tf32x3", 2: "ieee", 3: "bf16x3", 4: "bf16x6"}
_KINDS = {0: "e4m3", 1: "e5m2", 2: "e2m3", 3: "e3m2", 4: "e2m1", 5: "bf16", 6: "fp16"}
_DTYPES = {
    "e4m3": torch.float8_e4m3fn,
    "e5m2": torch.float8_e5m2,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """Products of (b1, ..., M, K) and (b2, ..., K, N) f64 tensors; b1, b2 are 1 or the batch."""
    batch = max(a.shape[0], b.shape[0])
    middle = a.shape[1:-2]
    a, b = a.reshape(a.shape[0], -1, *a.shape[-2:]), b.reshape(b.shape[0], -1, *b.shape[-2:])
    result = torch.empty((batch, a.shape[1], a.shape[-2], b.shape[-1]), dtype=torch.float64)
    for row in range(batch):
        left, right = a[row if a.shape[0] > 1 else 0], b[row if b.shape[0] > 1 else 0]
        for inner in range(a.shape[1]):
            torch.mm(left[inner].contiguous(), right[inner].contiguous(), out=result[row, inner])
    return result.reshape(batch, *middle, *result.shape[-2:])


def accumulate(product: Tensor, accumulator: Tensor, element: Element) -> Tensor:
    """product + accumulator, rounded once to the accumulator's type."""
    if not element.is_float:
        return (product.to(torch.int64) + accumulator).to(element.dtype)
    total = product + accumulator.to(torch.float64)
    return total if element.name == "f64" else floats.narrow(total, element)


@handler("tt.dot")
def dot(op: Op) -> Step:
    a, b, c = op.operands[:3]
    kind_a, kind_b = op.operand_types[0].element, op.operand_types[1].element
    element, result = op.element, op.results[0]
    precision = op.enum("inputPrecision", _PRECISION, "ieee")

    def exact(value: Tensor, kind: Element) -> Tensor:
        if kind.name == "f32" and precision == "tf32":
            value = (value.contiguous().view(torch.int32) & ~0x1FFF).view(torch.float32)
        return floats.widen(value, kind, torch.float64)

    def step(frame: Frame) -> None:
        slots = frame.slots
        product = multiply(exact(slots[a], kind_a), exact(slots[b], kind_b))
        slots[result] = accumulate(product, slots[c], element)

    return step


@handler("tt.dot_scaled")
def dot_scaled(op: Op) -> Step:
    """Operands times their scales, exact in f64, then a product as in `tt.dot`.

    A scale covers K / (its size along K) elements. i8 scales are ue8m0 bytes (255 is NaN), float scales
    are values. e2m1 is packed in pairs along K, or along M and N where `lhs_k_pack`, `rhs_k_pack` are
    false.
    """
    (a,), (b,), (c,), a_scale, b_scale = op.segments(5)
    kinds = dict(zip(op.operands, op.operand_types, strict=True))
    forms = (op.enum("a_elem_type", _KINDS), op.enum("b_elem_type", _KINDS))
    packed_along_k = (
        op.flag("lhs_k_pack") if "lhs_k_pack" in op.attributes else True,
        op.flag("rhs_k_pack") if "rhs_k_pack" in op.attributes else True,
    )
    for form in forms:
        if form != "e2m1" and form not in _DTYPES:
            raise op.unsupported(f"operands of type {form}")
    element, result = op.element, op.results[0]

    def values(value: Tensor, form: str, k_dim: int, other_dim: int, along_k: bool) -> Tensor:
        if form == "e2m1":
            return floats.split_e2m1(value, k_dim if along_k else other_dim, torch.float64)
        dtype = _DTYPES[form]
        if value.dtype != dtype:
            value = value.contiguous().view(dtype)
        return value.to(torch.float32).to(torch.float64)

    def scaled(value: Tensor, scale: Tensor | None, k_dim: int, kind: Element | None) -> Tensor:
        """scale: (b, ..., rows, K / group), its last dimension along K for both operands."""
        if scale is None or kind is None:
            return value
        factors = _scale_values(scale, kind)
        if k_dim == value.dim() - 2:
            factors = factors.transpose(-1, -2)
        group = value.shape[k_dim] // factors.shape[k_dim]
        return value * factors.repeat_interleave(group, k_dim)

    def step(frame: Frame) -> None:
        slots = frame.slots
        rank = slots[a].dim()
        left = values(slots[a], forms[0], rank - 1, rank - 2, packed_along_k[0])
        right = values(slots[b], forms[1], rank - 2, rank - 1, packed_along_k[1])
        if a_scale:
            left = scaled(left, slots[a_scale[0]], rank - 1, kinds[a_scale[0]].element)
        if b_scale:
            right = scaled(right, slots[b_scale[0]], rank - 2, kinds[b_scale[0]].element)
        slots[result] = accumulate(multiply(left, right), slots[c], element)

    return step


def _scale_values(scale: Tensor, kind: Element) -> Tensor:
    if kind.is_float:
        return floats.widen(scale, kind, torch.float64)
    byte = scale.to(torch.int64) & 255
    value = torch.ldexp(torch.ones(byte.shape, dtype=torch.float64), byte - 127)
    return torch.where(byte == 255, torch.nan, value)
