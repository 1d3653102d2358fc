"""Where the scales of a pulled operand lie: as the operand does, in units of what shares a scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def check_scale(name: str, scale: Any, operand_name: str, operand: Tensor, group: int) -> None:
    """The scale of the element that is `o` elements from the operand's first must lie at `o // group`.

    Raises: TypeError for what is no f32 tensor; ValueError for a shape or strides that do not go with it.
    """
    if not isinstance(scale, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(scale).__name__}")
    if scale.dtype != torch.float32:
        raise TypeError(f"{name} must be torch.float32, got {scale.dtype}")
    if scale.device != operand.device:
        raise ValueError(f"{name} is on {scale.device}, {operand_name} on {operand.device}")
    shapes, lead = _shapes(operand_name, operand, group)
    if tuple(scale.shape) not in shapes:
        raise ValueError(f"{name} must have shape {shapes[0]}, got {tuple(scale.shape)}")
    for dim, size in enumerate(lead):
        step = operand.stride(dim)
        if size > 1 and (step % group != 0 or scale.stride(dim) != step // group):
            raise ValueError(
                f"{name} must lie as {operand_name} does, a scale for {group} elements: strides of "
                f"{operand_name} are {tuple(operand.stride())}, of {name} {tuple(scale.stride())}"
            )


def _shapes(name: str, operand: Tensor, group: int) -> tuple[Sequence[tuple[int, ...]], tuple[int, ...]]:
    """The shapes that a scale may have, and the dimensions that it has in common with the operand."""
    *lead, columns = operand.shape
    is_dense = columns <= 1 or operand.stride(-1) == 1
    if is_dense and columns % group == 0:
        wide = (*lead, columns // group)
        return ((wide, tuple(lead)) if columns == group else (wide,)), tuple(lead)
    # A group of whole rows.
    is_dense &= len(lead) > 0 and operand.stride(-2) == columns
    if is_dense and group % columns == 0 and lead[-1] % (group // columns) == 0:
        return ((*lead[:-1], lead[-1] // (group // columns)),), tuple(lead[:-1])
    raise ValueError(
        f"{name} must be dense in groups of {group} elements, got shape {tuple(operand.shape)} with "
        f"strides {tuple(operand.stride())}"
    )
