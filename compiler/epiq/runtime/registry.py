"""Kernels by key. A compiled graph holds the key, so kernels live as long as the process."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol, TypeVar, cast

from torch import Tensor

from epiq.errors import EpiqError


class Callee(Protocol):
    """What a call in a graph runs: a row program's kernel, or a group with a producer."""

    key: str

    def __call__(self, inputs: list[Tensor]) -> list[Tensor]:
        """New outputs."""

    def fake(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The outputs as tracing sees them."""


_Callee = TypeVar("_Callee", bound=Callee)

_kernels: dict[str, Callee] = {}
_lock = threading.Lock()


def register(kernel: _Callee) -> _Callee:
    """Adds a kernel; an equal one that is there already is returned instead."""
    with _lock:
        return cast(_Callee, _kernels.setdefault(kernel.key, kernel))


def lookup(key: str) -> Callee:
    """Raises: EpiqError for a key of another process: graphs of ours cannot be loaded from a cache."""
    try:
        return _kernels[key]
    except KeyError:
        raise EpiqError(
            f"row program {key!r} was not compiled in this process; compile the model again"
        ) from None
