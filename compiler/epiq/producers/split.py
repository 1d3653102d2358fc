"""Splits a row program: a head that tiles of its producer can compute, and a tail that is left.

A tile holds some columns of some rows. The head is what depends on the producer's result without a reduction
over a whole row before it; the tail is what needs such a reduction, and is a row program of its own, which
reads results of the head. Whatever a tail reads is stored, so it must be as small as the producer's result:
a sum in f32 that a norm reads is not, its rounding to bf16 is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from epiq import ir
from epiq.ir import ir as mlir
from epiq.pipeline.extract import extract_programs
from epiq.pipeline.program import RowProgram
from epiq.pipeline.tensor_type import element_bytes, parse_tensor_type
from epiq.producers.errors import ProducerError

# Ops that store nothing of their own: a head of these alone saves nothing.
_VIEWS = ("epiq.reshape", "epiq.slice", "epiq.transpose", "epiq.broadcast", "arith.constant", "arith.extf")


@dataclass(frozen=True)
class Piece:
    """A row program made of a part of another.

    inputs: of the whole program's inputs, by number; of values that the head stores for the tail, as -1 - i
    for result i of the head. outputs: result number of the whole program, -1 for one that it does not have.
    """

    program: RowProgram
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Split:
    """tail: None where the head is all of it. kept: which result of the head is the producer's, if wanted."""

    head: Piece
    tail: Piece | None
    kept: int | None = None


def split_program(program: RowProgram, produced: Sequence[int], keep: bool = False) -> Split:
    """The head and the tail of `program` for a producer of its inputs number `produced`.

    Args: keep: the head also stores the producer's result.
    Raises: ProducerError, P5, where a reduction over the row stands before all that a tile could compute.
    """
    return _Splitter(program, produced, keep).run()


class _Splitter:
    def __init__(self, program: RowProgram, produced: Sequence[int], keep: bool) -> None:
        self.whole = program
        self.module = ir.parse(program.ir, filename="<row program>")
        self.op = next(_row_programs(self.module))
        self.block = self.op.regions[0].blocks[0]
        *self.ops, self.yielded = (view.operation for view in self.block.operations)
        self.arguments = list(self.block.arguments)
        self.produced = [self.arguments[index] for index in produced]
        self.keep = keep

    def run(self) -> Split:
        tail = self._tail()
        head = [op for op in self.ops if op not in tail and self._depends(op)]
        tail = self._moved(head, tail)
        head = [op for op in head if op not in tail]
        results = list(self.yielded.operands)
        wanted = [value for value in results if value in self.produced or _is_made_by(value, head)]
        crossing = self._crossing(head, tail, results)
        if not any(op.name not in _VIEWS for op in head):
            raise ProducerError(f"P5: {self._why(tail)}")
        for value in crossing:
            if value not in wanted:
                self._check_size(value)
                wanted.append(value)
        if self.keep and self.produced[0] not in wanted:
            wanted.append(self.produced[0])
        kept = wanted.index(self.produced[0]) if self.keep else None
        places = tuple(results.index(value) if value in results else -1 for value in wanted)
        first = self._piece("head", wanted, places, {})
        rest = [value for value in results if value not in wanted]
        if not rest:
            return Split(first, None, kept)
        stored = {value: index for index, value in enumerate(wanted)}
        last = self._piece("tail", rest, tuple(results.index(v) for v in rest), stored)
        return Split(first, last, kept)

    def _depends(self, op: Any) -> bool:
        """Whether an op needs the producer's result."""
        return any(value in self.produced for value in _reached([op]))

    def _tail(self) -> list[Any]:
        """The ops behind a reduction over a whole row, and what needs them."""
        tail: list[Any] = []
        for op in self.ops:
            behind = any(_is_made_by(operand, tail) for operand in op.operands)
            if behind or (_reduces(op) and self._depends(op) and self._spans_row(op)):
                tail.append(op)
        return tail

    def _spans_row(self, op: Any) -> bool:
        """Asks the row analysis, of a program that computes no more than this op."""
        results = [value for value in op.results if value.uses]
        try:
            return self._piece("part", results, (-1,) * len(results), {}).program.full_row
        except Exception:
            return True

    def _moved(self, head: list[Any], tail: list[Any]) -> list[Any]:
        """The tail with what widens or reshapes values for it only, which costs nothing to do again."""
        moved = list(tail)
        for op in reversed(head):
            users = [use.owner.operation for value in op.results for use in value.uses]
            if op.name in _VIEWS and users and all(user in moved for user in users):
                moved.append(op)
        return moved

    def _crossing(self, head: list[Any], tail: list[Any], results: list[Any]) -> list[Any]:
        """The values of the head, or the producer's results, that the tail reads, in order."""
        found: list[Any] = []
        for op in tail:
            for operand in op.operands:
                is_head = operand in self.produced or _is_made_by(operand, head)
                if is_head and operand not in found:
                    found.append(operand)
        return found

    def _check_size(self, value: Any) -> None:
        dtype, _ = parse_tensor_type(str(value.type))
        stored, _ = parse_tensor_type(str(self.produced[0].type))
        if element_bytes(dtype) > element_bytes(stored):
            raise ProducerError(
                f"P5: a reduction spans the row and reads a value of {dtype} that is not stored; what it is "
                f"made of is {stored}"
            )

    def _why(self, tail: list[Any]) -> str:
        names = [op.attributes["kind"].value for op in tail if op.name == "epiq.composite"]
        what = f"{names[0]} combines" if names else "a reduction combines"
        return f"{what} the whole row, of which a tile has a part, and nothing is computed before it"

    def _piece(self, kind: str, results: list[Any], places: tuple[int, ...], stored: dict[Any, int]) -> Piece:
        needed = _needed(results, self.ops, stored)
        read = [value for value in _reads(needed, results) if value in self.arguments or value in stored]
        first = [value for value in (*self.produced, *stored) if value in read]
        ordered = [*first, *(value for value in self.arguments if value in read and value not in first)]
        numbers = tuple(-1 - stored[v] if v in stored else self.arguments.index(v) for v in ordered)
        layouts = self._layouts(results)
        name = re.sub(r"_?\d+$", "", self.whole.symbol) + f"_{kind}"
        text = _program_text(name, ordered, needed, results, layouts, self.module)
        return Piece(_extracted(text), numbers, places)

    def _layouts(self, results: list[Any]) -> list[str]:
        yielded = list(self.yielded.operands)
        given = [str(layout) for layout in self.op.attributes["layouts"]]
        return [
            given[yielded.index(value)] if value in yielded else "#epiq.layout<row_major>"
            for value in results
        ]


def _row_programs(module: Any) -> Any:
    for func in module.body.operations:
        for op in func.operation.regions[0].blocks[0].operations:
            if op.operation.name == "epiq.row_program":
                yield op.operation


def _maker(value: Any) -> Any:
    """The op that defines a value, None for an argument."""
    owner = value.owner
    return None if isinstance(owner, mlir.Block) else owner.operation


def _is_made_by(value: Any, ops: Sequence[Any]) -> bool:
    maker = _maker(value)
    return maker is not None and maker in ops


def _reached(roots: Sequence[Any]) -> list[Any]:
    """All that the ops `roots` are computed from: values."""
    found: list[Any] = []
    waiting = [operand for op in roots for operand in op.operands]
    while waiting:
        value = waiting.pop()
        if value in found:
            continue
        found.append(value)
        maker = _maker(value)
        if maker is not None:
            waiting.extend(maker.operands)
    return found


def _reduces(op: Any) -> bool:
    if op.name == "epiq.reduce":
        return True
    return any(
        _reduces(inner.operation)
        for region in op.regions
        for block in region.blocks
        for inner in block.operations
    )


def _needed(results: Sequence[Any], ops: Sequence[Any], stored: dict[Any, int]) -> list[Any]:
    """The ops that compute `results` from arguments and stored values, in order."""
    found: set[int] = set()
    waiting = [value for value in results if value not in stored]
    numbers = {op: index for index, op in enumerate(ops)}
    while waiting:
        maker = _maker(waiting.pop())
        if maker is None or numbers[maker] in found:
            continue
        found.add(numbers[maker])
        waiting.extend(operand for operand in maker.operands if operand not in stored)
    return [ops[index] for index in sorted(found)]


def _reads(ops: Sequence[Any], results: Sequence[Any]) -> list[Any]:
    return [operand for op in ops for operand in op.operands] + list(results)


def _program_text(
    name: str, inputs: list[Any], ops: list[Any], results: list[Any], layouts: list[str], module: Any
) -> str:
    """A module with one row program: `ops` of another, which read `inputs` and yield `results`."""
    types = [str(value.type) for value in inputs]
    kinds = ", ".join(str(value.type) for value in results)
    shell = f"module {{ func.func private @{name}({', '.join(types)}) -> ({kinds}) }}"
    with module.context, mlir.Location.unknown():
        made = mlir.Module.parse(shell)
        func = made.body.operations[0].operation
        del func.attributes["sym_visibility"]
        body = mlir.Block.create_at_start(func.regions[0], [value.type for value in inputs])
        attributes = {
            "sym_name": mlir.StringAttr.get(name),
            "layouts": mlir.Attribute.parse(f"[{', '.join(layouts)}]"),
        }
        program = mlir.Operation.create(
            "epiq.row_program",
            results=[value.type for value in results],
            operands=list(body.arguments),
            attributes=attributes,
            regions=1,
            ip=mlir.InsertionPoint(body),
        )
        block = mlir.Block.create_at_start(program.regions[0], [value.type for value in inputs])
        values = dict(zip(inputs, block.arguments, strict=True))
        point = mlir.InsertionPoint(block)
        for op in ops:
            copy = op.clone(point)
            for index, operand in enumerate(op.operands):
                copy.operands[index] = values[operand]
            values.update(zip(op.results, copy.results, strict=True))
        mlir.Operation.create("epiq.yield", operands=[values[value] for value in results], ip=point)
        mlir.Operation.create("func.return", operands=list(program.results), ip=mlir.InsertionPoint(body))
        made.operation.verify()
        text: str = made.operation.get_asm(enable_debug_info=False)
    return text


def _extracted(text: str) -> RowProgram:
    module = ir.parse(text, filename="<part of a row program>")
    said = ir.run_passes(module, "builtin.module(epiq-annotate-rows)")
    found = extract_programs(module)
    if not found:
        raise ProducerError("P5: " + "; ".join(remark.message for remark in said))
    return found[0]
