"""The errors of fusing an epilogue into a kernel."""

from __future__ import annotations

from epiq.errors import EpiqError


class FusionError(EpiqError):
    """A kernel or an epilogue that cannot be fused; the message starts with the rule that refuses.

    rule: its label, E1 to E10 of epiq-fuse-epilogue. location: the op of the kernel, by source line.
    The kernel itself still works.
    """

    def __init__(self, reason: str, location: str = "") -> None:
        super().__init__(f"{reason} (at {location})" if location else reason)
        self.rule = reason.split(":", 1)[0]
        self.location = location
