"""What callers give, checked: messages say what was wanted and what came."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from epiq.fuse.epilogue import Epilogue, Quantize
from epiq.fuse.kernel import Bound, UserKernel, leaves

_HALVES = (torch.bfloat16, torch.float16)


def grid_sizes(grid: Any, bound: Bound) -> tuple[int, int, int]:
    sizes = grid(bound.values) if callable(grid) else grid
    sizes = (sizes,) if isinstance(sizes, int) else tuple(int(size) for size in sizes)
    if not 1 <= len(sizes) <= 3 or min(sizes) < 0:
        raise ValueError(f"grid {sizes} is not one to three sizes of 0 or more")
    x, y, z = (*sizes, 1, 1)[:3]
    if math.prod((x, y, z)) >= 2**31:
        raise ValueError(f"grid {(x, y, z)} has {x * y * z} programs, the most is {2**31 - 1}")
    return x, y, z


def tensor_of(name: str, value: Any) -> Tensor:
    if value is None:
        raise TypeError(f"the epilogue needs a tensor for {name}, got None")
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(value).__name__}")
    return value


def guess_dtype(values: Sequence[Any], name: str, option: str) -> torch.dtype:
    """What a kernel with these arguments takes or stores as `name`: the dtype of its 16-bit operands, bf16
    for 8-bit ones.

    Raises: ValueError, which names the `option` that says it, where this does not tell.
    """
    tensors = [getattr(value, "base", value) for _, value in leaves(values)]
    dtypes = {value.dtype for value in tensors if isinstance(value, Tensor)}
    halves = [dtype for dtype in _HALVES if dtype in dtypes]
    if len(halves) == 1:
        return halves[0]
    if not halves and any(dtype.itemsize == 1 for dtype in dtypes):
        return torch.bfloat16
    if not halves and torch.float32 in dtypes:
        return torch.float32
    raise ValueError(f"{option} is needed for {name}: the kernel's tensors are {sorted(map(str, dtypes))}")


def check_outputs(kernel: UserKernel, output: Any) -> tuple[str, ...]:
    """The outputs as a tuple of names.

    Raises: TypeError, ValueError for what are no different arguments of the kernel.
    """
    outputs = (output,) if isinstance(output, str) else output
    if not isinstance(outputs, (tuple, list)) or not outputs:
        raise TypeError(f"output must be the name of an argument, or several, got {type(output).__name__}")
    for name in outputs:
        if not isinstance(name, str):
            raise TypeError(f"output must be the name of an argument, got {type(name).__name__}")
        if name not in kernel.names:
            raise ValueError(
                f"output {name!r} is not an argument of {kernel.name}({', '.join(kernel.names)})"
            )
    if len(set(outputs)) != len(outputs):
        raise ValueError(f"outputs repeat: {', '.join(outputs)}")
    return tuple(outputs)


def check_chain(kernel: UserKernel, fused: Sequence[str], first: Epilogue, output: Any) -> None:
    """`output` of a kernel with the epilogue `first` of its outputs `fused` must be a result of that.

    Raises: TypeError for several; ValueError if it is an argument of the kernel.
    """
    if not isinstance(output, str):
        raise TypeError(f"output must be the name of one result of {first!r}, got {type(output).__name__}")
    if output not in kernel.names:
        return
    names = ", ".join(map(repr, fused))
    already = "already has an epilogue" if output in fused else f"is not {names}, which has an epilogue"
    raise ValueError(
        f"output {output!r} of {kernel.name} {already}: an epilogue of the fused kernel reads a result of "
        f"it, {', '.join(first.outputs or ('such as q or out',))}"
    )


def check_epilogue(kernel: UserKernel, epilogue: Epilogue, outputs: int = 1) -> None:
    """`epilogue` must be one of so many outputs, with names of its own for its inputs and results."""
    if not isinstance(epilogue, Epilogue):
        raise TypeError(f"epilogue must be epiq.Quantize or epiq.Epilogue, got {type(epilogue).__name__}")
    if outputs > 1 and (isinstance(epilogue, Quantize) or len(epilogue.inputs) < outputs - 1):
        raise TypeError(
            f"the epilogue of {outputs} outputs is a function of so many tensors, such as "
            f"epiq.Epilogue(lambda gate, up: ..), got {epilogue!r}"
        )
    for name in (*epilogue.inputs[outputs - 1 :], *(epilogue.outputs or ())):
        if name in kernel.names:
            raise ValueError(f"{name!r} is an argument of {kernel.name} and of the epilogue")
