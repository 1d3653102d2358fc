"""Loads and stores of tiles of addresses, with their checks.

Labels of the checks, quoted by the tests: (A1) inside the argument, holes of a strided view
included; (A2) aligned to the element, and the argument to its claimed `tt.divisibility`; (A3) no
read of memory that nothing has written; (A4) no two programs write different values to one address;
(A5) no read of what another program wrote in the same launch. A4 and A5 do not apply to a program
that has ordered itself after others by an acquiring atomic or a volatile load. A1 and the alignment
to the element hold in any run, the others when `check` is on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from epiq.executor.errors import ExecutionError, Site
from epiq.executor.frame import Frame
from epiq.executor.memory import BITS, Region, some
from epiq.executor.types import Element
from epiq.executor.values import common_shape


@dataclass
class Access:
    """The active lanes of one load or store that fall into one region.

    offsets: (n,) byte offsets from the region's storage base. programs: (n,) linear ids, or None
    when each lane stands for every program of the frame. lanes: which of the op's active lanes
    these are, None for all.
    """

    frame: Frame
    site: Site
    region: Region
    size: int
    offsets: Tensor
    programs: Tensor | None
    lanes: Tensor | None = None

    @property
    def index(self) -> Tensor:
        """Positions in the storage viewed as elements of `size` bytes."""
        shift = self.size.bit_length() - 1
        return self.offsets >> shift if shift else self.offsets

    def fail(self, reason: str, lane: int) -> Exception:
        if self.programs is None:
            return self.frame.error(reason, self.site)
        launch = self.frame.launch
        return ExecutionError(reason, self.site, launch.program_id(int(self.programs[lane])))

    def where(self, lane: int) -> str:
        """The place of a lane's address, for messages."""
        offset = int(self.offsets[lane]) + self.region.storage.base - self.region.base
        return f"byte {offset} of {self.region.name}"


def program_lanes(frame: Frame, shape: torch.Size) -> Tensor | None:
    """The linear program id of each lane of a (b, ...) value, flat; None if b = 1 stands for all."""
    if shape[0] != frame.size:
        return None
    count = 1
    for size in shape[1:]:
        count *= size
    return frame.programs if count == 1 else frame.programs.repeat_interleave(count)


def accesses(frame: Frame, site: Site, addresses: Tensor, programs: Tensor | None, size: int) -> list[Access]:
    """Splits flat active addresses (n,) by region and checks A1 and A2.

    Raises: ExecutionError of the first lane that is out of bounds or misaligned.
    """
    memory = frame.launch.memory
    low, high = (int(found) for found in torch.aminmax(addresses))
    region = memory.region_of(low)
    if region is None or memory.region_of(high) is not region:
        return _split(frame, site, addresses, programs, size)
    tagged = region.address if low >> 48 else region.base
    shift = tagged - region.base + region.storage.base
    access = Access(frame, site, region, size, addresses - shift, programs)
    if low < tagged or high + size > tagged + region.extent:
        bad = (addresses < tagged) | (addresses + size > tagged + region.extent)
        lane = _first(bad)
        raise access.fail(
            f"A1: {access.where(lane)} is out of bounds: the access takes {size} bytes,"
            f" the argument has {region.extent}",
            lane,
        )
    _check_alignment(access, addresses)
    if region.holes is not None:
        _check_holes(access, region.holes)
    return [access]


def _split(frame: Frame, site: Site, addresses: Tensor, programs: Tensor | None, size: int) -> list[Access]:
    """The slow way, for pointers into several regions: one access a region."""
    memory = frame.launch.memory
    owner = addresses >> 48
    if bool((owner == 0).any()):
        for region in reversed(memory.regions):
            inside = (addresses >= region.base) & (addresses < region.base + region.extent)
            owner = torch.where((addresses >> 48 == 0) & inside, region.tag, owner)
    unknown = (owner <= 0) | (owner > len(memory.regions))
    if some(unknown):
        lane = _first(unknown)
        linear = programs[lane] if programs is not None else frame.programs[0]
        row = int((frame.programs == linear).nonzero()[0])
        address = int(addresses[lane]) & ((1 << 48) - 1)
        raise frame.error(f"A1: address {address:#x} is out of bounds: it is in no argument", site, row)
    found = []
    for tag in torch.unique(owner).tolist():
        lanes = torch.nonzero(owner == tag).flatten()
        tagged = addresses[lanes] & ((1 << 48) - 1) | (tag << 48)
        part = accesses(frame, site, tagged, None if programs is None else programs[lanes], size)[0]
        part.lanes = lanes
        found.append(part)
    return found


def _check_alignment(access: Access, addresses: Tensor) -> None:
    region, size = access.region, access.size
    if size > 1:
        rest = addresses & (size - 1)
        if int(rest.max()):
            lane = _first(rest != 0)
            raise access.fail(f"A2: {access.where(lane)} is misaligned for an element of {size} bytes", lane)
    claimed = region.divisibility
    if access.frame.launch.check and claimed > 1 and region.base % claimed:
        raise access.fail(
            f"A2: {region.name} is misaligned: tt.divisibility = {claimed} is claimed, its address is"
            f" {region.base % claimed} modulo {claimed}",
            0,
        )


def _check_holes(access: Access, holes: Tensor) -> None:
    region = access.region
    offsets = access.offsets - (region.base - region.storage.base)
    for byte in range(0, access.size, min(region.item, access.size)):
        bad = ~holes[torch.div(offsets + byte, region.item, rounding_mode="floor")]
        if some(bad):
            lane = _first(bad)
            reason = f"A1: {access.where(lane)} is out of bounds: it lies between the view's rows"
            raise access.fail(reason, lane)


def _first(flags: Tensor) -> int:
    return int(torch.nonzero(flags)[0])


def _active(frame: Frame, addresses: Tensor, mask: Tensor | None) -> tuple[Tensor | None, torch.Size]:
    """The mask broadcast to the access, None if all lanes are active; and the access's shape."""
    if mask is None or bool(mask.all()):
        return None, addresses.shape
    shape = common_shape(addresses.shape, mask.shape)
    return mask.expand(shape), shape


def load(
    frame: Frame, site: Site, element: Element, addresses: Tensor, mask: Tensor | None, other: Tensor | None
) -> Tensor:
    """Loads a tile. addresses, mask, other: (b, *shape); b is 1 or the batch, each its own.

    Returns: (b, *shape) values; lanes masked off hold `other`, or 0 without one.
    Raises: ExecutionError by rules A1, A2, A3, A5.
    """
    mask, shape = _active(frame, addresses, mask)
    size = element.size
    if mask is None:
        bits = _load_flat(frame, site, size, addresses.reshape(-1), program_lanes(frame, shape))
        return from_bits(bits.reshape(shape), element)
    if other is not None:
        shape = common_shape(shape, other.shape)
        mask = mask.expand(shape)
        result = to_bits(other.expand(shape), element).clone(memory_format=torch.contiguous_format)
    else:
        result = torch.zeros(shape, dtype=BITS[size])
    active = addresses.expand(shape)[mask]
    if active.numel():
        programs = program_lanes(frame, shape)
        programs = None if programs is None else programs[mask.reshape(-1)]
        result[mask] = _load_flat(frame, site, size, active, programs)
    return from_bits(result, element)


def _load_flat(frame: Frame, site: Site, size: int, addresses: Tensor, programs: Tensor | None) -> Tensor:
    parts = accesses(frame, site, addresses, programs, size)
    frame.launch.memory.bytes_loaded += addresses.numel() * size * (frame.size if programs is None else 1)
    if len(parts) == 1:
        return _load_part(parts[0])
    result = torch.empty(addresses.shape, dtype=BITS[size])
    for part in parts:
        assert part.lanes is not None
        result[part.lanes] = _load_part(part)
    return result


def _load_part(access: Access) -> Tensor:
    if access.frame.launch.check:
        check_read(access)
    return access.region.storage.view(access.size).gather(0, access.index)


def check_read(access: Access) -> None:
    """Rules A3 and A5."""
    storage, memory = access.region.storage, access.frame.launch.memory
    if storage.written is not None:
        where, count = storage.written.index(access.offsets, access.size)
        missing = ~storage.written.values.gather(0, where)
        if some(missing):
            lane = _first(missing) // count
            raise access.fail(f"A3: reads {access.where(lane)}, which nothing has written", lane)
    if storage.writer is None:
        return
    where, count = storage.writer.index(access.offsets, access.size)
    writer = storage.writer.values.gather(0, where)
    own = _own(access, count)
    bad = (writer > 0) & (writer != own)
    if memory.any_synced:
        bad &= ~memory.synced[own.long() - 1]
    if some(bad):
        position = _first(bad)
        lane, other = position // count, access.frame.launch.program_id(int(writer[position]) - 1)
        raise access.fail(
            f"A5: reads {access.where(lane)}, which program {other} wrote in the same launch", lane
        )


def _own(access: Access, count: int) -> Tensor:
    """Program + 1 of each granule, int32; of the first program where a lane stands for all."""
    programs = access.frame.programs[:1] if access.programs is None else access.programs
    own = (programs + 1).to(torch.int32)
    if access.programs is None:
        return own.expand(access.offsets.shape[0] * count)
    return own if count == 1 else own.repeat_interleave(count)


def store(
    frame: Frame, site: Site, element: Element, addresses: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """Stores a tile. addresses, value, mask: (b, *shape), b is 1 or the batch, each its own.

    Raises: ExecutionError by rules A1, A2, A4.
    """
    mask, shape = _active(frame, addresses, mask)
    shape = common_shape(shape, value.shape)
    bits = to_bits(value.expand(shape), element)
    addresses = addresses.expand(shape)
    programs = program_lanes(frame, shape)
    if mask is not None:
        mask = mask.expand(shape)
        addresses, bits = addresses[mask], bits[mask]
        programs = None if programs is None else programs[mask.reshape(-1)]
    addresses, bits = addresses.reshape(-1), bits.reshape(-1)
    if not addresses.numel():
        return
    copies = frame.size if programs is None else 1
    frame.launch.memory.bytes_stored += addresses.numel() * element.size * copies
    for part in accesses(frame, site, addresses, programs, element.size):
        _store_part(part, bits if part.lanes is None else bits[part.lanes])


def _store_part(access: Access, bits: Tensor) -> None:
    data, index = access.region.storage.view(access.size), access.index
    mark_written(access)
    if not access.frame.launch.check:
        data.scatter_(0, index, bits)
        return
    shadow = access.region.storage.writers()
    where, count = shadow.index(access.offsets, access.size)
    own = _own(access, count)
    before = shadow.values.gather(0, where)
    foreign = (before != 0) & (before != own)
    owner = own
    if some(foreign):
        memory = access.frame.launch.memory
        foreign &= ~memory.synced[own.long() - 1]
        changed = data.gather(0, index) != bits
        bad = foreign & (changed if count == 1 else changed.repeat_interleave(count))
        if some(bad):
            position = _first(bad)
            _raise_conflict(access, bits, position // count, int(before[position]))
        owner = torch.where(foreign, -1, own)
    if access.programs is None and access.frame.size > 1:
        owner = torch.full_like(where, -1, dtype=torch.int32)
    data.scatter_(0, index, bits)
    shadow.values.scatter_(0, where, owner)
    # Two lanes of this very op may meet at one address: what is there now is the last one's.
    after = shadow.values.gather(0, where)
    lost = data.gather(0, index) != bits
    if some(lost):
        lane = _first(lost)
        _raise_conflict(access, bits, lane, int(after[lane * count]))
    met = after != owner
    if some(met):
        shadow.values[where[met]] = -1


def mark_written(access: Access) -> None:
    """Notes for rule A3 that these bytes hold values now."""
    written = access.region.storage.written
    if written is not None:
        where, _ = written.index(access.offsets, access.size)
        written.values.scatter_(0, where, True)


def _raise_conflict(access: Access, bits: Tensor, lane: int, writer: int) -> None:
    there = int(access.region.storage.view(access.size)[access.index[lane]])
    digits = 2 * access.size
    mask = (1 << 8 * access.size) - 1
    values = f"0x{int(bits[lane]) & mask:0{digits}x} to {access.where(lane)}"
    own = int(access.frame.programs[0] if access.programs is None else access.programs[lane]) + 1
    if writer == own:
        who = "another lane of the same store"
    elif writer > 0:
        who = f"program {access.frame.launch.program_id(writer - 1)}"
    else:
        who = "other programs"
    raise access.fail(f"A4: writes {values}, where {who} wrote 0x{there & mask:0{digits}x}", lane)


def from_bits(bits: Tensor, element: Element) -> Tensor:
    if element.bits == 1:
        return bits != 0
    return bits.view(element.dtype)


def to_bits(value: Tensor, element: Element) -> Tensor:
    if element.bits == 1:
        return value.to(torch.uint8)
    return value.contiguous().view(BITS[element.size])
