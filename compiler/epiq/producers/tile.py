"""A row program as an epilogue, as `epiq.fuse` and the Gluon writer take it: there is no function to trace.

A producer hands over tiles of its result as it makes it. How the program's inputs lie in that result is its
`Form`; the program itself is the same whatever the form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import torch

from epiq import ir
from epiq.frontend.types import ELEMENT_TYPES
from epiq.fuse import Epilogue
from epiq.fuse.describe import Description, Result
from epiq.ir import ir as mlir
from epiq.pipeline.program import RowProgram, TensorSpec
from epiq.pipeline.tensor_type import parse_tensor_type
from epiq.producers.errors import ProducerError

# How a program reads what its producer makes: "whole", one input, column for column; "halves", one input
# of which it reads the left and the right half; "pair", two inputs, two results side by side. In the last
# two forms a tile holds runs of columns of one half and of the other in turn.
Form = Literal["whole", "halves", "pair"]

_DTYPES = {name: dtype for dtype, name in ELEMENT_TYPES.items() if dtype != torch.uint8}
_BYTES = ("f8E8M0FNU",)
# Layouts that a tile's store can have: strides say how far rows or columns are apart.
_LAYOUTS = {"row_major": "row_major", "column_major": "column_major", "tma_aligned": "column_major"}


@dataclass(frozen=True)
class TileProgram:
    """A row program whose first inputs are a producer's result.

    form: how it reads them. with_bias: the tile is in f32, and the program's next input after the result is
    one value a column that is added before the tile is rounded to what the program reads.
    """

    program: RowProgram
    form: Form
    with_bias: bool = False

    def __post_init__(self) -> None:
        for spec in self.program.outputs:
            if spec.layout not in _LAYOUTS:
                raise ProducerError(f"P7: a result in layout {spec.layout} is not stored by tiles")
            if not spec.row_like:
                raise ProducerError("P7: a result that all rows share is not stored by tiles")

    @property
    def num_produced(self) -> int:
        return 2 if self.form == "pair" else 1

    @property
    def bias_dtype(self) -> torch.dtype:
        return dtype_of(self.program.inputs[0].dtype)

    @property
    def columns(self) -> int:
        """Columns of the tiles' matrix."""
        return self.num_produced * self.program.inputs[0].row_width

    @property
    def input_names(self) -> tuple[str, ...]:
        """Of the inputs after the result, the bias first where there is one."""
        count = len(self.program.inputs) - self.num_produced + self.with_bias
        return tuple(f"epilogue_in{index}" for index in range(count))

    @property
    def output_names(self) -> tuple[str, ...]:
        return tuple(f"epilogue_out{index}" for index in range(len(self.program.outputs)))

    def epilogue(self, run: int) -> ProgramEpilogue:
        """The epilogue for tiles; where the form is not "whole", their halves alternate every `run` columns.

        Raises: ProducerError, P6, where that does not divide the halves.
        """
        if self.form == "whole":
            return _epilogue(self, 0)
        if self.columns % (2 * run):
            raise ProducerError(f"P6: {self.columns // 2} columns are no whole runs of {run}")
        return _epilogue(self, run)


class ProgramEpilogue(Epilogue):
    """An epilogue that is given as IR. Two are equal that have equal IR."""

    def __init__(self, given: Description, inputs: tuple[str, ...]) -> None:
        object.__setattr__(self, "fn", self._refuse)
        object.__setattr__(self, "given", given)
        object.__setattr__(self, "inputs", inputs)
        object.__setattr__(self, "outputs", tuple(result.name for result in given.results))

    given: Description

    def description(self, dtype: torch.dtype, width: int) -> Description:
        if width != self.given.width:
            raise ValueError(f"the epilogue is for rows of {self.given.width} columns, got {width}")
        return self.given

    def _refuse(self, *tensors: Any) -> Any:
        raise AssertionError("an epilogue that is given as IR is no torch function")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ProgramEpilogue) and (self.given, self.inputs) == (other.given, other.inputs)

    def __hash__(self) -> int:
        return hash((self.given, self.inputs))

    def __repr__(self) -> str:
        return f"ProgramEpilogue({self.given.text!r})"


@lru_cache(256)
def _epilogue(tile: TileProgram, run: int) -> ProgramEpilogue:
    text = _text(tile, run)
    results = tuple(
        Result(name, _DTYPES[spec.dtype], spec.row_width, spec.dtype in _BYTES)
        for name, spec in zip(tile.output_names, tile.program.outputs, strict=True)
    )
    return ProgramEpilogue(Description(text, tile.columns, False, results), tile.input_names)


def halves_of(program: RowProgram, index: int) -> bool:
    """Whether a program reads its input number `index` as a left and a right half, and not otherwise.

    Raises: ProducerError, P2, for one that reads some other part of it.
    """
    module = ir.parse(program.ir, filename="<row program>")
    block = _program_op(module).regions[0].blocks[0]
    width = program.inputs[index].row_width
    found = _slices(block.arguments[index])
    if found is None:
        return False
    wanted = {(0, width // 2), (width // 2, width)}
    if width % 2 or {bounds for _, bounds in found} != wanted:
        parts = ", ".join(f"{begin} to {end}" for begin, end in sorted({bounds for _, bounds in found}))
        raise ProducerError(f"P2: the program reads columns {parts} of {width}, neither all nor two halves")
    return True


def _slices(argument: Any) -> list[tuple[Any, tuple[int, int]]] | None:
    """The slices of the last dimension that are all uses of a value, through reshapes that keep it.

    None where it has another use.
    """
    found: list[tuple[Any, tuple[int, int]]] = []
    last = argument.type.shape[-1]
    for use in argument.uses:
        op = use.owner.operation
        if op.name == "epiq.slice":
            rank = len(op.operands[0].type.shape)
            if op.attributes["dim"].value != rank - 1:
                return None
            found.append((op, (op.attributes["begin"].value, op.attributes["end"].value)))
        elif op.name == "epiq.reshape" and op.results[0].type.shape[-1] == last:
            inner = _slices(op.results[0])
            if inner is None:
                return None
            found += inner
        else:
            return None
    return found


def _text(tile: TileProgram, run: int) -> str:
    """A module with the program as epiq-fuse-epilogue takes it: the tile is its first input."""
    module = ir.parse(tile.program.ir, filename="<row program>")
    old = _program_op(module)
    with module.context, mlir.Location.unknown():
        block = old.regions[0].blocks[0]
        count = tile.num_produced
        produced, others = list(block.arguments)[:count], list(block.arguments)[count:]
        dtype, shape = parse_tensor_type(str(produced[0].type))
        wide = _tensor((*shape[:-1], count * (shape[-1] or 0)), "f32" if tile.with_bias else dtype)
        point = mlir.InsertionPoint.at_block_begin(block)
        first = block.add_argument(wide, mlir.Location.unknown())
        inputs = [first]
        value = first
        if tile.with_bias:
            bias = block.add_argument(_tensor((wide.shape[-1],), dtype), mlir.Location.unknown())
            inputs.append(bias)
            value = _with_bias(value, bias, dtype, point)
        if tile.form == "whole":
            _replace(produced[0], value)
        elif tile.form == "pair":
            for half, argument in enumerate(produced):
                _replace(argument, _half(value, argument.type, half, run, point))
        else:
            _replace_slices(produced[0], value, run, point)
        _bytes_as_such(block)
        return _program_text(tile, old, block, [*inputs, *others])


def _replace(old: Any, new: Any) -> None:
    old.replace_all_uses_with(new)


def _replace_slices(argument: Any, value: Any, run: int, point: Any) -> None:
    slices = _slices(argument)
    assert slices is not None, "halves_of has found them"
    for op, (begin, _) in slices:
        source = op.operands[0]
        half = _half(value, op.results[0].type, int(begin > 0), run, point)
        op.results[0].replace_all_uses_with(half)
        op.erase()
        while not list(source.uses) and not isinstance(source.owner, mlir.Block):
            maker = source.owner.operation
            source = maker.operands[0]
            maker.erase()


def _half(value: Any, kind: Any, half: int, run: int, point: Any) -> Any:
    """One half of the columns of `value`, where they alternate every `run`; of type `kind`."""
    dtype, shape = parse_tensor_type(str(value.type))
    pairs = (*shape[:-1], (shape[-1] or 0) // (2 * run), 2, run)
    wide = _op("epiq.reshape", [value], _tensor(pairs, dtype), point)
    index = mlir.IntegerType.get_signless(64)
    attributes = {
        name: mlir.IntegerAttr.get(index, number)
        for name, number in (("dim", len(pairs) - 2), ("begin", half), ("end", half + 1))
    }
    part = _op("epiq.slice", [wide], _tensor((*pairs[:-2], 1, run), dtype), point, attributes)
    return _op("epiq.reshape", [part], kind, point)


def _with_bias(value: Any, bias: Any, dtype: str, point: Any) -> Any:
    """value + bias in f32, rounded to `dtype`: the rounding point of addmm."""
    wide = value.type
    widened = _op("arith.extf", [bias], _tensor((wide.shape[-1],), "f32"), point) if dtype != "f32" else bias
    row = _op("epiq.broadcast", [widened], wide, point)
    total = _op("arith.addf", [value, row], wide, point)
    if dtype == "f32":
        return total
    _, shape = parse_tensor_type(str(wide))
    return _op("arith.truncf", [total], _tensor(shape, dtype), point)


def _bytes_as_such(block: Any) -> None:
    """Results of types that Triton lacks are yielded as bytes."""
    yielded = block.operations[len(block.operations) - 1].operation
    for index, value in enumerate(list(yielded.operands)):
        dtype, shape = parse_tensor_type(str(value.type))
        if dtype in _BYTES:
            point = mlir.InsertionPoint(yielded)
            yielded.operands[index] = _op("arith.bitcast", [value], _tensor(shape, "i8"), point)


def _program_text(tile: TileProgram, old: Any, block: Any, inputs: Sequence[Any]) -> str:
    """The text of the module; layouts are left open, as Description has them."""
    arguments = list(block.arguments)
    yielded = block.operations[len(block.operations) - 1].operation
    types = [str(value.type) for value in inputs]
    results = ", ".join(str(value.type) for value in yielded.operands)
    shell = f"module {{ func.func private @epilogue({', '.join(types)}) -> ({results}) }}"
    made = mlir.Module.parse(shell)
    func = made.body.operations[0].operation
    del func.attributes["sym_visibility"]
    outer = mlir.Block.create_at_start(func.regions[0], [value.type for value in inputs])
    program = mlir.Operation.create(
        "epiq.row_program",
        results=[value.type for value in yielded.operands],
        operands=list(outer.arguments),
        attributes={
            "sym_name": mlir.StringAttr.get("epilogue"),
            "layouts": mlir.Attribute.parse(
                f"[{', '.join(['#epiq.layout<row_major>'] * len(yielded.operands))}]"
            ),
        },
        regions=1,
        ip=mlir.InsertionPoint(outer),
    )
    body = mlir.Block.create_at_start(program.regions[0], [value.type for value in inputs])
    values = {value: body.arguments[index] for index, value in enumerate(inputs)}
    assert all(not list(a.uses) for a in arguments if a not in values), "the producer's results are replaced"
    point = mlir.InsertionPoint(body)
    for view in block.operations:
        copy = view.operation.clone(point)
        for index, operand in enumerate(view.operation.operands):
            copy.operands[index] = values[operand]
        values.update(zip(view.operation.results, copy.results, strict=True))
    mlir.Operation.create("func.return", operands=list(program.results), ip=mlir.InsertionPoint(outer))
    made.operation.verify()
    text: str = made.operation.get_asm(enable_debug_info=False)
    layouts = ", ".join(["#epiq.layout<row_major>"] * len(yielded.operands))
    return text.replace(f"layouts = [{layouts}]", "layouts = [@LAYOUTS@]")


def _op(
    name: str, operands: list[Any], kind: Any, point: Any, attributes: dict[str, Any] | None = None
) -> Any:
    made = mlir.Operation.create(
        name, results=[kind], operands=operands, attributes=attributes or {}, ip=point
    )
    return made.results[0]


def _tensor(shape: Sequence[int | None], dtype: str) -> Any:
    dims = "".join("?x" if size is None else f"{size}x" for size in shape)
    return mlir.Type.parse(f"tensor<{dims}{dtype}>")


def dtype_of(name: str) -> torch.dtype:
    """The torch dtype of an MLIR element type; bytes for one that Triton has no type for."""
    return torch.uint8 if name in _BYTES else _DTYPES[name]


def stand_in(spec: TensorSpec, rows: int) -> torch.Tensor:
    """An input or output of a program, as a producer's kernel takes it, on the meta device."""
    if not spec.row_like:
        return torch.empty(spec.row_width, dtype=dtype_of(spec.dtype), device="meta")
    shape = (rows, spec.row_width)
    if spec.layout == "row_major":
        return torch.empty(shape, dtype=dtype_of(spec.dtype), device="meta")
    return torch.empty_strided(shape, (1, rows), dtype=dtype_of(spec.dtype), device="meta")


def _program_op(module: Any) -> Any:
    for func in module.body.operations:
        for op in func.operation.regions[0].blocks[0].operations:
            if op.operation.name == "epiq.row_program":
                return op.operation
    raise AssertionError("a row program's module has one")
