"""Token counts that share a schedule."""

from __future__ import annotations

_FIRST_BOUNDS = (1, 16, 64, 256)


def bucket(num_rows: int) -> int:
    """The largest number of rows of the bucket: 1, 16, 64, 256, then powers of two."""
    for bound in _FIRST_BOUNDS:
        if num_rows <= bound:
            return bound
    return 1 << (num_rows - 1).bit_length()
