"""Launches a kernel, with an epilogue or as it is: on a GPU, or in the executor."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from epiq.attention.outputs import Output
from epiq.codegen import Target
from epiq.fuse import Epilogue, Fused, Specialization
from epiq.fuse import fuse as fuse_epilogue
from epiq.fuse.kernel import Bound, UserKernel

# The argument that every kernel stores its output to.
OUTPUT = "o_ptr"
_ttir: dict[Any, str] = {}


def launch(
    kernel: Any, grid: tuple[int, ...], arguments: dict[str, Any], constants: dict[str, Any], output: Output
) -> None:
    """Launches `kernel` with the epilogue of `output`; both give its arguments by name."""
    if output.epilogue is None:
        launch_plain(kernel, grid, {**arguments, OUTPUT: output.kept}, constants, output.device)
        return
    fused = _fused(kernel, output.epilogue, output.kept is not None, output.dtype)
    fused[grid](**{**arguments, OUTPUT: output.kept}, **constants, **output.named())


def specialize(
    kernel: Any, arguments: dict[str, Any], constants: dict[str, Any], output: Output
) -> Specialization:
    """The fused kernel that `launch` would launch; needs no GPU, tensors may be on the meta device."""
    assert output.epilogue is not None
    fused = _fused(kernel, output.epilogue, output.kept is not None, output.dtype)
    return fused.specialize(**{**arguments, OUTPUT: output.kept}, **constants, **output.named())


def launch_plain(
    kernel: Any,
    grid: tuple[int, ...],
    arguments: dict[str, Any],
    constants: dict[str, Any],
    device: torch.device,
) -> None:
    """Launches a kernel without an epilogue."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            kernel[grid](**arguments, **constants)
        return
    from epiq.executor import run as execute

    bound = bind(kernel, arguments, constants)
    values: list[Any] = []
    for name in bound.runtime_names:
        value = bound.values[name]
        values.append(value)
        if hasattr(value, "block_shape"):
            values.extend(value.shape)
            values.extend(value.strides)
    if bound.key not in _ttir:
        _ttir[bound.key] = bound.ttir()
    execute(_ttir[bound.key], (*grid, 1, 1)[:3], values)


def bind(kernel: Any, arguments: dict[str, Any], constants: dict[str, Any]) -> Bound:
    """The kernel for these arguments on Hopper."""
    from triton.backends.compiler import GPUTarget

    return UserKernel(kernel).bind((), {**arguments, **constants}, GPUTarget("cuda", Target(90).arch, 32))


def descriptor(x: Tensor, rows: int, heads: int, columns: int) -> Any:
    """A tensor descriptor of x, (batch, tokens, heads, dim), for blocks of one sequence."""
    from triton.tools.tensor_descriptor import TensorDescriptor

    strides = list(x.stride())
    # Where there is one of something, how far apart they would be is nobody's business but the checks'.
    for i in (2, 1, 0):
        if x.shape[i] == 1:
            strides[i] = strides[i + 1] * (x.shape[i + 1] if i < 2 else -(-x.shape[3] // 16) * 16)
    return TensorDescriptor(x, list(x.shape), strides, [1, rows, heads, columns])


@functools.lru_cache(256)
def _fused(kernel: Any, epilogue: Epilogue, keep: bool, dtype: torch.dtype) -> Fused:
    return fuse_epilogue(kernel, OUTPUT, epilogue, keep_output=keep, output_dtype=dtype)
