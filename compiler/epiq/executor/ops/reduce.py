"""Reductions, scans and `tt.map_elementwise`: regions applied to elements.

Order. A reduction of n elements combines element i with element i + n/2 for all i < n/2 at once, then
again on the n/2 results, down to one; an odd element waits for the next round. A scan combines element
i with element i - d for d = 1, 2, 4, ... (Kogge-Stone); `reverse` runs it from the end. Both orders
depend on n alone. The region runs on all pairs at once, each pair as a program of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from epiq.executor.code import RegionCode
from epiq.executor.frame import Frame
from epiq.executor.registry import Op, Step, handler
from epiq.executor.values import Value


def apply_region(region: RegionCode, frame: Frame, arguments: Sequence[Tensor]) -> list[Tensor]:
    """Runs a region on scalars, once for each element of the arguments.

    Args: arguments: tensors of one shape (b, *shape), b being 1 or the batch.
    Returns: tensors of that shape.
    """
    shape = arguments[0].shape
    flat = [value.reshape(-1) for value in arguments]
    count = flat[0].shape[0]
    batched = any(
        isinstance(value := frame.slots[slot], Tensor) and value.shape[0] > 1 for slot in region.live_in
    )
    if batched:
        rows = torch.arange(frame.size).repeat_interleave(count // shape[0])
        if shape[0] == 1 and frame.size > 1:
            flat = [value.repeat(frame.size) for value in flat]
            rows = torch.arange(frame.size).repeat_interleave(count)
            shape = torch.Size((frame.size, *shape[1:]))
        inner = frame.select(rows, region.live_in)
    else:
        linear = frame.programs[:1].expand(count)
        if shape[0] == frame.size:
            linear = frame.programs.repeat_interleave(count // shape[0])
        # Only what the region reads: other registers have rows for programs, not for elements.
        slots: list[Value] = [None] * len(frame.slots)
        for slot in region.live_in:
            slots[slot] = frame.slots[slot]
        inner = Frame(frame.launch, linear, slots)
    results: list[Value] = region.call(inner, flat)
    total = 1
    for size in shape:
        total *= size
    return [value.expand(total).reshape(shape) for value in results]


def _same_batch(frame: Frame, slots: Sequence[int]) -> list[Tensor]:
    values: list[Tensor] = [frame.slots[slot] for slot in slots]
    size = max(value.shape[0] for value in values)
    return [value.expand(size, *value.shape[1:]) for value in values]


@handler("tt.reduce")
def reduce(op: Op) -> Step:
    axis = op.integer("axis") + 1
    operands, results, region = op.operands, op.results, op.regions[0]

    def step(frame: Frame) -> None:
        values = _same_batch(frame, operands)
        while (size := values[0].shape[axis]) > 1:
            half = size // 2
            left = [value.narrow(axis, 0, half) for value in values]
            right = [value.narrow(axis, half, half) for value in values]
            combined = apply_region(region, frame, [*left, *right])
            if size % 2:
                rest = [value.narrow(axis, size - 1, 1) for value in values]
                combined = [
                    torch.cat([c, r.expand(c.shape[0], *r.shape[1:])], axis)
                    for c, r in zip(combined, rest, strict=True)
                ]
            values = combined
        for slot, value in zip(results, values, strict=True):
            frame.slots[slot] = value.squeeze(axis)

    return step


@handler("tt.scan")
def scan(op: Op) -> Step:
    axis = op.integer("axis") + 1
    reverse = op.flag("reverse")
    operands, results, region = op.operands, op.results, op.regions[0]

    def step(frame: Frame) -> None:
        values = _same_batch(frame, operands)
        if reverse:
            values = [value.flip(axis) for value in values]
        size, distance = values[0].shape[axis], 1
        while distance < size:
            earlier = [value.narrow(axis, 0, size - distance) for value in values]
            later = [value.narrow(axis, distance, size - distance) for value in values]
            combined = apply_region(region, frame, [*earlier, *later])
            batch = combined[0].shape[0]
            values = [
                torch.cat([v.narrow(axis, 0, distance).expand(batch, *(-1,) * (v.dim() - 1)), c], axis)
                for v, c in zip(values, combined, strict=True)
            ]
            distance *= 2
        for slot, value in zip(results, values, strict=True):
            frame.slots[slot] = value.flip(axis) if reverse else value

    return step


@handler("tt.map_elementwise")
def map_elementwise(op: Op) -> Step:
    """Runs scalar code, branches included, on each element, or on `pack` neighbours at a time."""
    pack = op.integer("pack", 1)
    operands, results, region = op.operands, op.results, op.regions[0]
    shape = op.result_types[0].shape

    def step(frame: Frame) -> None:
        arguments: list[Tensor] = []
        for value in _same_batch(frame, operands):
            packed = value.reshape(value.shape[0], -1, pack)
            arguments.extend(packed[..., lane] for lane in range(pack))
        outputs = apply_region(region, frame, arguments)
        for position, slot in enumerate(results):
            lanes = outputs[position * pack : (position + 1) * pack]
            frame.slots[slot] = torch.stack(lanes, -1).reshape(-1, *shape)

    return step
