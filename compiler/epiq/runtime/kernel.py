"""A row program that can be run: on a GPU as compiled Triton IR, on the CPU by the executor."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from epiq.runtime.buckets import bucket
from epiq.runtime.inputs import check_buffer, count_rows, fit_rows, fit_whole
from epiq.runtime.shapes import OutputSpec, leading_rank

if TYPE_CHECKING:
    from epiq.pipeline.program import RowProgram
    from epiq.runtime.gpu import Launcher

_MAX_ROWS = 2**31 - 1
# Rows, of at most 3 elements more, that a layout makes of one.
_MOST_ROWS = 128


class Kernel:
    """One row program with the shapes of its outputs; shared by every graph that has an equal one.

    Calling it takes the inputs in the program's order, on one device, and returns new outputs; results that
    are stored in an input, by index, are not among these.
    """

    def __init__(self, program: RowProgram, outputs: Sequence[OutputSpec]) -> None:
        self.program = program
        self.outputs = tuple(outputs)
        digest = hashlib.sha256(f"{program.key} {self.outputs!r}".encode()).hexdigest()
        self.key = f"{program.name}.{digest[:16]}"
        self._launchers: dict[tuple[int | None, int], Launcher] = {}

    def fake(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The outputs as tracing sees them: sizes and strides, no values."""
        rows = self._traced_rows(inputs)
        return [spec.allocate(inputs, rows, inputs[0].device) for spec in self.outputs]

    def __call__(self, inputs: list[Tensor]) -> list[Tensor]:
        rows = count_rows(self.program.inputs, inputs, self.program.num_rows)
        outputs = self.allocate(inputs, rows, inputs[0].device)
        self.store(inputs, outputs, rows)
        return outputs

    def allocate(self, inputs: Sequence[Tensor], rows: int, device: torch.device) -> list[Tensor]:
        """Tensors for the outputs. Of the inputs only shapes are read."""
        return [spec.allocate(inputs, rows, device) for spec in self.outputs]

    def store(self, inputs: list[Tensor], outputs: list[Tensor], rows: int) -> None:
        """Computes `rows` rows into tensors of `allocate`, and into the inputs that are buffers."""
        device = inputs[0].device
        for index in self.program.buffers:
            check_buffer(inputs[index])
        if rows == 0:
            self._store_shared(inputs, outputs)
            return
        if rows > _MAX_ROWS:
            raise ValueError(f"{rows} rows are more than a kernel counts ({_MAX_ROWS})")
        fitted: list[Tensor] = []
        strides: list[int] = []
        for spec, x in zip(self.program.inputs, inputs, strict=True):
            if spec.row_like:
                x, stride = fit_rows(x, spec.row_width)
                strides.append(stride)
            else:
                x = fit_whole(x)
            fitted.append(x)
        self.launcher(device, rows)(fitted, self._stored(inputs, outputs), rows, strides)

    def merge(self, inputs: Sequence[Tensor], buffers: Sequence[Tensor]) -> list[Tensor]:
        """The program's inputs, given those it stores in apart, in the order of `RowProgram.buffers`."""
        places = dict(zip(self.program.buffers, buffers, strict=True))
        others = iter(inputs)
        return [places[i] if i in places else next(others) for i in range(len(self.program.inputs))]

    def _stored(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> list[Tensor]:
        """What the kernel writes, in the program's order: new tensors and buffers."""
        own = iter(outputs)
        return [next(own) if spec.buffer < 0 else inputs[spec.buffer] for spec in self.program.outputs]

    def _store_shared(self, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        """Computes what all tokens share where there are none: over a row of zeros, kept nowhere.

        What is taken over the tokens stays at its 0.
        """
        specs = [spec for spec in self.program.outputs if spec.buffer < 0]
        if all(spec.row_like or spec.zeroed for spec in specs):
            return
        rows = [
            x.new_zeros(spec.row_width) if spec.row_like else fit_whole(x)
            for spec, x in zip(self.program.inputs, inputs, strict=True)
        ]
        kept = [
            out if not spec.row_like and not spec.zeroed else out.new_zeros(_MOST_ROWS * (spec.row_width + 4))
            for spec, out in zip(specs, outputs, strict=True)
        ]
        strides = [spec.row_width for spec in self.program.inputs if spec.row_like]
        for index in self.program.buffers:
            rows[index] = rows[index].new_zeros(max(self.program.inputs[index].indexed, 1))
        self.launcher(inputs[0].device, 1)(rows, self._stored(rows, kept), 1, strides)

    def launcher(self, device: torch.device, num_rows: int) -> Launcher:
        """What runs `num_rows` rows on `device`; made on the first call for its bucket of counts."""
        key = (device.index, bucket(num_rows))
        launcher = self._launchers.get(key)
        if launcher is None:
            launcher = self._launchers.setdefault(key, self._make(device, bucket(num_rows)))
        return launcher

    def prefer(self, device: torch.device, num_rows: int, launcher: Launcher) -> None:
        """Makes `launcher` what runs on `device` the counts that share a bucket with `num_rows`."""
        self._launchers[device.index, bucket(num_rows)] = launcher

    def _make(self, device: torch.device, num_rows: int) -> Launcher:
        if device.type == "cuda":
            from epiq.runtime.gpu import default_launcher

            return default_launcher(self.program, num_rows, device)
        from epiq.runtime.cpu import executor_launcher

        return executor_launcher(self.program)

    def _traced_rows(self, inputs: Sequence[Tensor]) -> Any:
        for spec, x in zip(self.program.inputs, inputs, strict=True):
            if spec.row_like:
                leading: Any = 1
                for dim in x.shape[: leading_rank(x.shape, spec.row_width)]:
                    leading = leading * dim
                return leading
        if self.program.num_rows is None:
            raise ValueError(f"row program {self.program.name} has no input of rows")
        return self.program.num_rows
