"""Whether two results agree: to the bit, or as far as another order of summing lets them differ."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from epiq.formats.elements import from_e2m1

_PACKED = torch.float4_e2m1fn_x2
# Elements of an output that may lie outside of the bound: roundings that flip where no perturbation did.
_MAX_OUTSIDE = 0.005
_SAFETY = 8.0


def same_form(found: Tensor, wanted: Tensor) -> str:
    """What of dtype, shape or strides differs, "" for nothing."""
    if found.dtype != wanted.dtype:
        return f"dtype {found.dtype} instead of {wanted.dtype}"
    if found.shape != wanted.shape:
        return f"shape {tuple(found.shape)} instead of {tuple(wanted.shape)}"
    if found.numel() == 0:
        return ""
    if any(
        size > 1 and a != b for size, a, b in zip(found.shape, found.stride(), wanted.stride(), strict=True)
    ):
        return f"strides {found.stride()} instead of {wanted.stride()}"
    return ""


def as_numbers(x: Tensor) -> Tensor:
    """f64 values in which a step of the dtype is a step; packed scales and elements one by one."""
    x = x.detach()
    if x.dtype == _PACKED:
        return from_e2m1(x.contiguous()).double()
    if x.dtype == torch.float8_e8m0fnu:
        return x.contiguous().view(torch.uint8).double()
    return x.double()


def step_of(x: Tensor, numbers: Tensor) -> Tensor:
    """The distance of neighbouring values of the dtype of `x` around each of `numbers`."""
    if not x.dtype.is_floating_point or x.dtype in (_PACKED, torch.float8_e8m0fnu):
        return torch.zeros_like(numbers)
    info = torch.finfo(x.dtype)
    return numbers.abs().nan_to_num(0.0, 0.0, 0.0) * info.eps + info.smallest_normal * info.eps


def outside(found: Tensor, reference: Tensor, perturbed: Sequence[Tensor]) -> int:
    """How many elements of `found` are further from `reference` than small errors in its sums explain.

    perturbed: the reference computed again, each time with other small errors. An element may be as far
    off as _SAFETY times the most of these, and two steps of its dtype.
    Returns: the count beyond what chance allows; 0 for agreement.
    """
    a, b = as_numbers(found), as_numbers(reference)
    spread = torch.zeros_like(b)
    loose = torch.zeros_like(b, dtype=torch.bool)
    for each in perturbed:
        other = as_numbers(each)
        difference = (other - b).abs()
        loose |= ~difference.isfinite() & (other != b) & ~(other.isnan() & b.isnan())
        spread = torch.maximum(spread, difference.nan_to_num(0.0, 0.0, 0.0))
    bound = _SAFETY * spread + 2.0 * step_of(reference, b)
    agree = ((a - b).abs() <= bound) | (a == b) | (a.isnan() & b.isnan()) | loose
    wrong = int((~agree).sum())
    allowed = 1 + int(_MAX_OUTSIDE * a.numel())
    return 0 if wrong <= allowed else wrong
