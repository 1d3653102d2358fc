"""Launches that repeat: what depends on shapes, strides and numbers only is found once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from epiq.fuse.kernel import Bound
from epiq.fuse.launch import Extra
from epiq.fuse.specialize import Specialization

_ALIGNMENT = 16


@dataclass(frozen=True)
class Replay:
    """A launch to be repeated with other tensors of the same kinds.

    extra: the epilogue's tensors, in order: their names, and whether they are passed as bytes; what else is
    known of them.
    """

    specialization: Specialization
    bound: Bound
    extra: tuple[tuple[str, bool, Extra], ...]
    device: torch.device

    def with_tensors(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], outputs: Sequence[str]
    ) -> tuple[Bound, list[Extra]]:
        """The kernel's arguments and the epilogue's tensors of another launch."""
        names = self.bound.kernel.names
        values = dict(self.bound.values)
        given = [*zip(names, args, strict=False), *((n, v) for n, v in kwargs.items() if n in values)]
        # In place of an output that is None stays what stood there.
        values.update((name, value) for name, value in given if value is not None or name not in outputs)
        extra = [
            replace(known, tensor=kwargs[name].view(torch.uint8) if is_bytes else kwargs[name])
            for name, is_bytes, known in self.extra
        ]
        return replace(self.bound, values=values), extra


def fingerprint(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """What a launch depends on but the addresses of its tensors; None where that cannot be told."""
    parts: list[Any] = []
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor):
            aligned = value.device.type == "meta" or value.data_ptr() % _ALIGNMENT == 0
            parts.append((value.dtype, value.shape, value.stride(), value.device, aligned))
        elif value is None or isinstance(value, (bool, int, float, str, torch.dtype)):
            parts.append((type(value), value))
        else:
            return None
    return (tuple(kwargs), *parts)
