"""Pointer arithmetic, loads, stores, and block pointers (`tt.make_tensor_ptr`).

A masked-off lane without `other` holds 0. Offsets are signed and scaled by the pointee's bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from epiq.executor import access
from epiq.executor.frame import Frame
from epiq.executor.registry import Op, Step, handler, typed
from epiq.executor.types import Element
from epiq.executor.values import BlockPointer

_PADDING = {1: "zero", 2: "nan"}
_CACHE = dict(enumerate(("", "none", "ca", "cg", "wb", "cs", "wt", "cv")))


@typed("tt.addptr")
def addptr(op: Op) -> Callable[[Tensor, Tensor], Tensor]:
    pointee = op.source.pointee
    if not isinstance(pointee, Element):
        raise op.unsupported("arithmetic on a pointer to a tensor")
    size = pointee.size
    if size == 1:
        return torch.add
    return lambda pointer, offset: torch.add(pointer, offset.to(torch.int64), alpha=size)


def pointee_of(op: Op) -> Element:
    """The element type that the op's first operand points to."""
    pointee = op.source.pointee
    if not isinstance(pointee, Element):
        raise op.unsupported("access through a pointer of this type")
    return pointee


@handler("tt.load")
def load(op: Op) -> Step:
    (pointer,), mask, other = op.segments(3)
    result, site = op.results[0], op.site
    volatile = op.flag("isVolatile") or op.enum("cache", _CACHE, "none") == "cv"
    if op.operand_types[0].kind == "block_pointer":
        return _load_block(op)
    element = pointee_of(op)

    def step(frame: Frame) -> None:
        slots = frame.slots
        if volatile:
            frame.launch.memory.sync(frame.programs)
        slots[result] = access.load(
            frame,
            site,
            element,
            slots[pointer],
            slots[mask[0]] if mask else None,
            slots[other[0]] if other else None,
        )

    return step


@handler("tt.store")
def store(op: Op) -> Step:
    pointer, value = op.operands[:2]
    mask = op.operands[2] if len(op.operands) > 2 else None
    site = op.site
    if op.operand_types[0].kind == "block_pointer":
        return _store_block(op)
    element = pointee_of(op)

    def step(frame: Frame) -> None:
        slots = frame.slots
        active = None if mask is None else slots[mask]
        access.store(frame, site, element, slots[pointer], slots[value], active)

    return step


@handler("tt.make_tensor_ptr")
def make_tensor_ptr(op: Op) -> Step:
    kind = op.result_types[0]
    rank = len(kind.shape)
    base = op.operands[0]
    groups = [op.operands[1 + i * rank : 1 + (i + 1) * rank] for i in range(3)]
    result = op.results[0]

    def step(frame: Frame) -> None:
        parts = [tuple(frame.slots[slot].to(torch.int64) for slot in group) for group in groups]
        frame.slots[result] = BlockPointer(kind, frame.slots[base], *parts)

    return step


@handler("tt.advance")
def advance(op: Op) -> Step:
    pointer, *deltas = op.operands
    result = op.results[0]

    def step(frame: Frame) -> None:
        block: BlockPointer = frame.slots[pointer]
        moved = tuple(o + frame.slots[d] for o, d in zip(block.offsets, deltas, strict=True))
        frame.slots[result] = BlockPointer(block.kind, block.base, block.shape, block.strides, moved)

    return step


def tile_addresses(
    base: Tensor,
    size: int,
    strides: Sequence[Tensor],
    indices: Sequence[Tensor],
) -> Tensor:
    """Addresses of a tile. indices: for each dimension (b, n) positions in the parent tensor.

    Returns: (b, n0, n1, ...) addresses.
    """
    rank = len(indices)
    address = base.reshape(-1, *[1] * rank)
    for dim, (stride, index) in enumerate(zip(strides, indices, strict=True)):
        offset = stride.to(torch.int64).unsqueeze(1) * index * size
        address = address + along(offset, dim, rank)
    return address


def tile_mask(shape: Sequence[Tensor | None], indices: Sequence[Tensor]) -> Tensor | None:
    """Which elements of a tile lie inside the parent. shape: (b,) sizes, None where not checked."""
    rank = len(indices)
    mask: Tensor | None = None
    for dim, (size, index) in enumerate(zip(shape, indices, strict=True)):
        if size is None:
            continue
        inside = along((index >= 0) & (index < size.unsqueeze(1)), dim, rank)
        mask = inside if mask is None else mask & inside
    return mask


def along(values: Tensor, dim: int, rank: int) -> Tensor:
    """(b, n) values laid along dimension `dim` of a tile of `rank` dimensions."""
    return values.reshape(values.shape[0], *[-1 if d == dim else 1 for d in range(rank)])


def _block_access(block: BlockPointer, checked: tuple[int, ...]) -> tuple[Tensor, Tensor | None]:
    indices = [
        offset.unsqueeze(1) + torch.arange(size)
        for offset, size in zip(block.offsets, block.kind.shape, strict=True)
    ]
    shape = [size if dim in checked else None for dim, size in enumerate(block.shape)]
    addresses = tile_addresses(block.base, block.kind.element.size, block.strides, indices)
    return addresses, tile_mask(shape, indices)


def _load_block(op: Op) -> Step:
    pointer, result, site = op.operands[0], op.results[0], op.site
    checked = op.ints("boundaryCheck")
    element = op.element
    padding = op.enum("padding", _PADDING, "zero")

    def step(frame: Frame) -> None:
        addresses, mask = _block_access(frame.slots[pointer], checked)
        fill = pad(element, padding, addresses)
        frame.slots[result] = access.load(frame, site, element, addresses, mask, fill)

    return step


def pad(element: Element, padding: str, like: Tensor) -> Tensor | None:
    """What fills a tile outside its parent: None (zeros), or NaNs shaped to broadcast to `like`."""
    if padding != "nan":
        return None
    return torch.full((1,) * like.dim(), torch.nan).to(element.dtype)


def _store_block(op: Op) -> Step:
    pointer, value = op.operands[:2]
    site, element = op.site, op.operand_types[0].element
    checked = op.ints("boundaryCheck")

    def step(frame: Frame) -> None:
        addresses, mask = _block_access(frame.slots[pointer], checked)
        access.store(frame, site, element, addresses, frame.slots[value], mask)

    return step
