"""Tensor descriptors: the loads and stores that TMA does.

Loads outside the descriptor's shape give zeros (NaNs if it was made so), stores there are dropped.
TMA's rules are checked when a descriptor is used (A2): base and all strides but the last are
multiples of 16 bytes, the last stride is 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from epiq.executor import access
from epiq.executor.frame import Frame, rows_where
from epiq.executor.ops.atomics import combine_of, update
from epiq.executor.ops.memory import along, pad, tile_addresses, tile_mask
from epiq.executor.registry import Op, Step, handler
from epiq.executor.values import Descriptor

_KINDS = dict(enumerate(("", "add", "min", "max", "inc", "dec", "and", "or", "xor")))
_PADDING = {1: "zero", 2: "nan"}
_ALIGNMENT = 16


@handler("tt.make_tensor_descriptor")
def make_tensor_descriptor(op: Op) -> Step:
    kind = op.result_types[0]
    # The rank of the tensor; its block may have dropped leading dimensions of size 1.
    rank = (len(op.operands) - 1) // 2
    base = op.operands[0]
    shape, strides = op.operands[1 : 1 + rank], op.operands[1 + rank : 1 + 2 * rank]
    result = op.results[0]
    padding = op.enum("padding", _PADDING, "zero")

    def step(frame: Frame) -> None:
        slots = frame.slots
        frame.slots[result] = Descriptor(
            kind,
            slots[base],
            tuple(slots[slot] for slot in shape),
            tuple(slots[slot].to(torch.int64) for slot in strides),
            padding,
        )

    return step


def _check(frame: Frame, op: Op, descriptor: Descriptor) -> None:
    if not frame.launch.check:
        return
    size = descriptor.kind.element.size
    inner = descriptor.strides[-1] != 1
    if bool(inner.any()):
        row = int(rows_where(inner)[0])
        stride = int(descriptor.strides[-1][row])
        raise frame.error(f"A2: the descriptor's last stride is {stride}, not 1", op.site, row)
    named = [("base", descriptor.base), *(("stride", s * size) for s in descriptor.strides[:-1])]
    for what, value in named:
        bad = value % _ALIGNMENT != 0
        if bool(bad.any()):
            row = int(rows_where(bad)[0])
            rest = int(value[row]) % _ALIGNMENT
            raise frame.error(
                f"A2: the descriptor's {what} is misaligned: {rest} modulo {_ALIGNMENT} bytes", op.site, row
            )


def _tile(descriptor: Descriptor, block: tuple[int, ...], starts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Addresses of a block at `starts` (b,) each, and which lanes lie inside. (b, *full block)."""
    rank = len(starts)
    sizes = (1,) * (rank - len(block)) + block
    indices = [
        start.to(torch.int64).unsqueeze(1) + torch.arange(size)
        for start, size in zip(starts, sizes, strict=True)
    ]
    addresses = tile_addresses(descriptor.base, descriptor.kind.element.size, descriptor.strides, indices)
    mask = tile_mask(descriptor.shape, indices)
    assert mask is not None
    return addresses, mask


@handler("tt.descriptor_load", "tt.experimental_descriptor_load")
def descriptor_load(op: Op) -> Step:
    source, *starts = op.operands
    block, shape = op.operand_types[0].shape, op.result_types[0].shape
    result, site, element = op.results[0], op.site, op.element

    def step(frame: Frame) -> None:
        descriptor: Descriptor = frame.slots[source]
        _check(frame, op, descriptor)
        addresses, mask = _tile(descriptor, block, [frame.slots[slot] for slot in starts])
        fill = pad(element, descriptor.padding, addresses)
        value = access.load(frame, site, element, addresses, mask, fill)
        frame.slots[result] = value.reshape(-1, *shape)

    return step


@handler("tt.descriptor_store", "tt.experimental_descriptor_store")
def descriptor_store(op: Op) -> Step:
    target, value, *starts = op.operands
    block, site, element = op.operand_types[0].shape, op.site, op.operand_types[1].element

    def step(frame: Frame) -> None:
        descriptor: Descriptor = frame.slots[target]
        _check(frame, op, descriptor)
        addresses, mask = _tile(descriptor, block, [frame.slots[slot] for slot in starts])
        tile = frame.slots[value]
        access.store(frame, site, element, addresses, tile.reshape(-1, *addresses.shape[1:]), mask)

    return step


@handler("tt.descriptor_reduce")
def descriptor_reduce(op: Op) -> Step:
    target, value, *starts = op.operands
    block, element = op.operand_types[0].shape, op.operand_types[1].element
    combine = combine_of(op, op.enum("kind", _KINDS), element)

    def step(frame: Frame) -> None:
        descriptor: Descriptor = frame.slots[target]
        _check(frame, op, descriptor)
        addresses, mask = _tile(descriptor, block, [frame.slots[slot] for slot in starts])
        tile = frame.slots[value].reshape(-1, *addresses.shape[1:])
        update(frame, op.site, element, addresses, [tile], mask, combine)

    return step


def _rows(descriptor: Descriptor, rows: Tensor, column: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Addresses of whole rows. rows: (b, n) numbers; column: (b,) first column. Returns (b, n, width)."""
    columns = column.to(torch.int64).unsqueeze(1) + torch.arange(width)
    rows = rows.to(torch.int64)
    row_offset = along(rows * descriptor.strides[0].unsqueeze(1), 0, 2)
    column_offset = along(columns * descriptor.strides[1].unsqueeze(1), 1, 2)
    size = descriptor.kind.element.size
    addresses = descriptor.base.reshape(-1, 1, 1) + (row_offset + column_offset) * size
    mask = tile_mask(descriptor.shape, [rows, columns])
    assert mask is not None
    return addresses, mask


@handler("tt.descriptor_gather", "tt.experimental_descriptor_gather")
def descriptor_gather(op: Op) -> Step:
    source, rows, column = op.operands
    result, site, element = op.results[0], op.site, op.element
    width = op.result_types[0].shape[-1]

    def step(frame: Frame) -> None:
        descriptor: Descriptor = frame.slots[source]
        _check(frame, op, descriptor)
        addresses, mask = _rows(descriptor, frame.slots[rows], frame.slots[column], width)
        fill = pad(element, descriptor.padding, addresses)
        frame.slots[result] = access.load(frame, site, element, addresses, mask, fill)

    return step


@handler("tt.descriptor_scatter", "tt.experimental_descriptor_scatter")
def descriptor_scatter(op: Op) -> Step:
    target, rows, column, value = op.operands
    kind = op.operand_types[3]
    site = op.site

    def step(frame: Frame) -> None:
        descriptor: Descriptor = frame.slots[target]
        _check(frame, op, descriptor)
        addresses, mask = _rows(descriptor, frame.slots[rows], frame.slots[column], kind.shape[-1])
        access.store(frame, site, kind.element, addresses, frame.slots[value], mask)

    return step
