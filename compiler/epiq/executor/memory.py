"""The memory of a launch: regions that pointers may address, and the checks on every access.

An address is an int64: the region's number + 1 in bits 48 and up, the real address below. So
pointer arithmetic, selects, casts to integers and back all work on plain integers, the low bits are
true, and a pointer that leaves its argument is caught even where another tensor follows in memory.
An address without a region number (a pointer that was loaded from memory) belongs to the region
that holds it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from epiq.errors import EpiqError

_TAG_SHIFT = 48
_ADDRESS = (1 << _TAG_SHIFT) - 1
# Where the written-flags of a tensor from `uninitialized` are kept, from one launch to the next.
_WRITTEN = "_epiq_written"
BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def some(flags: Tensor) -> bool:
    """Whether any flag is set; faster than `any` on CPU. flags: bool, not empty."""
    return bool(flags.view(torch.uint8).max())


def uninitialized(shape: tuple[int, ...] | list[int], dtype: torch.dtype) -> Tensor:
    """A tensor whose memory counts as never written; reading it before a kernel wrote it is an error.

    Its bytes are 0xFF, a NaN in every float type. What a launch writes counts as written in the next,
    and an in-place operation of torch on this tensor counts as writing all of it.
    """
    tensor = torch.empty(tuple(shape), dtype=dtype)
    if tensor.numel():
        _bytes_of(tensor).fill_(0xFF)
    return mark_uninitialized(tensor)


def mark_uninitialized(tensor: Tensor) -> Tensor:
    """Flags a tensor's memory as never written; the flag belongs to this tensor object, not to its views."""
    flags = torch.zeros(tensor.untyped_storage().nbytes() // tensor.element_size() + 1, dtype=torch.bool)
    setattr(tensor, _WRITTEN, (Shadow(tensor.element_size(), flags), _version(tensor)))
    return tensor


def _written(tensor: Tensor) -> Shadow | None:
    """The written-flags of a tensor; None if all of it counts as written."""
    shadow, version = getattr(tensor, _WRITTEN, (None, 0))
    return shadow if version == _version(tensor) else None


def _version(tensor: Tensor) -> int:
    """How often torch changed the tensor in place; kernels do not count. Inference tensors do not tell."""
    return 0 if tensor.is_inference() else tensor._version


def _bytes_of(tensor: Tensor) -> Tensor:
    storage = tensor.untyped_storage()
    return torch.empty(0, dtype=torch.uint8).set_(storage, 0, (storage.nbytes(),), (1,))


@dataclass
class Shadow:
    """One value for each `granule` bytes of a storage."""

    granule: int
    values: Tensor

    def index(self, offsets: Tensor, size: int) -> tuple[Tensor, int]:
        """Positions of the granules of accesses of `size` bytes at byte `offsets` (n,).

        Returns: (n * k,) positions and k, the granules of one access, which lie side by side.
        """
        if size < self.granule:
            self.values = self.values.repeat_interleave(self.granule // size)
            self.granule = size
        shift = self.granule.bit_length() - 1
        first = offsets >> shift if shift else offsets
        count = size // self.granule
        if count == 1:
            return first, 1
        return (first.unsqueeze(1) + torch.arange(count)).reshape(-1), count


@dataclass
class Storage:
    """Memory that one or more arguments view, with what the launch did to it.

    base: real address of byte `skip`, which is aligned to 16. written: flags of the bytes that hold
    values, None when all do. writer: 0, or program + 1 of the one that wrote in this launch, or -1
    when several programs wrote the same value.
    """

    base: int
    data: Tensor
    written: Shadow | None = None
    writer: Shadow | None = None
    granule: int = 8
    typed: dict[int, Tensor] = field(default_factory=dict)

    def view(self, size: int) -> Tensor:
        """The memory as integers of `size` bytes."""
        if size not in self.typed:
            whole = self.data.shape[0] // size * size
            self.typed[size] = self.data[:whole].view(BITS[size])
        return self.typed[size]

    def writers(self) -> Shadow:
        if self.writer is None:
            count = self.data.shape[0] // self.granule + 1
            self.writer = Shadow(self.granule, torch.zeros(count, dtype=torch.int32))
        return self.writer


@dataclass
class Region:
    """What one pointer argument may address.

    name: "argument 2". tag: the region's number in addresses. base: real address of its first byte.
    extent: bytes. holes: for a view with gaps, which elements of `item` bytes belong to it.
    divisibility: claimed for the pointer, 1 if nothing is.
    """

    name: str
    tag: int
    base: int
    extent: int
    storage: Storage
    item: int
    holes: Tensor | None
    divisibility: int = 1

    @property
    def address(self) -> int:
        return (self.tag << _TAG_SHIFT) | self.base


class Memory:
    """All regions of a launch. synced: programs that have ordered themselves after others by an
    atomic or a volatile load, whose accesses are therefore no races."""

    def __init__(self, num_programs: int) -> None:
        self.regions: list[Region] = []
        self.storages: dict[int, Storage] = {}
        self.synced = torch.zeros(num_programs + 1, dtype=torch.bool)
        self.any_synced = False
        self.bytes_loaded = 0
        self.bytes_stored = 0

    def add(self, tensor: Tensor, name: str) -> Region:
        """Makes a tensor addressable. Raises: ValueError if it is not a plain CPU tensor."""
        if tensor.device.type != "cpu":
            raise ValueError(f"{name} is on {tensor.device}, the executor takes CPU tensors")
        if tensor.layout is not torch.strided:
            raise ValueError(f"{name} has layout {tensor.layout}, the executor takes strided tensors")
        item = tensor.element_size()
        storage = self._storage(tensor)
        extent, holes = 0, None
        if tensor.numel():
            last = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
            extent = (last + 1) * item
            holes = _holes(tensor, last + 1)
        tag = len(self.regions) + 1
        # A tensor without elements has no address; pointers to it need one that is aligned.
        base = tensor.data_ptr() or 1 << 20
        if base > _ADDRESS:
            raise EpiqError(f"{name} lies at address {base:#x}, above 48 bits")
        region = Region(name, tag, base, extent, storage, item, holes)
        self.regions.append(region)
        return region

    def _storage(self, tensor: Tensor) -> Storage:
        untyped = tensor.untyped_storage()
        pointer = untyped.data_ptr()
        storage = self.storages.get(pointer)
        if storage is None:
            skip = -pointer % 16
            data = torch.empty(0, dtype=torch.uint8)
            data = data.set_(untyped, skip, (max(0, untyped.nbytes() - skip),), (1,))
            storage = Storage(pointer + skip, data)
            if pointer:
                self.storages[pointer] = storage
        storage.granule = min(storage.granule, tensor.element_size())
        written = _written(tensor)
        if written is not None:
            storage.written = written
        return storage

    def region_of(self, address: int) -> Region | None:
        """The region that an address belongs to, whether or not it lies inside."""
        tag = address >> _TAG_SHIFT
        if 0 < tag <= len(self.regions):
            return self.regions[tag - 1]
        if tag != 0:
            return None
        for region in self.regions:
            if region.base <= address < region.base + region.extent:
                return region
        return None

    def sync(self, programs: Tensor) -> None:
        """Notes that these programs are ordered after what others did before."""
        self.synced[programs] = True
        self.any_synced = True


def _holes(tensor: Tensor, count: int) -> Tensor | None:
    """Which of the `count` elements from the first to the last belong to the tensor; None if all do."""
    if tensor.is_contiguous():
        return None
    inside = torch.zeros(count, dtype=torch.bool)
    torch.as_strided(inside, tensor.shape, tensor.stride()).fill_(True)
    return None if bool(inside.all()) else inside
