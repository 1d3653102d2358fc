"""Atomics, executed in the order of program ids and, within a program, of the tile's elements.

Each lane reads what the lanes before it left, so a float sum is added up strictly in that order.
Any semantics but `relaxed` orders the program after all that others did (rules A4 and A5). The
scope is not looked at: there is one memory here.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from epiq.executor import access
from epiq.executor.access import Access
from epiq.executor.errors import Site
from epiq.executor.frame import Frame
from epiq.executor.ops.arith import unsigned_order
from epiq.executor.ops.floats import maxnumf, minnumf
from epiq.executor.ops.memory import pointee_of
from epiq.executor.registry import Op, Step, handler
from epiq.executor.types import Element
from epiq.executor.values import common_shape

Combine = Callable[[Tensor, Tensor], Tensor]

_KINDS = dict(enumerate(("", "and", "or", "xor", "add", "fadd", "max", "min", "umax", "umin", "exch")))
_SEMANTICS = {1: "relaxed", 2: "acquire", 3: "release", 4: "acq_rel"}


def combine_of(op: Op, kind: str, element: Element) -> Combine:
    """What an atomic of that kind writes, from the old value and the operand."""
    table: dict[str, Combine] = {
        "and": torch.bitwise_and,
        "or": torch.bitwise_or,
        "xor": torch.bitwise_xor,
        "add": torch.add,
        "fadd": torch.add,
        "max": maxnumf if element.is_float else torch.maximum,
        "min": minnumf if element.is_float else torch.minimum,
        "umax": lambda a, b: torch.where(unsigned_order(a) >= unsigned_order(b), a, b),
        "umin": lambda a, b: torch.where(unsigned_order(a) <= unsigned_order(b), a, b),
        "exch": lambda a, b: b,
        "xchg": lambda a, b: b,
        "inc": lambda a, b: torch.where(unsigned_order(a) >= unsigned_order(b), 0, a + 1),
        "dec": lambda a, b: torch.where((a == 0) | (unsigned_order(a) > unsigned_order(b)), b, a - 1),
    }
    if kind not in table:
        raise op.unsupported(f"atomic operation {kind}")
    return table[kind]


@handler("tt.atomic_rmw")
def atomic_rmw(op: Op) -> Step:
    pointer, value, *mask = op.operands
    element = pointee_of(op)
    combine = combine_of(op, op.enum("atomic_rmw_op", _KINDS), element)
    ordered = op.enum("sem", _SEMANTICS) != "relaxed"
    result = op.results[0]

    def step(frame: Frame) -> None:
        slots = frame.slots
        if ordered:
            frame.launch.memory.sync(frame.programs)
        active = slots[mask[0]] if mask else None
        slots[result] = update(frame, op.site, element, slots[pointer], [slots[value]], active, combine)

    return step


@handler("tt.atomic_cas")
def atomic_cas(op: Op) -> Step:
    pointer, compare, value = op.operands
    element = pointee_of(op)
    ordered = op.enum("sem", _SEMANTICS) != "relaxed"
    result = op.results[0]

    def swap(old: Tensor, expected: Tensor, new: Tensor) -> Tensor:
        # Bits are compared, so that a float NaN can be swapped and -0 differs from +0.
        same = access.to_bits(old, element) == access.to_bits(expected, element)
        return torch.where(same, new, old)

    def step(frame: Frame) -> None:
        slots = frame.slots
        if ordered:
            frame.launch.memory.sync(frame.programs)
        values = [slots[compare], slots[value]]
        slots[result] = update(frame, op.site, element, slots[pointer], values, None, swap)

    return step


@handler("tt.atomic_load")
def atomic_load(op: Op) -> Step:
    pointer, *mask = op.operands
    element, result = pointee_of(op), op.results[0]

    def step(frame: Frame) -> None:
        slots = frame.slots
        frame.launch.memory.sync(frame.programs)
        active = slots[mask[0]] if mask else None
        slots[result] = access.load(frame, op.site, element, slots[pointer], active, None)

    return step


@handler("tt.atomic_store")
def atomic_store(op: Op) -> Step:
    pointer, value, *mask = op.operands
    element = pointee_of(op)

    def step(frame: Frame) -> None:
        slots = frame.slots
        frame.launch.memory.sync(frame.programs)
        active = slots[mask[0]] if mask else None
        access.store(frame, op.site, element, slots[pointer], slots[value], active)

    return step


@handler("tt.atomic_poll")
def atomic_poll(op: Op) -> Step:
    """Waits for a value; programs run one by one here, so it is there already or will never be."""
    pointer, expected, *timeout = op.operands
    element, result = pointee_of(op), op.results[0]

    def step(frame: Frame) -> None:
        slots = frame.slots
        frame.launch.memory.sync(frame.programs)
        found = access.load(frame, op.site, element, slots[pointer], None, None)
        equal = found == slots[expected]
        if not timeout and not bool(equal.all()):
            row = int(torch.nonzero(~equal)[0])
            value = int(found[row if found.shape[0] > 1 else 0])
            raise frame.error(
                f"waits for a value that no earlier program stores; found {value}", op.site, row
            )
        slots[result] = equal

    return step


def update(
    frame: Frame,
    site: Site,
    element: Element,
    addresses: Tensor,
    values: list[Tensor],
    mask: Tensor | None,
    combine: Callable[..., Tensor],
) -> Tensor:
    """Read-modify-write of a tile, one lane after another.

    Args: addresses: (b, *shape). values: operands of `combine` after the old value, (b, *shape) each.
    Returns: (programs, *shape) old values; 0 where masked off.
    """
    shape = common_shape(addresses.shape, *[v.shape for v in values])
    shape = torch.Size((frame.size, *shape[1:]))
    flat = addresses.expand(shape).reshape(-1)
    operands = [access.to_bits(v.expand(shape), element).reshape(-1) for v in values]
    programs = access.program_lanes(frame, shape)
    assert programs is not None
    old = torch.zeros(flat.shape, dtype=operands[0].dtype)
    active = torch.arange(flat.numel())
    if mask is not None:
        active = active[mask.expand(shape).reshape(-1)]
    if active.numel():
        memory = frame.launch.memory
        memory.bytes_loaded += active.numel() * element.size
        memory.bytes_stored += active.numel() * element.size
        for part in access.accesses(frame, site, flat[active], programs[active], element.size):
            lanes = active if part.lanes is None else active[part.lanes]
            old[lanes] = _update_part(part, element, [v[lanes] for v in operands], combine)
    return access.from_bits(old.reshape(shape), element)


def _update_part(
    part: Access, element: Element, values: list[Tensor], combine: Callable[..., Tensor]
) -> Tensor:
    storage = part.region.storage
    if part.frame.launch.check and storage.written is not None:
        access.check_read(part)
    data, index = storage.view(part.size), part.index
    old = torch.empty_like(values[0])
    for lanes in _rounds(index):
        before = data[index[lanes]]
        operands = [access.from_bits(v[lanes], element) for v in values]
        after = combine(access.from_bits(before, element), *operands)
        data[index[lanes]] = access.to_bits(after.to(element.dtype), element)
        old[lanes] = before
    return old


def _rounds(index: Tensor) -> list[Tensor]:
    """Splits lanes into rounds without a repeated address; a later lane comes in a later round."""
    order = torch.argsort(index, stable=True)
    ordered = index[order]
    starts = torch.ones_like(ordered, dtype=torch.bool)
    starts[1:] = ordered[1:] != ordered[:-1]
    if bool(starts.all()):
        return [torch.arange(index.numel())]
    positions = torch.arange(index.numel())
    first = torch.where(starts, positions, 0).cummax(0).values
    rank = torch.empty_like(positions)
    rank[order] = positions - first
    by_rank = torch.argsort(rank, stable=True)
    counts = torch.bincount(rank)
    return list(torch.split(by_rank, counts.tolist()))
