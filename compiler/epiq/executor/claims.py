"""Checks of `tt.divisibility`, `tt.contiguity` and `tt.constancy` on ops: what `tl.multiple_of`,
`tl.max_contiguous` and `tl.max_constancy` promise the compiler. A broken promise gives wrong or
faulting code on a GPU, so it is an error here (A2)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from epiq.executor.frame import Frame
from epiq.executor.registry import Op


def claims_of(op: Op) -> Callable[[Frame], None] | None:
    """The check of the claims on an op's result; None if it makes none."""
    divisibility = op.ints("tt.divisibility")
    contiguity = op.ints("tt.contiguity")
    constancy = op.ints("tt.constancy")
    if not op.results or not (divisibility or contiguity or constancy):
        return None
    kind = op.result_types[0]
    if kind.kind not in ("tensor", "scalar") or kind.element.is_float or kind.element.bits == 1:
        return None
    slot = op.results[0]
    rank = len(kind.shape)
    pointee = kind.element.pointee
    # Pointers advance by the size of what they point to.
    unit = getattr(pointee, "size", 1) if kind.element.is_pointer else 1
    steps = _per_dim(contiguity, rank)
    runs = _per_dim(constancy, rank)

    def check(frame: Frame) -> None:
        value = frame.slots[slot]
        for dim in range(rank):
            size = kind.shape[dim]
            for length, step, what in ((steps[dim], unit, "tt.contiguity"), (runs[dim], 0, "tt.constancy")):
                if length > 1 and size % min(length, size) == 0:
                    _check_runs(frame, op, value, dim, min(length, size), step, f"{what} = {length}")
        if not divisibility:
            return
        firsts = value
        for dim in range(rank):
            # Only the first element of each contiguous run is claimed to be a multiple.
            firsts = firsts[(slice(None),) * (dim + 1) + (slice(None, None, max(1, steps[dim])),)]
        multiple = max(_per_dim(divisibility, max(1, rank)))
        _check(frame, op, firsts % multiple != 0, firsts, f"tt.divisibility = {multiple}")

    return check


def _per_dim(values: tuple[int, ...], rank: int) -> list[int]:
    if len(values) == rank:
        return list(values)
    return [values[0] if values else 1] * rank


def _check_runs(frame: Frame, op: Op, value: Tensor, dim: int, length: int, step: int, claim: str) -> None:
    split = value.reshape(*value.shape[: dim + 1], -1, length, *value.shape[dim + 2 :]).movedim(dim + 2, -1)
    expected = split[..., :1] + step * torch.arange(length)
    _check(frame, op, split != expected, split, claim)


def _check(frame: Frame, op: Op, bad: Tensor, value: Tensor, claim: str) -> None:
    if bool(bad.any()):
        position = torch.nonzero(bad)[0]
        found = int(value[tuple(position.tolist())])
        raise frame.error(f"A2: {claim} is claimed, but the value is {found}", op.site, int(position[0]))
