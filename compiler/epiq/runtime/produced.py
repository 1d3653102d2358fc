"""A producer and the row program that reads its result, as one group that computes itself the fastest way.

The alternatives: the producer's torch op and then the row program; or a fused kernel, which computes the head
of the row program on the producer's tiles, and then its tail where there is one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from epiq.formats.layouts import LAYOUTS
from epiq.pipeline.program import TensorSpec
from epiq.producers.base import FusedKernel, Producer
from epiq.producers.split import Split
from epiq.producers.tile import TileProgram, dtype_of
from epiq.runtime.decide import Alternative, Decider, Decision, Mode
from epiq.runtime.inputs import count_rows, fit_rows, fit_whole
from epiq.runtime.kernel import Kernel


@dataclass(frozen=True)
class Parts:
    """What a group is made of.

    whole: the row program. produced: numbers of its inputs that are the producer's results. split: the
    program in two; where its head keeps the producer's result, the group returns that as well. tile: the head
    as an epilogue. tail: a kernel for the rest. stand_ins: meta tensors like the producer's inputs.
    """

    producer: Producer
    whole: Kernel
    produced: tuple[int, ...]
    split: Split
    tile: TileProgram
    tail: Kernel | None
    stand_ins: tuple[Tensor, ...]


class ProducedGroup:
    """Calling it takes the producer's tensors, then the row program's other inputs, and returns the row
    program's outputs, then, where it is kept, the producer's result."""

    def __init__(self, parts: Parts, kernels: Sequence[FusedKernel], mode: Mode) -> None:
        self.parts = parts
        said = (parts.producer, parts.whole.key, parts.tile, parts.produced, parts.split.kept, mode)
        digest = hashlib.sha256(repr(said).encode()).hexdigest()
        self.key = f"{parts.producer.name}_{parts.whole.program.name}.{digest[:16]}"
        alternatives = [Alternative("library", self._library)]
        alternatives += [Alternative(kernel.name, self._fused(kernel)) for kernel in kernels]
        self.decider = Decider(self.key, alternatives, mode)

    @property
    def decisions(self) -> list[Decision]:
        return self.decider.decisions

    @property
    def keeps(self) -> bool:
        return self.parts.split.kept is not None

    def fake(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The outputs as tracing sees them."""
        given, others = self._parted(list(inputs))
        results = self.parts.producer.library(given)
        outputs = self.parts.whole.fake(self._program_inputs(results, others))
        return [*outputs, *results[:1]] if self.keeps else outputs

    def __call__(self, inputs: list[Tensor]) -> list[Tensor]:
        given, others = self._parted(inputs)
        rows = self._num_rows(given, others)
        if rows == 0:
            return self._library(inputs)
        return self.decider(inputs, rows)

    def _library(self, inputs: list[Tensor]) -> list[Tensor]:
        given, others = self._parted(inputs)
        results = self.parts.producer.library(given)
        outputs = self.parts.whole(self._program_inputs(results, others))
        return [*outputs, *results[:1]] if self.keeps else outputs

    def _fused(self, kernel: FusedKernel) -> Callable[[list[Tensor]], list[Tensor]]:
        def run(inputs: list[Tensor]) -> list[Tensor]:
            given, others = self._parted(inputs)
            device = given[0].device
            stand_ins = self._stand_ins(given)
            rows = self._num_rows(given, others)
            program_inputs = self._program_inputs(stand_ins, others)
            outputs = self.parts.whole.allocate(program_inputs, rows, device)
            head = self.parts.split.head
            stored = [
                outputs[place] if place >= 0 else _empty(spec, rows, device)
                for place, spec in zip(head.outputs, head.program.outputs, strict=True)
            ]
            specs = head.program.inputs[self.parts.tile.num_produced :]
            numbers = head.inputs[self.parts.tile.num_produced :]
            extra = [
                _input_matrix(program_inputs[number], spec, rows)
                for number, spec in zip(numbers, specs, strict=True)
            ]
            matrices = [
                _output_matrix(x, spec, rows) for x, spec in zip(stored, head.program.outputs, strict=True)
            ]
            kernel.launch(given, extra, matrices)
            self._run_tail(program_inputs, stored, outputs, rows)
            kept = self.parts.split.kept
            return outputs if kept is None else [*outputs, stored[kept].view(stand_ins[0].shape)]

        return run

    def _run_tail(
        self, program_inputs: list[Tensor], stored: list[Tensor], outputs: list[Tensor], rows: int
    ) -> None:
        piece, kernel = self.parts.split.tail, self.parts.tail
        if piece is None or kernel is None:
            return
        inputs = [stored[-1 - n] if n < 0 else program_inputs[n] for n in piece.inputs]
        kernel.store(inputs, [outputs[place] for place in piece.outputs], rows)

    def _parted(self, inputs: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """The producer's tensors, and the other inputs of the program."""
        count = len(inputs) - (len(self.parts.whole.program.inputs) - len(self.parts.produced))
        return inputs[:count], inputs[count:]

    def _program_inputs(self, results: Sequence[Tensor], others: Sequence[Tensor]) -> list[Tensor]:
        """The row program's inputs in its order."""
        by_number = dict(zip(self.parts.produced, results, strict=True))
        rest = iter(others)
        count = len(self.parts.whole.program.inputs)
        return [by_number[index] if index in by_number else next(rest) for index in range(count)]

    def _stand_ins(self, given: list[Tensor]) -> list[Tensor]:
        """Tensors without memory that have the shapes of the producer's results."""
        shapes = self.parts.producer.shapes(given)
        specs = [self.parts.whole.program.inputs[number] for number in self.parts.produced]
        return [
            torch.empty(shape, dtype=dtype_of(spec.dtype), device="meta")
            for shape, spec in zip(shapes, specs, strict=True)
        ]

    def _num_rows(self, given: list[Tensor], others: list[Tensor]) -> int:
        specs = self.parts.whole.program.inputs
        return count_rows(specs, self._program_inputs(self._stand_ins(given), others))


def _empty(spec: TensorSpec, rows: int, device: torch.device) -> Tensor:
    return torch.empty(rows, spec.row_width, dtype=dtype_of(spec.dtype), device=device)


def _input_matrix(x: Tensor, spec: TensorSpec, rows: int) -> Tensor:
    """An input as the epilogue takes it: a matrix of the rows, or flat."""
    if not spec.row_like:
        return fit_whole(x).view(-1)
    fitted, stride = fit_rows(x, spec.row_width)
    return fitted.as_strided((rows, spec.row_width), (stride, 1))


def _output_matrix(x: Tensor, spec: TensorSpec, rows: int) -> Tensor:
    """The memory of an output as a matrix, rows or columns at one distance."""
    if spec.layout == "row_major":
        return x.as_strided((rows, spec.row_width), (spec.row_width, 1))
    multiple = LAYOUTS[spec.layout].column_multiple
    distance = -(-rows // multiple) * multiple
    return x.as_strided((rows, spec.row_width), (1, distance))
