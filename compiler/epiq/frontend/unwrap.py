"""The registry of what custom ops compute, in plain torch, so that it can be fused."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from epiq.errors import EpiqError


class UnwrapError(EpiqError, ValueError):
    """A function given to `register_unwrap` does not compute what its op does."""


@dataclass(frozen=True)
class Unwrap:
    """What stands for an op. written: names of the arguments that the op writes, in its order."""

    op: torch._ops.OpOverload
    torch_fn: Callable[..., Any]
    written: tuple[str, ...]

    @property
    def num_results(self) -> int:
        """Results of `torch_fn`: those of the op, then the new value of each argument it writes."""
        return len(self.op._schema.returns) + len(self.written)


_registered: dict[torch._ops.OpOverload, Unwrap] = {}


def register_unwrap(op: torch._ops.OpOverload, torch_fn: Callable[..., Any]) -> None:
    """Says what a custom op computes, so that the backend can fuse it with its neighbours.

    Where `op` stands in a graph that is compiled from now on, `torch_fn` is traced in its place. If
    all of it ends up in kernels that hold more than the op did, these replace the op; if not, the
    graph keeps the op as it was. Custom ops and attention that `torch_fn` calls stay calls: an op that
    quantizes Q and attends is taken apart where its quantization joins what made Q.

    Args:
      op: `torch.ops.namespace.name.default`. It may write arguments, but returns no views of them.
      torch_fn: takes the arguments of the op, in order or by name, writes none of them, and returns
        the op's results followed by the new value of each argument that the op writes, in the
        order of the schema. One tensor may stand for a tuple of one. It computes in plain torch
        what the op computes, rounding where the op rounds: fused kernels have its bits.
    Raises: TypeError if `op` is no OpOverload or `torch_fn` not callable; ValueError if `torch_fn`
      does not take the op's arguments, or the op returns a view. A `torch_fn` whose results have
      other shapes or dtypes than the op's raises UnwrapError, a ValueError, when a graph is compiled.

        def fused_add_rms_norm(input, residual, weight, epsilon):    # writes input and residual
            residual = input + residual
            return torch.rms_norm(residual, weight.shape, weight, epsilon), residual

        epiq.register_unwrap(torch.ops.server.fused_add_rms_norm.default, fused_add_rms_norm)
    """
    if not isinstance(op, torch._ops.OpOverload):
        hint = f"; did you mean {op}.default?" if isinstance(op, torch._ops.OpOverloadPacket) else ""
        raise TypeError(f"op must be an OpOverload such as torch.ops.aten.add.Tensor, got {op!r}{hint}")
    if not callable(torch_fn):
        raise TypeError(f"torch_fn must be a function, got {torch_fn!r}")
    schema = op._schema
    if any(result.alias_info is not None for result in schema.returns):
        raise ValueError(f"{schema} returns a view of an argument: register the op that it is a form of")
    _check_parameters(op, torch_fn)
    written = tuple(
        argument.name
        for argument in schema.arguments
        if argument.alias_info is not None and argument.alias_info.is_write
    )
    _registered[op] = Unwrap(op, torch_fn, written)


def find_unwrap(op: Any) -> Unwrap | None:
    """What is registered for `op`, None for nothing."""
    return _registered.get(op) if isinstance(op, torch._ops.OpOverload) else None


def _check_parameters(op: torch._ops.OpOverload, torch_fn: Callable[..., Any]) -> None:
    arguments = op._schema.arguments
    try:
        signature = inspect.signature(torch_fn)
    except (TypeError, ValueError):
        return  # a builtin that does not tell; tracing it will
    by_position = [argument.name for argument in arguments if not argument.kwarg_only]
    by_name = {argument.name: None for argument in arguments if argument.kwarg_only}
    try:
        signature.bind(*by_position, **by_name)
    except TypeError as error:
        name = getattr(torch_fn, "__name__", repr(torch_fn))
        raise ValueError(f"{name}{signature} does not take the arguments of {op._schema}: {error}") from error
