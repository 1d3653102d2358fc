"""Runs graph-level IR with torch, op by op: what an import means, apart from any lowering."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from epiq import ir

TYPES = {
    "f64": torch.float64, "f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16,
    "f8E4M3FN": torch.float8_e4m3fn, "f8E5M2": torch.float8_e5m2, "f8E8M0FNU": torch.float8_e8m0fnu,
    "i64": torch.int64, "i32": torch.int32, "i16": torch.int16, "i8": torch.int8, "i1": torch.bool,
}  # fmt: skip

_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "arith.negf": torch.neg, "math.absf": torch.abs, "math.absi": torch.abs, "math.exp": torch.exp,
    "math.exp2": torch.exp2, "math.log2": torch.log2, "math.sqrt": torch.sqrt, "math.rsqrt": torch.rsqrt,
    **{f"math.{name}": getattr(torch, name) for name in (
        "acos", "asin", "atan", "cos", "cosh", "erf", "erfc", "expm1", "log", "log10", "log1p", "sin", "sinh",
        "tan", "tanh", "trunc",
    )},
    "math.floor": torch.floor, "math.ceil": torch.ceil, "math.roundeven": torch.round,
}  # fmt: skip
_BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "arith.addf": torch.add, "arith.addi": torch.add, "arith.subf": torch.sub, "arith.subi": torch.sub,
    "arith.mulf": torch.mul, "arith.muli": torch.mul, "arith.divf": torch.div,
    "arith.maximumf": torch.maximum, "arith.minimumf": torch.minimum,
    "math.powf": torch.pow,
    "arith.maxsi": torch.maximum, "arith.minsi": torch.minimum,
    "arith.andi": torch.bitwise_and, "arith.ori": torch.bitwise_or, "arith.xori": torch.bitwise_xor,
    "arith.shli": torch.bitwise_left_shift, "arith.shrsi": torch.bitwise_right_shift,
}  # fmt: skip
_UNSIGNED = {"arith.maxui": "arith.maxsi", "arith.minui": "arith.minsi", "arith.shrui": "arith.shrsi"}
_RELATIONS = {"eq": torch.eq, "ne": torch.ne, "lt": torch.lt, "le": torch.le, "gt": torch.gt, "ge": torch.ge}
_REDUCTIONS = {"sum": torch.sum, "max": torch.amax, "min": torch.amin}
_CMPF = ("false", "oeq", "ogt", "oge", "olt", "ole", "one", "ord", "ueq", "ugt", "uge", "ult", "ule", "une")
_CMPI = ("eq", "ne", "slt", "sle", "sgt", "sge", "ult", "ule", "ugt", "uge")


def evaluate(text: str, inputs: Sequence[Tensor], sizes: Sequence[int] = ()) -> list[Tensor]:
    """The results of `@graph` for `inputs`. sizes: what a `?` of a broadcast or reshape stands for."""
    module = ir.parse(text)
    block = module.body.operations[0].operation.regions[0].blocks[0]
    # The IR's integers have no sign; torch's bytes do.
    given = [x.view(torch.int8) if x.dtype == torch.uint8 else x for x in inputs]
    values: dict[Any, Tensor] = dict(zip(block.arguments, given, strict=True))
    for op in block.operations:
        operation = op.operation
        operands = [values[value] for value in operation.operands]
        if operation.name in ("func.return", "return"):
            return operands
        values[operation.results[0]] = _run(operation, operands, tuple(sizes))
    raise AssertionError("the function has no return")


def _run(op: Any, x: list[Tensor], sizes: tuple[int, ...]) -> Tensor:
    name = op.name
    dtype, shape = _type(op.results[0].type)
    if name in _UNARY:
        return _UNARY[name](x[0])
    if name in _BINARY:
        return _BINARY[name](x[0], x[1])
    if name in _UNSIGNED:
        wide = [_unsigned(value) for value in x]
        return _BINARY[_UNSIGNED[name]](*wide).to(dtype)
    if name == "arith.constant":
        return _constant(str(op.attributes["value"]), dtype)
    if name == "arith.select":
        return torch.where(x[0], x[1], x[2])
    if name == "arith.cmpf":
        relation = _CMPF[op.attributes["predicate"].value]
        assert relation[0] == "o" or relation == "une"
        return _RELATIONS[relation[1:]](x[0], x[1])
    if name == "arith.cmpi":
        relation = _CMPI[op.attributes["predicate"].value]
        if relation[0] == "u":
            x = [_unsigned(value) for value in x]
        return _RELATIONS[relation.removeprefix("s").removeprefix("u")](x[0], x[1])
    if name in ("arith.extf", "arith.truncf", "arith.sitofp", "arith.fptosi", "arith.extsi", "arith.trunci"):
        return x[0].to(dtype)
    if name in ("arith.extui", "arith.uitofp"):
        return _unsigned(x[0]).to(dtype)
    if name == "arith.fptoui":
        return x[0].to(torch.int64).to(dtype)
    if name == "arith.bitcast":
        return x[0].view(dtype)
    return _run_epiq(op, x[0], _sized(shape, x[0], sizes))


def _run_epiq(op: Any, x: Tensor, shape: tuple[int, ...]) -> Tensor:
    name, attributes = op.name, op.attributes
    if name == "epiq.broadcast":
        return x.expand(shape)
    if name == "epiq.reshape":
        return x.reshape(shape)
    if name == "epiq.transpose":
        return x.permute(list(attributes["perm"]))
    if name == "epiq.contiguous":
        return x.contiguous()
    if name == "epiq.relayout":
        return x.t().contiguous().t()
    if name == "epiq.slice":
        begin, end = attributes["begin"].value, attributes["end"].value
        return x.narrow(attributes["dim"].value, begin, end - begin)
    assert name == "epiq.reduce", name
    kind = re.search(r"reduce_kind (\w+)", str(attributes["kind"]))
    assert kind is not None
    return _REDUCTIONS[kind[1]](x, dim=list(attributes["dims"]), keepdim="keep" in attributes)


def _type(type_: Any) -> tuple[torch.dtype, tuple[int | None, ...]]:
    match = re.fullmatch(r"tensor<((?:(?:\?|\d+)x)*)(\w+)>", str(type_))
    assert match is not None, str(type_)
    dims = match[1].split("x")[:-1]
    return TYPES[match[2]], tuple(None if dim == "?" else int(dim) for dim in dims)


def _sized(shape: tuple[int | None, ...], x: Tensor, sizes: tuple[int, ...]) -> tuple[int, ...]:
    unknown = iter(sizes)
    return tuple(next(unknown) if size is None else size for size in shape)


def _constant(text: str, dtype: torch.dtype) -> Tensor:
    match = re.match(r"dense<([^>]+)>", text)
    assert match is not None, text
    if match[1] in ("true", "false"):
        return torch.tensor(match[1] == "true")
    if match[1].startswith("0x"):
        bits = int(match[1], 16)
        width = dtype.itemsize * 8
        signed = bits - (1 << width) if bits >> (width - 1) else bits
        holder = {8: torch.int8, 16: torch.int16, 32: torch.int32, 64: torch.int64}[width]
        return torch.tensor(signed, dtype=holder).view(dtype)
    return torch.tensor(float(match[1]) if dtype.is_floating_point else int(match[1]), dtype=dtype)


def _unsigned(x: Tensor) -> Tensor:
    if x.dtype == torch.bool:
        return x.to(torch.int64)
    return x.to(torch.int64) & ((1 << (x.dtype.itemsize * 8)) - 1)
