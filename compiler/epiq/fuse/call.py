"""A launch of a fused kernel taken apart: the kernel's arguments, and the tensors of the epilogue."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from epiq.fuse.checks import guess_dtype, tensor_of
from epiq.fuse.describe import Description, describe
from epiq.fuse.epilogue import Epilogue
from epiq.fuse.kernel import UserKernel, stand_in
from epiq.fuse.launch import Extra
from epiq.fuse.matrix import Matrix, input_kind, laid_out, one_value, output_matrix


@dataclass
class Call:
    """A launch taken apart.

    outputs: of the kernel, as they were given. rows, columns: of each of them. extra: the epilogue's
    tensors, in the order of the new arguments.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: list[Any]
    rows: int
    columns: int
    layouts: list[Matrix]
    description: Description
    extra: list[Extra]
    device: torch.device


class CallReader:
    """Takes launches of one fused kernel apart. outputs: the kernel's arguments that the epilogue reads."""

    def __init__(
        self,
        kernel: UserKernel,
        outputs: tuple[str, ...],
        epilogue: Epilogue,
        keep_output: bool,
        output_dtype: torch.dtype | None,
    ) -> None:
        self.kernel = kernel
        self.outputs = outputs
        self.epilogue = epilogue
        self.inputs = epilogue.inputs[len(outputs) - 1 :]
        self.keep_output = keep_output
        self.output_dtype = output_dtype
        self._descriptions: dict[Any, Description] = {}

    def read(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call:
        """Raises: TypeError, ValueError for what is missing, or does not go together."""
        kernel_kwargs = dict(kwargs)
        inputs = [tensor_of(name, kernel_kwargs.pop(name, None)) for name in self.inputs]
        results = self._results(kernel_kwargs)
        values = list(args)
        given = [self._given(name, values, kernel_kwargs) for name in self.outputs]
        dtypes = [
            self._fill(name, output, values, kernel_kwargs)
            for name, output in zip(self.outputs, given, strict=True)
        ]
        matrices = {name: output_matrix(name, tensor) for name, tensor in results.items() if tensor.ndim > 0}
        if not matrices:
            raise ValueError(f"one of {', '.join(results)} must have the rows of {self.outputs[0]}")
        widest = max(matrices, key=lambda name: matrices[name].columns)
        rows = matrices[widest].rows
        columns, description = self._describe(dtypes, inputs, widest, matrices[widest])
        layouts = self._check_results(description, results, rows, columns)
        extra = [
            Extra(tensor, input_kind(name, tensor, rows, columns).stride)
            for name, tensor in zip(self.inputs, inputs, strict=True)
        ]
        for result, matrix in zip(description.results, layouts, strict=True):
            tensor = results[result.name]
            tensor = tensor.view(torch.uint8) if result.is_bytes else tensor
            extra.append(Extra(tensor, matrix.stride, matrix.starts_at_zero))
        devices = {each.tensor.device for each in extra}
        if len(devices) != 1:
            raise ValueError(f"the epilogue's tensors are on {' and '.join(sorted(map(str, devices)))}")
        for name, output in zip(self.outputs, given, strict=True):
            _check_given(name, output, rows, columns)
        return Call(
            tuple(values), kernel_kwargs, given, rows, columns, layouts, description, extra, devices.pop()
        )

    def _given(self, output: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        position = self.kernel.names.index(output)
        given = args[position] if position < len(args) else kwargs.get(output)
        if given is None and self.keep_output:
            raise ValueError(f"keep_output needs a tensor for {output}, got None")
        if given is not None and not isinstance(getattr(given, "base", given), Tensor):
            raise TypeError(f"{output} must be a tensor, a descriptor or None, got {type(given).__name__}")
        return given

    def _fill(self, output: str, given: Any, args: list[Any], kwargs: dict[str, Any]) -> torch.dtype:
        """The output's dtype; puts something in its place where it was not given."""
        if given is not None:
            dtype: torch.dtype = getattr(given, "base", given).dtype
            return dtype
        dtype = self.output_dtype or guess_dtype([*args, *kwargs.values()], output, "output_dtype")
        position = self.kernel.names.index(output)
        if position < len(args):
            args[position] = stand_in(dtype)
        else:
            kwargs[output] = stand_in(dtype)
        return dtype

    def _results(self, kwargs: dict[str, Any]) -> dict[str, Tensor]:
        """Takes the tensors for results out of the keywords: those that the kernel does not know."""
        names = self.epilogue.outputs or tuple(
            name
            for name, value in kwargs.items()
            if isinstance(value, Tensor) and name not in self.kernel.names
        )
        if not names:
            raise TypeError(f"{self.kernel.name} needs a tensor for each result of the epilogue, got none")
        return {name: tensor_of(name, kwargs.pop(name, None)) for name in names}

    def _describe(
        self, dtypes: Sequence[torch.dtype], inputs: Sequence[Tensor], widest: str, matrix: Matrix
    ) -> tuple[int, Description]:
        """The columns of the kernel's output, and the epilogue for them.

        The widest result has as many, or half as many where the epilogue combines pairs of columns.
        """
        description: Description | None
        try:
            description = self._describe_for(dtypes, inputs, matrix.rows, matrix.columns)
        except Exception:
            description = self._describe_pairs(dtypes, inputs, widest, matrix)
            if description is None:
                raise
        result = description.find(widest) or description.results[0]
        columns = matrix.columns * description.width // result.width
        return columns, self._describe_for(dtypes, inputs, matrix.rows, columns)

    def _describe_pairs(
        self, dtypes: Sequence[torch.dtype], inputs: Sequence[Tensor], widest: str, matrix: Matrix
    ) -> Description | None:
        """The epilogue for twice the columns, None if it does not make one of two."""
        try:
            description = self._describe_for(dtypes, inputs, matrix.rows, 2 * matrix.columns)
        except Exception:
            return None
        result = description.find(widest)
        return description if result and 2 * result.width == description.width else None

    def _describe_for(
        self, dtypes: Sequence[torch.dtype], inputs: Sequence[Tensor], rows: int, columns: int
    ) -> Description:
        kinds = tuple(
            (tensor.dtype, input_kind(name, tensor, rows, columns).shape)
            for name, tensor in zip(self.inputs, inputs, strict=True)
        )
        key = (tuple(dtypes), columns, kinds)
        if key not in self._descriptions:
            self._descriptions[key] = describe(self.epilogue, dtypes, columns, kinds)
        return self._descriptions[key]

    def _check_results(
        self, description: Description, results: Mapping[str, Tensor], rows: int, columns: int
    ) -> list[Matrix]:
        """The results as matrices, in the order of the description."""
        wanted = [result.name for result in description.results]
        if set(results) != set(wanted):
            raise TypeError(f"the epilogue returns {', '.join(wanted)}, got tensors for {', '.join(results)}")
        matrices = []
        for result in description.results:
            name, tensor = result.name, results[result.name]
            if tensor.dtype != result.dtype:
                raise TypeError(f"{name} must be {result.dtype}, got {tensor.dtype}")
            width = result.width * columns // description.width
            if result.is_maximum:
                matrices.append(one_value(name, tensor))
            elif result.layout is not None and result.layout != "packed_e2m1":
                matrices.append(laid_out(name, tensor, result.layout, rows, width))
            else:
                matrices.append(output_matrix(name, tensor).of(name, tensor, rows, width, result.layout))
        return matrices


def _check_given(name: str, given: Any, rows: int, columns: int) -> None:
    """An output that is given must be what the epilogue's tensors belong to."""
    if given is None:
        return
    count = math.prod(given.shape)
    if count != rows * columns:
        raise ValueError(
            f"{name} has shape {tuple(given.shape)}, the epilogue's tensors are those of {rows} x {columns}"
        )
    strides = tuple(given.stride() if isinstance(given, Tensor) else given.strides)
    if strides and strides[-1] != 1 and given.shape[-1] != 1:
        raise ValueError(
            f"{name} must be contiguous along its rows, as the epilogue reads them, got shape "
            f"{tuple(given.shape)} with strides {strides}: transpose it and the tensors of the epilogue"
        )
