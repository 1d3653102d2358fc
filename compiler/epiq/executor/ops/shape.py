"""Ops that move values within a tile. `tt.reshape` keeps row-major order even with `allow_reorder`,
and `tt.cat` puts the left operand first; both are free to do otherwise, none relies on it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from epiq.executor.frame import Frame
from epiq.executor.ops.arith import unsigned
from epiq.executor.registry import Op, Step, elementwise, handler, typed
from epiq.executor.values import as_bits

Unary = Callable[[Tensor], Tensor]


@handler("tt.make_range")
def make_range(op: Op) -> Step:
    value = torch.arange(op.integer("start"), op.integer("end"), dtype=torch.int32).unsqueeze(0)
    result = op.results[0]

    def step(frame: Frame) -> None:
        frame.slots[result] = value

    return step


@typed("tt.splat")
def splat(op: Op) -> Unary:
    shape = op.result_types[0].shape
    ones = (1,) * len(shape)
    return lambda x: x.reshape(-1, *ones).expand(-1, *shape)


@typed("tt.unsplat")
def unsplat(op: Op) -> Unary:
    return lambda x: x.reshape(x.shape[0])


@typed("tt.broadcast")
def broadcast(op: Op) -> Unary:
    shape = op.result_types[0].shape
    return lambda x: x.expand(-1, *shape)


@typed("tt.expand_dims")
def expand_dims(op: Op) -> Unary:
    axis = op.integer("axis") + 1
    return lambda x: x.unsqueeze(axis)


@typed("tt.reshape")
def reshape(op: Op) -> Unary:
    shape = op.result_types[0].shape
    return lambda x: x.reshape(-1, *shape)


@typed("tt.trans")
def trans(op: Op) -> Unary:
    order = [0, *(dim + 1 for dim in op.ints("order"))]
    return lambda x: x.permute(order)


def _same_batch(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    size = max(a.shape[0], b.shape[0])
    return as_bits(a.expand(size, *a.shape[1:])), as_bits(b.expand(size, *b.shape[1:]))


@elementwise("tt.cat")
def cat(a: Tensor, b: Tensor) -> Tensor:
    return torch.cat(_same_batch(a, b), 1).view(a.dtype)


@elementwise("tt.join")
def join(a: Tensor, b: Tensor) -> Tensor:
    return torch.stack(_same_batch(a, b), -1).view(a.dtype)


@handler("tt.split")
def split(op: Op) -> Step:
    (source,), (left, right) = op.operands, op.results

    def step(frame: Frame) -> None:
        value = frame.slots[source]
        frame.slots[left], frame.slots[right] = value[..., 0], value[..., 1]

    return step


@handler("tt.gather")
def gather(op: Op) -> Step:
    source, indices = op.operands
    axis = op.integer("axis") + 1
    result = op.results[0]
    size = op.operand_types[0].shape[axis - 1]

    def step(frame: Frame) -> None:
        value, index = frame.slots[source], frame.slots[indices].to(torch.int64)
        bad = (index < 0) | (index >= size)
        if bool(bad.any()):
            first = torch.nonzero(bad)[0]
            found = int(index[tuple(first.tolist())])
            reason = f"index {found} is outside the {size} elements of axis {axis - 1}"
            raise frame.error(reason, op.site, int(first[0]))
        batch = max(value.shape[0], index.shape[0])
        value, index = value.expand(batch, *value.shape[1:]), index.expand(batch, *index.shape[1:])
        # Other dimensions may be longer in the source than in the indices.
        for dim in range(1, index.dim()):
            if dim != axis:
                value = value.narrow(dim, 0, index.shape[dim])
        frame.slots[result] = as_bits(value).gather(axis, index).view(value.dtype)

    return step


@handler("tt.histogram")
def histogram(op: Op) -> Step:
    """Counts of 0..bins-1; larger values, and lanes masked off, are not counted."""
    source, masks = op.operands[0], op.operands[1:]
    bins, dtype = op.result_types[0].shape[0], op.element.dtype
    result = op.results[0]

    def step(frame: Frame) -> None:
        values = frame.slots[source]
        index = values if values.dtype is torch.int64 else unsigned(values)
        counted = (index >= 0) & (index < bins)
        for mask in masks:
            counted = counted & frame.slots[mask]
        index = torch.where(counted, index, bins)
        if index.dim() > 2:
            index = index.flatten(1)
        counts = torch.zeros((index.shape[0], bins + 1), dtype=torch.int64)
        counts.scatter_add_(1, index, torch.ones_like(index))
        frame.slots[result] = counts[:, :bins].to(dtype)

    return step
