"""Writes graph-level IR as text, one op a line, each with the location of its FX node.

The value that a node stands for is defined by an op at `loc("add_3"("model.py":12:0))`; casts,
broadcasts and constants on the way to it are at `loc("add_3.aux"(..))`. A node that changes
nothing (a view of the same shape) writes no op: its value is its operand's.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from epiq.formats.layouts import ScaleLayout
from epiq.frontend.types import (
    BITS,
    Shape,
    element_type,
    is_float,
    is_signed,
    opmath_dtype,
    tensor_type,
)

_FLOAT_COMPARE = {"eq": "oeq", "ne": "une", "lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge"}
_ORDERED_INT_COMPARE = ("lt", "le", "gt", "ge")


@dataclass(frozen=True)
class Value:
    """An SSA value: its name, torch dtype (MLIR's type loses signedness) and shape."""

    name: str
    dtype: torch.dtype
    shape: Shape

    @property
    def type(self) -> str:
        return tensor_type(self.dtype, self.shape)


@dataclass
class _Line:
    """An op whose location may still be upgraded from `.aux` to its node's own name."""

    text: str
    node: str
    source: str
    is_aux: bool = True

    def render(self) -> str:
        name = f"{self.node}.aux" if self.is_aux else self.node
        return f"{self.text} {location(name, self.source)}"


def location(name: str, source: str) -> str:
    """`loc("name"("file.py":3:0))`, or `loc("name")` where the source line is unknown."""
    return f'loc("{name}"({source}))' if source else f'loc("{name}")'


class Emitter:
    """Builds the body of one function. `begin` names the FX node that the next ops belong to."""

    def __init__(self) -> None:
        self._lines: list[_Line] = []
        self._by_result: dict[str, _Line] = {}
        self._node = ""
        self._source = ""
        self._mark = 0

    def begin(self, node: str, source: str) -> None:
        self._node, self._source, self._mark = node, source, len(self._lines)

    def rollback(self) -> None:
        """Drops the ops of the node that is being written."""
        for line in self._lines[self._mark :]:
            self._by_result = {k: v for k, v in self._by_result.items() if v is not line}
        del self._lines[self._mark :]

    def finish(self, value: Value) -> Value:
        """Makes `value` the node's own: the op that defines it loses its `.aux`."""
        line = self._by_result.get(value.name)
        if line is not None and line.node == self._node:
            line.is_aux = False
        return value

    def rename(self, value: Value) -> Value:
        """Makes `value`, written for a node of several results, the current node's own."""
        line = self._by_result.get(value.name)
        if line is not None and line.is_aux:
            line.node, line.source, line.is_aux = self._node, self._source, False
        return value

    def render(self, indent: str = "    ") -> str:
        return "\n".join(indent + line.render() for line in self._lines)

    def op(self, text: str, dtype: torch.dtype, shape: Shape) -> Value:
        """Writes `%n = text`, an op with one result."""
        value = Value(f"%{len(self._lines)}", dtype, shape)
        line = _Line(f"{value.name} = {text}", self._node, self._source)
        self._lines.append(line)
        self._by_result[value.name] = line
        return value

    def extern(
        self, target: str, inputs: Sequence[Value], results: Sequence[tuple[torch.dtype, Shape]]
    ) -> list[Value]:
        """Writes an opaque node; its location is the node's own."""
        count = len(results)
        base = f"%{len(self._lines)}"
        types = ", ".join(tensor_type(dtype, shape) for dtype, shape in results)
        text = (
            f'epiq.extern "{target}"({", ".join(v.name for v in inputs)}) : '
            f"({', '.join(v.type for v in inputs)}) -> " + (types if count == 1 else f"({types})")
        )
        head = f"{base} = " if count == 1 else f"{base}:{count} = " if count else ""
        self._lines.append(_Line(head + text, self._node, self._source, is_aux=False))
        names = [base] if count == 1 else [f"{base}#{i}" for i in range(count)]
        return [Value(name, dtype, shape) for name, (dtype, shape) in zip(names, results, strict=True)]

    # Ops of the importer's vocabulary.

    def unary(self, op: str, x: Value) -> Value:
        return self.op(f"{op} {x.name} : {x.type}", x.dtype, x.shape)

    def binary(self, op: str, a: Value, b: Value) -> Value:
        assert (a.dtype, a.shape) == (b.dtype, b.shape), f"{op} of {a.type} and {b.type}"
        return self.op(f"{op} {a.name}, {b.name} : {a.type}", a.dtype, a.shape)

    def compare(self, relation: str, a: Value, b: Value) -> Value:
        """Compares as torch does: any comparison with NaN is false, `ne` is true."""
        if is_float(a.dtype):
            text = f"arith.cmpf {_FLOAT_COMPARE[relation]}"
        elif relation in _ORDERED_INT_COMPARE:
            text = f"arith.cmpi {'s' if is_signed(a.dtype) else 'u'}{relation}"
        else:
            text = f"arith.cmpi {relation}"
        return self.op(f"{text}, {a.name}, {b.name} : {a.type}", torch.bool, a.shape)

    def select(self, condition: Value, a: Value, b: Value) -> Value:
        return self.op(
            f"arith.select {condition.name}, {a.name}, {b.name} : {condition.type}, {a.type}",
            a.dtype,
            a.shape,
        )

    def constant(self, value: float | int | bool, dtype: torch.dtype) -> Value:
        """A 0-d constant; a float is rounded to `dtype` as torch rounds a Python number."""
        text = literal(value, dtype)
        return self.op(f"arith.constant dense<{text}> : {tensor_type(dtype, ())}", dtype, ())

    def splat(self, value: float | int | bool, dtype: torch.dtype, shape: Shape) -> Value:
        return self.broadcast(self.constant(value, dtype), shape)

    def broadcast(self, x: Value, shape: Shape) -> Value:
        if x.shape == shape:
            return x
        out = tensor_type(x.dtype, shape)
        return self.op(f"epiq.broadcast {x.name} : {x.type} to {out}", x.dtype, shape)

    def reshape(self, x: Value, shape: Shape) -> Value:
        out = tensor_type(x.dtype, shape)
        return self.op(f"epiq.reshape {x.name} : {x.type} to {out}", x.dtype, shape)

    def slice(self, x: Value, dim: int, begin: int, end: int) -> Value:
        shape = (*x.shape[:dim], end - begin, *x.shape[dim + 1 :])
        return self.op(
            f"epiq.slice {x.name} dim {dim} from {begin} to {end} : "
            f"{x.type} to {tensor_type(x.dtype, shape)}",
            x.dtype,
            shape,
        )

    def transpose(self, x: Value, perm: Sequence[int]) -> Value:
        shape = tuple(x.shape[d] for d in perm)
        return self.op(
            f"epiq.transpose {x.name} perm [{', '.join(map(str, perm))}] : "
            f"{x.type} to {tensor_type(x.dtype, shape)}",
            x.dtype,
            shape,
        )

    def contiguous(self, x: Value) -> Value:
        return self.op(f"epiq.contiguous {x.name} : {x.type}", x.dtype, x.shape)

    def relayout(self, x: Value, layout: ScaleLayout, dtype: torch.dtype | None = None) -> Value:
        """`x`, rows by groups, in a layout: a tensor of the shape of its memory, and of `dtype`."""
        rows, groups = x.shape[-2:]
        assert groups is not None, "rows of scales have a static width"
        shape = x.shape
        if layout.word > 1:
            shape = (*x.shape[:-1], -(-groups // layout.word))
        if layout.tile is not None:
            columns = -(-groups // layout.tile[1]) * layout.tile[1]
            shape = (None if rows is None else -(-rows // layout.tile[0]) * layout.tile[0] * columns,)
        out = tensor_type(dtype or x.dtype, shape)
        return self.op(
            f"epiq.relayout {x.name} to {layout.name} : {x.type} to {out}", dtype or x.dtype, shape
        )

    def concat(self, parts: Sequence[Value], dim: int) -> Value:
        first = parts[0]
        size = sum(part.shape[dim] or 0 for part in parts)
        shape = (*first.shape[:dim], size, *first.shape[dim + 1 :])
        names, types = ", ".join(p.name for p in parts), ", ".join(p.type for p in parts)
        out = tensor_type(first.dtype, shape)
        return self.op(f"epiq.concat {names} dim {dim} : {types} to {out}", first.dtype, shape)

    def gather_rows(self, table: Value, index: Value) -> Value:
        shape = (*index.shape, *table.shape[1:])
        out = tensor_type(table.dtype, shape)
        text = f"epiq.gather_rows {table.name}[{index.name}] : {table.type}[{index.type}] to {out}"
        return self.op(text, table.dtype, shape)

    def scatter_rows(self, rows: Value, buffer: Value, index: Value) -> Value:
        text = (
            f"epiq.scatter_rows {rows.name} into {buffer.name}[{index.name}]"
            f" : {rows.type} into {buffer.type}[{index.type}]"
        )
        return self.op(text, buffer.dtype, buffer.shape)

    def reduce(self, kind: str, x: Value, dims: Sequence[int], keep: bool) -> Value:
        kept = tuple(1 if d in dims else size for d, size in enumerate(x.shape))
        shape = kept if keep else tuple(s for d, s in enumerate(x.shape) if d not in dims)
        return self.op(
            f"epiq.reduce {kind} {x.name} dims [{', '.join(map(str, dims))}]"
            f"{' keep' if keep else ''} : {x.type} to {tensor_type(x.dtype, shape)}",
            x.dtype,
            shape,
        )

    def bitcast(self, x: Value, dtype: torch.dtype) -> Value:
        """Reinterprets bits; both types have one width."""
        if element_type(x.dtype) == element_type(dtype):
            return Value(x.name, dtype, x.shape)
        return self._cast_op("arith.bitcast", x, dtype)

    def cast(self, x: Value, dtype: torch.dtype) -> Value:
        """Converts as `Tensor.to(dtype)` does: to nearest even, floats to integers toward zero."""
        if x.dtype == dtype:
            return x
        if dtype == torch.bool:
            return self.compare("ne", x, self.splat(0, x.dtype, x.shape))
        if is_float(x.dtype):
            return self._cast_float(x, dtype)
        if is_float(dtype):
            wide = opmath_dtype(dtype)
            op = "arith.sitofp" if is_signed(x.dtype) else "arith.uitofp"
            return self.cast(self._cast_op(op, x, wide), dtype)
        if BITS[dtype] == BITS[x.dtype] and x.dtype != torch.bool:
            return Value(x.name, dtype, x.shape)
        if x.dtype != torch.bool and BITS[dtype] < BITS[x.dtype]:
            return self._cast_op("arith.trunci", x, dtype)
        op = "arith.extsi" if is_signed(x.dtype) else "arith.extui"
        return self._cast_op(op, x, dtype)

    def _cast_float(self, x: Value, dtype: torch.dtype) -> Value:
        wide = opmath_dtype(x.dtype)
        if wide != x.dtype:
            # Between two small floats, and from one to an integer, torch goes by f32.
            return self.cast(self._cast_op("arith.extf", x, wide), dtype)
        if not is_float(dtype):
            op = "arith.fptosi" if is_signed(dtype) else "arith.fptoui"
            return self._cast_op(op, x, dtype)
        if dtype == torch.float64:
            return self._cast_op("arith.extf", x, dtype)
        if x.dtype == torch.float64 and dtype != torch.float32:
            x = self._cast_op("arith.truncf", x, torch.float32)
        return self._cast_op("arith.truncf", x, dtype)

    def _cast_op(self, op: str, x: Value, dtype: torch.dtype) -> Value:
        out = tensor_type(dtype, x.shape)
        return self.op(f"{op} {x.name} : {x.type} to {out}", dtype, x.shape)


def literal(value: float | int | bool, dtype: torch.dtype) -> str:
    """`value` as MLIR writes an element of `dtype`, exactly."""
    if dtype == torch.bool:
        return "true" if value else "false"
    if not is_float(dtype):
        return str(int(value))
    if not math.isfinite(value):
        return _bits(value, dtype)
    # By its text, in which -0.0 differs from 0.0.
    return _finite(repr(float(value)), dtype)


@lru_cache(maxsize=4096)
def _finite(number: str, dtype: torch.dtype) -> str:
    # Tracing runs under a fake mode, in which arithmetic on a number takes a hundred times as long.
    with torch._subclasses.fake_tensor.unset_fake_temporarily():
        rounded = torch.tensor(float(number), dtype=torch.float64).to(dtype).to(torch.float64).item()
        if not math.isfinite(rounded):
            return _bits(float(number), dtype)
    text = repr(rounded)
    if "e" in text and "." not in text:
        text = text.replace("e", ".0e")
    return text


def _bits(value: float, dtype: torch.dtype) -> str:
    """Infinities and NaN have no decimal spelling in MLIR."""
    if dtype == torch.float64:
        return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"
    views = {1: torch.uint8, 2: torch.int16, 4: torch.int32}
    bits = torch.tensor(value, dtype=dtype).view(views[dtype.itemsize]).item()
    width = dtype.itemsize * 8
    return f"0x{int(bits) & ((1 << width) - 1):0{width // 4}X}"
