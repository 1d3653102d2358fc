"""Kernels by key. A compiled graph holds the key, so kernels live as long as the process."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from epiq.errors import EpiqError

if TYPE_CHECKING:
    from epiq.runtime.kernel import Kernel

_kernels: dict[str, Kernel] = {}
_lock = threading.Lock()


def register(kernel: Kernel) -> Kernel:
    """Adds a kernel; an equal one that is there already is returned instead."""
    with _lock:
        return _kernels.setdefault(kernel.key, kernel)


def lookup(key: str) -> Kernel:
    """Raises: EpiqError for a key of another process: graphs of ours cannot be loaded from a cache."""
    try:
        return _kernels[key]
    except KeyError:
        raise EpiqError(
            f"row program {key!r} was not compiled in this process; compile the model again"
        ) from None
