"""What codegen raises when Triton, ptxas or the driver refuse."""

from __future__ import annotations

from epiq.errors import EpiqError


class CompileError(EpiqError):
    """Triton or ptxas did not compile the IR; the message ends with what they said."""


class LaunchError(EpiqError):
    """A compiled kernel cannot run on the device at hand."""
