"""What was taken out of a kernel, as a torch function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from epiq.fuse.epilogue import Epilogue
from epiq.pull.torch_code import torch_function


class Quantizer(Epilogue):
    """The quantization of an operand: a torch function, `q, scale = quantizer(x)`.

    x: (..., rows, columns) in the operand's dtype, columns a multiple of what is quantized together. Its
    other inputs are the kernel's scalars that it reads, by their names: numbers, or tensors of one f32
    value.
    q has the shape of x and lies in memory as x does, without gaps. A scale has shape
    (..., rows, columns // group), or, where it is of several rows, (..., rows * columns // group), and
    lies as q does.
    As an epilogue it goes into the kernel that makes the operand: `epiq.fuse(rope, "out_ptr", quantizer)`.

    width: elements that are quantized together. rows: of x that they are, 1 if they are part of one.
    groups: elements that share a value, for each scale. source: the function as text.
    """

    width: int
    rows: int
    groups: tuple[int, ...]
    source: str

    def __init__(
        self, text: str, givens: Sequence[str], names: Sequence[str], groups: Sequence[int], rows: int = 1
    ) -> None:
        made = torch_function(text, givens, names, rows)
        for name, value in (("width", made.width), ("rows", rows), ("groups", tuple(groups))):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "source", made.source)
        super().__init__(made.fn, tuple(names))

    def __repr__(self) -> str:
        return f"Quantizer({', '.join(self.outputs or ())} of {self.width})"

    def __call__(self, y: Tensor, *inputs: Any) -> Any:
        """The results, as torch computes them.

        Raises: ValueError if what is quantized together does not divide the columns, or the rows.
        """
        self._check(y)
        results = [_like(result, y) for result in self.compute(y, *inputs)]
        return results[0] if len(results) == 1 else tuple(results)

    def _check(self, y: Tensor) -> None:
        columns = y.shape[-1] if y.ndim else 1
        whole = self.width // self.rows
        if self.rows == 1 and columns % whole == 0:
            return
        if self.rows > 1 and columns == whole and y.ndim > 1 and y.shape[-2] % self.rows == 0:
            return
        wanted = f"{self.rows} rows of {whole}" if self.rows > 1 else f"rows of {whole}"
        raise ValueError(f"the quantizer takes {wanted} together, got shape {tuple(y.shape)}")


def _like(result: Tensor, x: Tensor) -> Tensor:
    """The tensor with its dimensions in memory in the order of those of `x`, without gaps."""
    count = min(result.ndim, x.ndim) - 1
    order = sorted(range(count), key=x.stride().__getitem__, reverse=True)
    order += range(count, result.ndim)
    if order == list(range(result.ndim)):
        return result.contiguous()
    inverse = [order.index(dim) for dim in range(result.ndim)]
    return result.permute(order).contiguous().permute(inverse)
