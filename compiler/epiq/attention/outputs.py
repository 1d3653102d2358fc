"""What attention gives: the epilogue's results as empty tensors, to be stored by rows of tokens."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from epiq.fuse import Epilogue


@dataclass(frozen=True)
class Output:
    """Tensors for what is stored.

    epilogue: of a row of all heads, None for none. kept: the output itself, (tokens, heads * D_V), or None.
    results: the epilogue's, as matrices; inputs: its further tensors.
    """

    epilogue: Epilogue | None
    kept: Tensor | None
    results: tuple[Tensor, ...]
    inputs: dict[str, Tensor]
    dtype: torch.dtype
    heads: int
    per_head: bool
    shape: tuple[int, ...]

    def named(self) -> dict[str, Tensor]:
        """The epilogue's tensors, as a fused kernel takes them."""
        assert self.epilogue is not None
        names = self.epilogue.names(self.results)
        return {**self.inputs, **dict(zip(names, self.results, strict=True))}

    def fill(self) -> None:
        """What queries without keys get: the epilogue of zeros."""
        rows = next(x for x in (self.kept, *self.results) if x is not None).shape[0]
        zeros = torch.zeros(rows, self.heads * self.shape[-1], dtype=self.dtype, device=self.device)
        if self.kept is not None:
            self.kept.zero_()
        if self.epilogue is not None:
            for result, value in zip(
                self.results, self.epilogue.compute(zeros, *self.inputs.values()), strict=True
            ):
                result.copy_(value)

    @property
    def device(self) -> torch.device:
        return next(x for x in (self.kept, *self.results) if x is not None).device

    def given(self) -> Tensor | tuple[Tensor, ...]:
        """The results as the caller gets them, the kept output last."""
        results = self.results
        if self.per_head:
            results = tuple(torch.unflatten(r, -1, (self.heads, -1)) for r in results)
        if self.kept is not None:
            results = (*results, self.kept.view(self.shape))
        return results[0] if len(results) == 1 else results


def output_of(
    epilogue: Epilogue | None,
    inputs: Mapping[str, Tensor] | None,
    *,
    per_head: bool,
    keep_output: bool,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device,
) -> Output:
    """Tensors for an attention whose output is of `shape`, (.., heads, D_V).

    Raises: TypeError, ValueError for an epilogue or inputs that do not go with it.
    """
    if epilogue is not None and not isinstance(epilogue, Epilogue):
        raise TypeError(f"epilogue must be epiq.Quantize or epiq.Epilogue, got {type(epilogue).__name__}")
    given = dict(inputs or {})
    if given and (epilogue is None or set(given) != set(epilogue.inputs)):
        wanted = ", ".join(epilogue.inputs) if epilogue else ""
        raise ValueError(f"the epilogue takes {wanted or 'no inputs'}, got {', '.join(given)}")
    *leading, heads, v_dim = shape
    rows = functools.reduce(lambda a, b: a * b, leading, 1)
    kept = None
    if epilogue is None or keep_output:
        kept = torch.empty(rows, heads * v_dim, dtype=dtype, device=device)
    if epilogue is None:
        return Output(None, kept, (), {}, dtype, heads, False, shape)
    if per_head:
        epilogue = _per_head(epilogue, v_dim)
        given = {name: x.flatten(-2) if x.ndim > 2 else x for name, x in given.items()}
    missing = [name for name in epilogue.inputs if name not in given]
    if missing:
        raise ValueError(
            f"the epilogue needs tensors for {', '.join(missing)}, got {', '.join(given) or 'none'}"
        )
    given = {name: given[name] for name in epilogue.inputs}
    key = tuple((x.dtype, tuple(x.shape)) for x in given.values())
    specs = _specs(epilogue, rows, heads * v_dim, dtype, key)
    results = tuple(
        torch.empty_strided(size, stride, dtype=kind, device=device) for size, stride, kind in specs
    )
    return Output(epilogue, kept, results, given, dtype, heads, per_head, shape)


@functools.lru_cache(256)
def _per_head(epilogue: Epilogue, v_dim: int) -> Epilogue:
    """`epilogue` of (tokens, heads, D_V) as one of a row of all heads."""
    inner: Callable[..., Any] = epilogue.fn
    outputs = epilogue.outputs

    def heads_of(x: Any) -> Any:
        return torch.unflatten(x, -1, (-1, v_dim)) if isinstance(x, Tensor) and x.ndim == 2 else x

    def fn(y: Tensor, *inputs: Any) -> Any:
        results = inner(heads_of(y), *map(heads_of, inputs))
        flat = [r.flatten(-2) for r in (results if isinstance(results, (tuple, list)) else (results,))]
        return flat[0] if len(flat) == 1 else tuple(flat)

    # epiq.Epilogue reads the names of its inputs from the signature.
    fn.__signature__ = inspect.signature(inner)  # type: ignore[attr-defined]
    return Epilogue(fn, outputs)


@functools.lru_cache(1024)
def _specs(
    epilogue: Epilogue,
    rows: int,
    columns: int,
    dtype: torch.dtype,
    inputs: tuple[tuple[torch.dtype, tuple[int, ...]], ...],
) -> list[tuple[tuple[int, ...], tuple[int, ...], torch.dtype]]:
    y = torch.empty(rows, columns, dtype=dtype, device="meta")
    given = (torch.empty(shape, dtype=kind, device="meta") for kind, shape in inputs)
    return [(tuple(r.shape), tuple(r.stride()), r.dtype) for r in epilogue.compute(y, *given)]
