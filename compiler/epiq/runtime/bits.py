"""Whether tensors are equal bit for bit, and where not."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_PACKED = torch.float4_e2m1fn_x2


def bits(x: Tensor) -> Tensor:
    """Comparable integers: NaNs, whose payload says nothing, are all the same."""
    x = x.detach().contiguous()
    raw = x.view(_INTEGERS[x.element_size()])
    if not x.dtype.is_floating_point or x.dtype == _PACKED:
        return raw
    return raw.masked_fill(x.double().isnan(), 0x7F)


@dataclass(frozen=True)
class BitDifference:
    """Where the bits of two tensors differ. first: the index of the first element that does."""

    count: int
    total: int
    first: tuple[int, ...]
    found: str
    wanted: str

    def __str__(self) -> str:
        where = ", ".join(map(str, self.first))
        return (
            f"{self.count} of {self.total} differ, first at [{where}]: {self.found} instead of {self.wanted}"
        )


def bit_difference(found: Tensor, wanted: Tensor) -> BitDifference | None:
    """How two tensors of one form differ in bits, None where they do not."""
    a, b = bits(found), bits(wanted)
    if torch.equal(a, b):
        return None
    differing = (a != b).nonzero()
    first = tuple(int(index) for index in differing[0])
    return BitDifference(len(differing), a.numel(), first, _shown(found, first), _shown(wanted, first))


def _shown(x: Tensor, index: tuple[int, ...]) -> str:
    if x.dtype == _PACKED or not x.dtype.is_floating_point:
        return str(int(bits(x)[index]))
    return f"{x[index].double().item():.9g}"
