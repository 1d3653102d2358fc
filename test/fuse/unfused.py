"""A user's kernel as it is, in the executor: what a fused one is compared with."""

from __future__ import annotations

from typing import Any

import torch
from triton.backends.compiler import GPUTarget

from epiq.executor import run
from epiq.fuse.kernel import UserKernel


def run_kernel(kernel: Any, grid: tuple[int, ...], *args: Any, **kwargs: Any) -> None:
    user = UserKernel(kernel)
    choice = user.choices(args, kwargs)[0]
    bound = user.bind(args, user.with_choice(args, kwargs, choice), GPUTarget("cuda", 90, 32))
    run(bound.ttir(), grid, [value for value, _ in bound.runtime_values], claims=False)


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    # Not `contiguous()`: it keeps the stride of a dimension of size 1.
    a, b = (x.clone(memory_format=torch.contiguous_format) for x in (a, b))
    return a.shape == b.shape and torch.equal(a.view(torch.uint8), b.view(torch.uint8))
