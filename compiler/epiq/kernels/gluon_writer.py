"""Triton IR of a fused tile as the source of a Gluon function; gluon_epilogue.py says what for.

Only layouts are new. What comes from the tile keeps the layout of the tile, as far as Gluon infers it.
Addresses and masks come from ranges, which have the layout that their use asks for: that in which a tile
goes to memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from epiq import ir
from epiq.errors import UnsupportedError

_WARPS, _THREADS = 4, 32
_STORE_BYTES = 16
# The arguments of the fused tile, as the Gluon function calls them; the epilogue's follow. See `_tile`.
_SCALARS = ("", "", "row", "M", "N", "")
_PROGRAM_IDS = ("block",)
_TILE_ARGUMENT = 0


def write(text: str, half: int = 0) -> str:
    """The source of the function, with the functions that its reductions need."""
    module = ir.parse(text)
    kernel = module.body.operations[0].operation
    return _Writer(kernel.regions[0].blocks[0], half).source()


_TYPES = {
    "bf16": "gl.bfloat16",
    "f16": "gl.float16",
    "f32": "gl.float32",
    "f8E4M3FN": "gl.float8e4nv",
    "f8E5M2": "gl.float8e5",
    "i1": "gl.int1",
    "i8": "gl.int8",
    "i32": "gl.int32",
    "i64": "gl.int64",
}
_BITS = {"bf16": 16, "f16": 16, "f32": 32, "f8E4M3FN": 8, "f8E5M2": 8, "i8": 8, "i32": 32}
_BINARY = {
    "arith.addf": "{0} + {1}",
    "arith.subf": "{0} - {1}",
    "arith.mulf": "{0} * {1}",
    "arith.divf": "{0} / {1}",
    "arith.addi": "{0} + {1}",
    "arith.subi": "{0} - {1}",
    "arith.muli": "{0} * {1}",
    "arith.divsi": "{0} // {1}",
    "arith.remsi": "{0} % {1}",
    "arith.andi": "{0} & {1}",
    "arith.ori": "{0} | {1}",
    "arith.minsi": "gl.minimum({0}, {1})",
    "arith.maxsi": "gl.maximum({0}, {1})",
    "arith.maximumf": "gl.maximum({0}, {1}, propagate_nan=ALL)",
    "arith.minimumf": "gl.minimum({0}, {1}, propagate_nan=ALL)",
    "arith.maxnumf": "gl.maximum({0}, {1})",
    "arith.minnumf": "gl.minimum({0}, {1})",
    "tt.addptr": "{0} + {1}",
    "tt.precise_divf": "gl.div_rn({0}, {1})",
}
_OTHERS = {
    "math.absf": "gl.abs({0})",
    "math.exp": "gl.exp({0})",
    "math.exp2": "gl.exp2({0})",
    "math.log": "gl.log({0})",
    "math.log2": "gl.log2({0})",
    "math.rsqrt": "gl.rsqrt({0})",
    "math.sqrt": "gl.sqrt({0})",
    "math.erf": "gl.erf({0})",
    "math.floor": "gl.floor({0})",
    "math.fma": "gl.fma({0}, {1}, {2})",
    "tt.precise_sqrt": "gl.sqrt_rn({0})",
    "arith.select": "gl.where({0}, {1}, {2})",
}
_CASTS = (
    "arith.extf",
    "arith.truncf",
    "tt.fp_to_fp",
    "arith.extsi",
    "arith.trunci",
    "arith.sitofp",
    "arith.fptosi",
)
_COMPARE_INTS = {0: "==", 1: "!=", 2: "<", 3: "<=", 4: ">", 5: ">="}
_COMPARE_FLOATS = {1: "==", 2: ">", 3: ">=", 4: "<", 5: "<=", 13: "!="}
_COMBINES = {
    "arith.maximumf": "gl.maximum(a, b, propagate_nan=ALL)",
    "arith.maxnumf": "gl.maximum(a, b)",
    "arith.minimumf": "gl.minimum(a, b, propagate_nan=ALL)",
    "arith.addf": "a + b",
}
# The layout that a tile has in the kernel.
_OF_TILE = "LAYOUT"


class _Writer:
    """Writes the ops of a block, stores in order and what they need before them."""

    def __init__(self, block: Any, half: int) -> None:
        self.block = block
        self.half = half
        self.lines: list[str] = []
        self.names: dict[tuple[Any, str], str] = {}
        self.values: dict[Any, bool] = {}
        self.combines: dict[str, str] = {}

    def source(self) -> str:
        for op in self.block.operations:
            if op.operation.name == "tt.store":
                self._store(op.operation)
        functions = "".join(
            f"@gluon.jit\ndef {name}(a, b):\n    return {text}\n\n\n" for text, name in self.combines.items()
        )
        body = "".join(f"    {line}\n" for line in self.lines)
        return (
            f"{functions}@gluon.jit\ndef epilogue(y, other, row, block, M, N, extras):\n"
            f"    {_OF_TILE}: gl.constexpr = y.type.layout\n{body}"
        )

    def _store(self, op: Any) -> None:
        pointer, value, *mask = op.operands
        shape = _shape(value.type)
        if len(shape) != 2:
            raise UnsupportedError(f"a store of rank {len(shape)} has no form in an epilogue in Gluon")
        place = _memory_layout(shape, _element(value.type), _is_column_major(pointer))
        stored = f"gl.convert_layout({self.value(value)}, {place})"
        where = f", mask={self.at(mask[0], place)}" if mask else ""
        self.lines.append(f"gl.store({self.at(pointer, place)}, {stored}{where})")

    # Whether a value comes from the tile or from memory, and so has a layout of its own.
    def is_value(self, value: Any) -> bool:
        if value not in self.values:
            owner = _owner(value)
            self.values[value] = owner is not None and (
                owner.name == "tt.load" or any(self.is_value(operand) for operand in owner.operands)
            )
        return self.values[value]

    def value(self, value: Any) -> str:
        """The name of a value that comes from the tile; numbers stand for themselves."""
        if not self.is_value(value):
            return self.at(value, _OF_TILE)
        key = (value, "")
        if key not in self.names:
            self.names[key] = self._name(self._computed(value, _owner(value)))
        return self.names[key]

    def at(self, value: Any, place: str) -> str:
        """A value made of ranges and scalars, in the layout `place`; a splat is its scalar."""
        if self.is_value(value):
            raise UnsupportedError("an epilogue in Gluon has no addresses that depend on values")
        key = (value, place if _shape(value.type) else "")
        if key not in self.names:
            self.names[key] = self._placed(value, place)
        return self.names[key]

    def _placed(self, value: Any, place: str) -> str:
        op = _owner(value)
        if op is None:
            return self._argument(value.arg_number)
        if op.name == "arith.constant":
            return _constant(op.attributes["value"])
        if op.name == "tt.get_program_id":
            return _PROGRAM_IDS[op.attributes["axis"].value]
        operands = list(op.operands)
        if op.name in ("tt.splat", "tt.broadcast"):
            return self.at(operands[0], place)
        if op.name == "tt.make_range":
            return self._name(f"gl.arange(0, {_shape(value.type)[0]}, {place})")
        if op.name == "tt.expand_dims":
            axis = op.attributes["axis"].value
            inner = self.at(operands[0], f"gl.SliceLayout({axis}, {place})")
            if not _is_tensor_name(inner, operands[0]):
                return inner
            return self._name(f"gl.expand_dims({inner}, {axis})")
        return self._name(self._elementwise(op, [self.at(operand, place) for operand in operands]))

    def _argument(self, number: int) -> str:
        if number >= len(_SCALARS):
            return f"extras[{number - len(_SCALARS)}]"
        if not _SCALARS[number]:
            raise UnsupportedError("an epilogue in Gluon does not know the address of the tile")
        return _SCALARS[number]

    def _computed(self, value: Any, op: Any) -> str:
        shape = _shape(value.type)
        if op.name == "tt.load":
            return self._loaded(op)
        if op.name == "tt.split":
            return f"gl.reshape({self._half(value, op)}, {shape})"
        operands = list(op.operands)
        if op.name == "tt.reshape":
            return f"gl.reshape({self.value(operands[0])}, {shape})"
        if op.name == "tt.expand_dims":
            return f"gl.expand_dims({self.value(operands[0])}, {op.attributes['axis'].value})"
        if op.name == "tt.broadcast":
            inner = self.value(operands[0])
            return f"gl.broadcast({inner}, gl.full({shape}, 0, gl.int32, {inner}.type.layout))[0]"
        if op.name == "tt.reduce":
            axis = op.attributes["axis"].value
            return f"gl.reduce({self.value(operands[0])}, {axis}, {self._combine(op)})"
        if op.name == "arith.select" and not self.is_value(operands[0]):
            chosen = [self.value(operand) for operand in operands[1:]]
            mask = self.at(operands[0], _OF_TILE)
            return f"gl.where({mask}, {chosen[0]}, {chosen[1]})"
        return self._elementwise(op, [self.value(operand) for operand in operands])

    def _loaded(self, op: Any) -> str:
        pointer, *rest = op.operands
        if _is_tile(op):
            if self.half:
                raise UnsupportedError(
                    "an epilogue of gate and up in Gluon reads its halves, not the whole tile"
                )
            return "y"
        kind = op.results[0].type
        place = _memory_layout(_shape(kind), _element(kind), _is_column_major(pointer))
        arguments = [self.at(pointer, place)]
        if rest:
            arguments.append(f"mask={self.at(rest[0], place)}")
        if len(rest) > 1:
            arguments.append(f"other={self.at(rest[1], place)}")
        return f"gl.convert_layout(gl.load({', '.join(arguments)}), {_OF_TILE})"

    def _half(self, value: Any, op: Any) -> str:
        """One of the two halves of the tile, which the kernel has apart."""
        source = _owner(op.operands[0])
        for name in ("tt.trans", "tt.reshape"):
            if source is None or source.name != name:
                raise UnsupportedError("an epilogue in Gluon splits nothing but its tile")
            if name == "tt.reshape" and _shape(source.results[0].type)[-1] != self.half:
                raise UnsupportedError(f"gate and up alternate every {self.half} columns in Gluon")
            source = _owner(source.operands[0])
        if source is None or source.name != "tt.load" or not self.half:
            raise UnsupportedError("an epilogue in Gluon splits nothing but its tile")
        return "y" if value == op.results[0] else "other"

    def _combine(self, op: Any) -> str:
        inner = [each.operation.name for each in op.regions[0].blocks[0].operations]
        if len(inner) != 2 or inner[0] not in _COMBINES:
            raise UnsupportedError(f"a reduction by {', '.join(inner[:-1])} has no form in Gluon")
        text = _COMBINES[inner[0]]
        return self.combines.setdefault(text, f"combine_{len(self.combines)}")

    def _elementwise(self, op: Any, operands: Sequence[str]) -> str:
        template = _BINARY.get(op.name) or _OTHERS.get(op.name)
        if template is not None:
            return template.format(*operands)
        if op.name in _CASTS:
            return f"{operands[0]}.to({_TYPES[_element(op.results[0].type)]})"
        if op.name == "arith.cmpi" and op.attributes["predicate"].value in _COMPARE_INTS:
            return f"{operands[0]} {_COMPARE_INTS[op.attributes['predicate'].value]} {operands[1]}"
        if op.name == "arith.cmpf" and op.attributes["predicate"].value in _COMPARE_FLOATS:
            return f"{operands[0]} {_COMPARE_FLOATS[op.attributes['predicate'].value]} {operands[1]}"
        raise UnsupportedError(f"{op.name} has no form in an epilogue in Gluon")

    def _name(self, text: str) -> str:
        name = f"v{len(self.lines)}"
        self.lines.append(f"{name} = {text}")
        return name


def _owner(value: Any) -> Any:
    """The operation that defines a value, None for an argument."""
    if isinstance(value, ir.ir.BlockArgument):
        return None
    return value.owner


def _is_tile(load: Any) -> bool:
    """Whether a load reads the tile."""
    value = load.operands[0]
    while (op := _owner(value)) is not None:
        value = op.operands[0]
    return bool(value.arg_number == _TILE_ARGUMENT)


def _is_tensor_name(text: str, value: Any) -> bool:
    """Whether what stands for a tensor is one, and not the scalar that it was splat from."""
    op = _owner(value)
    return op is not None and op.name not in ("tt.splat", "arith.constant")


def _shape(kind: Any) -> list[int]:
    return list(kind.shape) if isinstance(kind, ir.ir.RankedTensorType) else []


def _element(kind: Any) -> str:
    return str(kind.element_type if isinstance(kind, ir.ir.RankedTensorType) else kind)


def _constant(attribute: Any) -> str:
    if isinstance(attribute, ir.ir.DenseElementsAttr):
        attribute = attribute.get_splat_value()
    number = attribute.value
    if isinstance(number, float) and not math.isfinite(number):
        return f'float("{number}")'
    return repr(number)


def _is_column_major(pointer: Any) -> bool:
    """Whether neighbours in a column are neighbours in memory, and those in a row are not."""
    return _unit_axes(pointer) == {0}


def _unit_axes(value: Any, axis: int = 0) -> set[int]:
    """The axes along which an address or an index goes by steps of one. axis: of a range in `value`."""
    op = _owner(value)
    if op is None:
        return set()
    if op.name == "tt.make_range":
        return {axis}
    if op.name == "tt.expand_dims":
        return _unit_axes(op.operands[0], 1 - op.attributes["axis"].value)
    if op.name in ("tt.addptr", "arith.addi", "tt.broadcast", "arith.extsi"):
        return set().union(*(_unit_axes(operand, axis) for operand in op.operands))
    return set()


def _memory_layout(shape: Sequence[int], element: str, column_major: bool) -> str:
    """The layout in which a tile goes to memory: 16 bytes of a row, or of a column, a thread; or, where it
    is narrow, a row.

    The tile's own layout would do, but there a thread has a narrow tile many times over, and each time is a
    store.
    """
    if shape[0] == 1:
        return f"gl.BlockedLayout([1, 1], [1, {_THREADS}], [1, {_WARPS}], [1, 0])"
    lanes = _STORE_BYTES * 8 // _BITS[element]
    if shape[1] < lanes:
        return f"gl.BlockedLayout([1, {shape[1]}], [{_THREADS}, 1], [{_WARPS}, 1], [1, 0])"
    if column_major:
        down = min(shape[0] // lanes, _THREADS)
        return f"gl.BlockedLayout([{lanes}, 1], [{down}, {_THREADS // down}], [1, {_WARPS}], [0, 1])"
    across = min(shape[1] // lanes, _THREADS)
    return f"gl.BlockedLayout([1, {lanes}], [{_THREADS // across}, {across}], [{_WARPS}, 1], [1, 0])"
