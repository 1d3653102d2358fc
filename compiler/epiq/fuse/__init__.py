"""Epilogues for kernels that users bring: `epiq.fuse(kernel, output="c", epilogue=epiq.Quantize(fmt))`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch

from epiq.fuse.epilogue import Epilogue, Quantize
from epiq.fuse.errors import FusionError
from epiq.fuse.fused import Fused
from epiq.fuse.specialize import Specialization

__all__ = ["Epilogue", "Fused", "FusionError", "Quantize", "Specialization", "fuse"]


def fuse(
    kernel: Any,
    output: str | Sequence[str],
    epilogue: Epilogue,
    *,
    keep_output: bool = False,
    output_dtype: torch.dtype | None = None,
) -> Fused:
    """A kernel that computes `epilogue` on the tiles of `output` where `kernel` would store them.

    Args:
      kernel: a `@triton.jit` function, plain or below `@triton.autotune` and `@triton.heuristics`, or a
        kernel that was fused before. Its source is not changed.
      output: the name of the argument that it stores its result to, a pointer or a descriptor; of a fused
        kernel, the name of a result of its epilogue, which this one then reads. Several names, as in
        ("gate_ptr", "up_ptr"), for an epilogue that reads as many: tiles of the same rows and columns,
        stored side by side.
      epilogue: `epiq.Quantize(fmt)`, or `epiq.Epilogue(fn)` with a torch function of the output or outputs.
      keep_output: store the output too; otherwise pass None for it, or, of a fused kernel, nothing.
      output_dtype: the dtype of an output that is passed as None; by default that of the kernel's 16-bit
        operands. The epilogue reads values rounded to it.
    Returns: the fused kernel, launched as `fused[grid](*args, q=q, scale=scale, **constants)`.
    Raises: TypeError, ValueError for wrong arguments. At a launch also FusionError, where a rule of
      epiq-fuse-epilogue (E1 to E10) refuses the kernel.
    """
    return Fused(kernel, output, epilogue, keep_output, output_dtype)


class _CallableModule(ModuleType):
    """`epiq.fuse` is this package once it is imported; calling it calls the function."""

    def __call__(self, *args: Any, **kwargs: Any) -> Fused:
        return fuse(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
