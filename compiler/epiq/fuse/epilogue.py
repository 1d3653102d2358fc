"""What is computed on a tile before it is stored: a torch function of the stored values."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from epiq.formats import QuantFormat, quantize

_QUANTIZED = (torch.float8_e4m3fn, torch.float8_e5m2, torch.int8)


@dataclass(frozen=True)
class Epilogue:
    """A torch function of a kernel's output, `fn(y, *inputs)`, to be computed where the output is made.

    Args:
      fn: plain torch code without side effects. `y` is the output as a matrix (rows, columns) in its
        dtype, rows being what is contiguous in memory; an epilogue of several outputs takes as many first.
        The function returns tensors with the same rows, or the largest of all values, one f32, as
        `y.float().abs().amax()`, which the launch starts at 0. Its other parameters are tensors, given
        by their names when the fused kernel is launched: (rows, columns) like `y`, one value a row
        (rows, 1), one value a column (columns,), or a single value.
      outputs: the names of the results, by which tensors for them are given at launch. By default
        `q` and `scale` for a quantized result and its scales, `q` for a quantized result alone, `out`
        for one of another dtype, else `out0`, `out1`, and so on.
    Raises: TypeError if `fn` is no function of at least one positional parameter; ValueError for
      names that repeat or are no identifiers.
    """

    fn: Callable[..., Any]
    outputs: tuple[str, ...] | None = None
    inputs: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        if not callable(self.fn):
            raise TypeError(f"fn must be a function of the kernel's output, got {type(self.fn).__name__}")
        object.__setattr__(self, "inputs", _parameters(self.fn)[1:])
        if self.outputs is not None:
            if isinstance(self.outputs, str):
                raise TypeError(f"outputs must be a tuple of names, got {self.outputs!r}")
            object.__setattr__(self, "outputs", tuple(self.outputs))
            _check_names((*self.inputs, *self.outputs))

    def description(self, dtype: torch.dtype, width: int) -> Any:
        """The epilogue as IR (describe.Description) where it is given as such; None: `fn` is traced."""
        return None

    def compute(self, y: Tensor, *inputs: Any) -> tuple[Tensor, ...]:
        """The results of `fn`, as a tuple."""
        results = self.fn(y, *inputs)
        if isinstance(results, Tensor):
            return (results,)
        if isinstance(results, (tuple, list)) and results and all(isinstance(r, Tensor) for r in results):
            return tuple(results)
        raise TypeError(f"an epilogue returns a tensor or a tuple of tensors, got {type(results).__name__}")

    def __call__(self, y: Tensor, *inputs: Any) -> Any:
        """The results, as torch computes them: an epilogue is a function that others may call."""
        results = self.compute(y, *inputs)
        return results[0] if len(results) == 1 else results

    def named(self, y: Tensor, *inputs: Any) -> dict[str, Tensor]:
        """The results by their names, in order."""
        results = self.compute(y, *inputs)
        return dict(zip(self.names(results), results, strict=True))

    def names(self, results: Sequence[Tensor]) -> tuple[str, ...]:
        """The names of the results."""
        if self.outputs is not None:
            if len(self.outputs) != len(results):
                raise ValueError(
                    f"outputs names {self.outputs}, but the epilogue returns {len(results)} tensors"
                )
            return self.outputs
        if results[0].dtype in _QUANTIZED and len(results) <= 2:
            return ("q", "scale")[: len(results)]
        if len(results) == 1:
            return ("out",)
        return tuple(f"out{i}" for i in range(len(results)))


class Quantize(Epilogue):
    """Quantization to a format: `fused[grid](..., q=q, scale=scale)`.

    Args: fmt: one of epiq.formats; its groups must lie in the kernel's tiles.
      scale: of a static format, its scale as a number; without it the scale is an input, a tensor of
        one f32 value given at launch as `scale=`.
      outputs: other names for `q` and `scale`, where the kernel has arguments of these names.
    The results are those of `epiq.quantize`: q of the format's element, and, unless the format is
    static, scale of shape `fmt.scale_shape(y.shape)`.
    """

    fmt: QuantFormat

    def __init__(
        self, fmt: QuantFormat, scale: float | None = None, outputs: tuple[str, ...] | None = None
    ) -> None:
        if not isinstance(fmt, QuantFormat):
            raise TypeError(f"fmt must be a QuantFormat, got {type(fmt).__name__}")
        if scale is not None and not fmt.static:
            raise ValueError(f"{fmt.name} computes its scales, got scale = {scale}")
        if fmt.granularity == "tensor" and not fmt.static:
            raise ValueError(
                f"{fmt.name} needs the maximum over the whole tensor, which no tile of a kernel holds: "
                "return y.float().abs().amax() from an epiq.Epilogue, and quantize with a static scale"
            )
        object.__setattr__(self, "fmt", fmt)
        super().__init__(_quantizer(fmt, scale), outputs or (("q",) if fmt.static else ("q", "scale")))

    def __repr__(self) -> str:
        return f"Quantize({self.fmt.name})"


class Chain(Epilogue):
    """An epilogue of a result of an epilogue: what `epiq.fuse` of a fused kernel makes.

    Args: first, second: the epilogues. result: the name of the result of `first` that `second` reads.
      keep_result: whether it is a result of the chain as well.
    The results are those of `second`, then the other ones of `first`.
    Raises: ValueError for a name of `first` that is none of its results, or that both have.
    """

    first: Epilogue
    second: Epilogue
    result: str
    keep_result: bool

    def __init__(self, first: Epilogue, result: str, second: Epilogue, keep_result: bool = False) -> None:
        for name, value in (("first", first), ("second", second), ("result", result)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "keep_result", keep_result)
        outputs = None
        if first.outputs is not None and second.outputs is not None:
            _check_result(result, first.outputs)
            outputs = (*second.outputs, *(n for n in first.outputs if keep_result or n != result))
        object.__setattr__(self, "fn", self._apply)
        object.__setattr__(self, "outputs", outputs)
        object.__setattr__(self, "inputs", (*first.inputs, *second.inputs))
        _check_names((*self.inputs, *(outputs or ())))

    def __repr__(self) -> str:
        return f"Chain({self.first!r}, {self.result!r}, {self.second!r})"

    def _apply(self, y: Tensor, *inputs: Any) -> tuple[Tensor, ...]:
        return tuple(self.named(y, *inputs).values())

    def named(self, y: Tensor, *inputs: Any) -> dict[str, Tensor]:
        count = len(self.first.inputs)
        before = self.first.named(y, *inputs[:count])
        _check_result(self.result, tuple(before))
        results = self.second.named(before[self.result], *inputs[count:])
        others = {n: r for n, r in before.items() if self.keep_result or n != self.result}
        _check_names((*results, *others))
        return {**results, **others}


def _check_result(name: str, names: Sequence[str]) -> None:
    if name not in names:
        raise ValueError(f"output {name!r} is not a result of the epilogue, which has {', '.join(names)}")


def _quantizer(fmt: QuantFormat, scale: float | None) -> Callable[..., Any]:
    if fmt.global_scale:

        def scaled(y: Tensor, global_scale: Tensor) -> tuple[Tensor, Tensor]:
            return quantize(y, fmt, global_scale=global_scale)

        return scaled
    if not fmt.static:

        def dynamic(y: Tensor) -> tuple[Tensor, Tensor]:
            return quantize(y, fmt)

        return dynamic
    if scale is not None:

        def fixed(y: Tensor) -> Tensor:
            return quantize(y, fmt, scale)[0]

        return fixed

    def given(y: Tensor, scale: Tensor) -> Tensor:
        return quantize(y, fmt, scale)[0]

    return given


def _parameters(fn: Callable[..., Any]) -> tuple[str, ...]:
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError) as error:
        raise TypeError(f"fn has no signature to read its inputs from: {error}") from None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    for parameter in parameters:
        if parameter.kind not in positional and parameter.default is inspect.Parameter.empty:
            raise TypeError(f"fn must name its inputs, got parameter {parameter}")
    # A parameter with a default is part of the function, not an input.
    names = tuple(p.name for p in parameters if p.kind in positional and p.default is inspect.Parameter.empty)
    if not names:
        raise TypeError("fn must take the kernel's output as its first parameter")
    return names


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"{name!r} is no name for an output")
    if len(set(names)) != len(names):
        raise ValueError(f"names repeat: {', '.join(names)}")
