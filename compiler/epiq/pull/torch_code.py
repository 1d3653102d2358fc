"""A row program as the torch function that it is: what a pulled quantization is to torch."""

from __future__ import annotations

import linecache
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from epiq import ir
from epiq.errors import UnsupportedError

_DTYPES = {
    "f32": "float32", "f16": "float16", "bf16": "bfloat16",
    "f8E4M3FN": "float8_e4m3fn", "f8E5M2": "float8_e5m2",
    "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64",
}  # fmt: skip
_OPERATORS = {
    "addf": "+", "subf": "-", "mulf": "*", "divf": "/", "addi": "+", "subi": "-", "muli": "*",
    "andi": "&", "ori": "|", "xori": "^",
}  # fmt: skip
_BOUNDS = {
    "maximumf": ("clamp", "min", "maximum"), "minimumf": ("clamp", "max", "minimum"),
    "maxsi": ("clamp", "min", "maximum"), "minsi": ("clamp", "max", "minimum"),
    "maxnumf": ("", "", "fmax"), "minnumf": ("", "", "fmin"),
}  # fmt: skip
_UNARY = {
    "absf": "abs", "absi": "abs", "roundeven": "round", "floor": "floor", "ceil": "ceil", "trunc": "trunc",
    "exp": "exp", "exp2": "exp2", "log": "log", "log2": "log2", "sqrt": "sqrt", "rsqrt": "rsqrt",
}  # fmt: skip
_CASTS = ("extf", "truncf", "sitofp", "fptosi", "extsi", "trunci")
# MLIR's predicates of arith.cmpf; those that hold for NaN are the negation of one that does not.
_FLOAT_RELATIONS = {1: "==", 2: ">", 3: ">=", 4: "<", 5: "<=", 13: "!="}
_NEGATED_RELATIONS = {9: "<=", 10: "<", 11: ">=", 12: ">"}
_UNORDERED = 14
_INT_RELATIONS = {0: "==", 1: "!=", 2: "<", 3: "<=", 4: ">", 5: ">="}


@dataclass(frozen=True)
class TorchFunction:
    """fn: the function. source: its text. width: the elements that it takes together."""

    fn: Callable[..., Any]
    source: str
    width: int


def torch_function(text: str, givens: Sequence[str], results: Sequence[str], rows: int = 1) -> TorchFunction:
    """The torch function that computes the one row program in `text`.

    Args: givens: parameter names for the inputs after the first. results: names, for its docstring.
      rows: of the operand that are one row of the program, if they are several.
    Raises: UnsupportedError for an op that torch does not have.
    """
    source, width = _Writer(ir.parse(text), givens, results, rows).write()
    name = f"<quantize {hash(source) & 0xFFFFFFFF:08x}>"
    scope: dict[str, Any] = {"torch": torch}
    exec(compile(source, name, "exec"), scope)
    # Tracebacks show the lines.
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    return TorchFunction(scope["quantize"], source, width)


@dataclass(frozen=True)
class _Value:
    """A value of the program. text: an expression. number: what it is, if that is known.
    sizes: its dimensions behind the tokens' ones. shown: whether the expression has that shape, or one
    that broadcasts to it."""

    text: str
    dtype: str
    sizes: tuple[int, ...] = ()
    number: float | int | None = None
    per_token: bool = True
    shown: bool = True


@dataclass
class _Writer:
    module: Any
    givens: Sequence[str]
    results: Sequence[str]
    rows: int
    lines: list[str] = field(default_factory=list)
    values: dict[Any, _Value] = field(default_factory=dict)

    def write(self) -> tuple[str, int]:
        function = self.module.body.operations[0].operation
        program = next(
            op.operation
            for op in function.regions[0].blocks[0].operations
            if op.operation.name == "epiq.row_program"
        )
        block = program.regions[0].blocks[0]
        first, *others = block.arguments
        width = int(ir.ir.RankedTensorType(first.type).shape[1])
        self.values[first] = self._typed("y", first)
        for name, argument in zip(self.givens, others, strict=True):
            self.values[argument] = self._typed(name, argument)
            self.lines.append(f"if not isinstance({name}, torch.Tensor):")
            self.lines.append(f"    {name} = torch.full((), {name}, dtype=torch.float32, device=x.device)")
        whole = "x" if self.rows == 1 else "x.flatten(-2)"
        self.lines.append(f"y = {whole}.unflatten(-1, (-1, {width}))")
        self.lines.append("tokens = y.shape[:-1]")
        for op in block.operations:
            self._write(op.operation)
        parameters = ", ".join(("x", *self.givens))
        body = "".join(f"    {line}\n" for line in self.lines)
        return f"def quantize({parameters}):\n    {self._docstring(width)}\n{body}", width

    def _docstring(self, width: int) -> str:
        rows = f"{self.rows} rows of {width // self.rows}" if self.rows > 1 else f"rows of {width}"
        return f'"""{", ".join(self.results)} of {rows}, as the kernel computed them."""'

    def _typed(self, text: str, value: Any) -> _Value:
        dtype, sizes, per_token = self._type(value)
        return _Value(text, dtype, sizes, per_token=per_token)

    def _type(self, value: Any) -> tuple[str, tuple[int, ...], bool]:
        kind = ir.ir.RankedTensorType(value.type)
        sizes = [None if kind.is_dynamic_dim(i) else int(kind.shape[i]) for i in range(kind.rank)]
        per_token = bool(sizes) and sizes[0] is None
        return str(kind.element_type), tuple(int(n or 0) for n in sizes[per_token:]), per_token

    def _write(self, op: Any) -> None:
        if op.name == "epiq.yield":
            parts = [f"{self._shaped(self._read(v))}.flatten(-2)" for v in op.operands]
            if self.rows > 1:
                parts[0] += ".reshape(x.shape)"
            self.lines.append(f"return {', '.join(parts)}")
            return
        result = op.results[0]
        if op.name == "arith.constant":
            self.values[result] = self._constant(op)
            return
        if op.name == "epiq.broadcast":
            source = self._read(op.operands[0])
            dtype, sizes, per_token = self._type(result)
            self.values[result] = _Value(source.text, dtype, sizes, source.number, per_token, shown=False)
            return
        text = self._expression(op)
        name = f"t{len(self.lines)}"
        self.lines.append(f"{name} = {text}")
        self.values[result] = self._typed(name, result)

    def _read(self, value: Any) -> _Value:
        return self.values[value]

    def _constant(self, op: Any) -> _Value:
        dtype, sizes, per_token = self._type(op.results[0])
        splat = ir.ir.DenseElementsAttr(op.attributes["value"]).get_splat_value()
        number = splat.value
        text = (
            f'float("{number}")' if isinstance(number, float) and not math.isfinite(number) else repr(number)
        )
        return _Value(text, dtype, sizes, number, per_token, shown=False)

    def _expression(self, op: Any) -> str:
        kind = op.name.split(".", 1)[1]
        operands = [self._read(v) for v in op.operands]
        if kind in _OPERATORS:
            return f"{self._tensor(operands, 0)} {_OPERATORS[kind]} {operands[1].text}"
        if kind in _BOUNDS:
            return self._bound(kind, operands)
        if kind in _UNARY:
            return f"{self._tensor(operands, 0)}.{_UNARY[kind]}()"
        if kind == "negf":
            return f"-{self._tensor(operands, 0)}"
        if kind in _CASTS:
            return f"{self._tensor(operands, 0)}.to(torch.{self._dtype(op)})"
        if kind == "bitcast":
            return f"{self._tensor(operands, 0)}.view(torch.{self._dtype(op)})"
        if kind in ("cmpf", "cmpi"):
            return self._comparison(op, kind, operands)
        if kind == "select":
            chosen = [self._tensor(operands, i) if _same_kind(operands) else operands[i].text for i in (1, 2)]
            return f"torch.where({operands[0].text}, {chosen[0]}, {chosen[1]})"
        if kind == "reduce":
            return self._reduction(op, operands[0])
        if kind == "reshape":
            _, sizes, _ = self._type(op.results[0])
            return f"{self._shaped(operands[0])}.reshape({_shape(sizes)})"
        raise UnsupportedError(f"{op.name} of a pulled quantization has no counterpart in torch")

    def _dtype(self, op: Any) -> str:
        dtype = self._type(op.results[0])[0]
        if dtype not in _DTYPES:
            raise UnsupportedError(f"a pulled quantization makes values of {dtype}, which torch has not")
        return _DTYPES[dtype]

    def _tensor(self, operands: Sequence[_Value], index: int) -> str:
        """An operand as a tensor: a number may stand alone beside one, not by itself."""
        value = operands[index]
        if value.number is None:
            return value.text
        return f"torch.full((), {value.text}, dtype=torch.{_DTYPES[value.dtype]}, device=x.device)"

    def _shaped(self, value: _Value) -> str:
        """A value in its own shape, whatever it was broadcast from."""
        if value.shown:
            return value.text
        text = self._tensor([value], 0)
        return f"{text}.expand({_shape(value.sizes)})" if value.per_token else text

    def _bound(self, kind: str, operands: Sequence[_Value]) -> str:
        method, keyword, function = _BOUNDS[kind]
        if method and operands[1].number is not None and operands[0].number is None:
            return f"{operands[0].text}.{method}({keyword}={operands[1].text})"
        return f"torch.{function}({self._tensor(operands, 0)}, {self._tensor(operands, 1)})"

    def _comparison(self, op: Any, kind: str, operands: Sequence[_Value]) -> str:
        predicate = ir.ir.IntegerAttr(op.attributes["predicate"]).value
        lhs, rhs = self._tensor(operands, 0), operands[1].text
        relations = _FLOAT_RELATIONS if kind == "cmpf" else _INT_RELATIONS
        if predicate in relations:
            return f"{lhs} {relations[predicate]} {rhs}"
        if kind == "cmpf" and predicate in _NEGATED_RELATIONS:
            return f"~({lhs} {_NEGATED_RELATIONS[predicate]} {rhs})"
        if kind == "cmpf" and predicate == _UNORDERED and lhs == rhs:
            return f"{lhs}.isnan()"
        raise UnsupportedError(f"a comparison of a pulled quantization has no counterpart in torch: {op}")

    def _reduction(self, op: Any, source: _Value) -> str:
        names = {"max": "amax", "min": "amin"}
        name = names.get(str(op.attributes["kind"]).rstrip(">").rpartition(" ")[2])
        if name is None:
            raise UnsupportedError(f"a pulled quantization reduces otherwise than by max and min: {op}")
        rank = len(source.sizes) + 1
        dims = [int(dim) - rank for dim in ir.ir.DenseI64ArrayAttr(op.attributes["dims"])]
        keep = ", keepdim=True" if "keep" in op.attributes else ""
        return f"{self._shaped(source)}.{name}({dims[0] if len(dims) == 1 else dims}{keep})"


def _same_kind(operands: Sequence[_Value]) -> bool:
    """Whether both sides of a select are numbers, so that no tensor says their dtype."""
    return all(operand.number is not None for operand in operands[1:])


def _shape(sizes: Sequence[int]) -> str:
    return ", ".join(("*tokens", *map(str, sizes)))
