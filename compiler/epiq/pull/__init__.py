"""Quantizations taken out of kernels that users bring: `epiq.pull_quant(kernel, operand="q_ptr")`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from epiq.pull.pulled import Pulled
from epiq.pull.quantizer import Quantizer
from epiq.pull.specialize import PulledKernel, PullError

__all__ = ["PullError", "Pulled", "PulledKernel", "Quantizer", "pull_quant"]


def pull_quant(
    kernel: Any,
    operand: str,
    *,
    operand_dtype: torch.dtype | None = None,
    scales: Sequence[str] | None = None,
) -> Pulled:
    """`kernel` with the quantization of an operand taken out: it then takes the quantized operand.

    Args:
      kernel: a `@triton.jit` function, plain or below `@triton.autotune` and `@triton.heuristics`, that
        quantizes `operand` to FP8 or INT8 for a dot. Its source is not changed.
      operand: the name of the argument, a pointer or a descriptor.
      operand_dtype: what the operand is before it is quantized; by default that of the kernel's other
        16-bit tensors.
      scales: names for the scales, by which they are given at a launch; by default `q_scale` for an
        operand `q_ptr`, or `q_scale0`, `q_scale1` and so on where there are several.
    Returns: the kernel, launched as `pulled[grid](q, k, v, out, .., q_scale=q_scale, **constants)`, and
      `pulled.quantizer`, which makes `q` and `q_scale`.
    Raises: TypeError, ValueError for wrong arguments. At a launch also PullError, where a rule of
      epiq-pull-quant (Q1 to Q9) refuses the kernel.
    """
    return Pulled(kernel, operand, operand_dtype, scales)
