"""Why a row program does not become a producer's epilogue."""

from __future__ import annotations

from epiq.errors import EpiqError


class ProducerError(EpiqError):
    """The message starts with the rule, P1 to P7 of epiq.producers."""
