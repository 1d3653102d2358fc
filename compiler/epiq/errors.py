"""The errors that epiq raises on its callers' account."""

__all__ = ["EpiqError", "IRError", "PassError", "UnsupportedError"]


class EpiqError(Exception):
    """Base of every error that epiq raises itself."""


class IRError(EpiqError, ValueError):
    """IR that does not parse or verify; the message starts with `file:line:col:`."""


class PassError(EpiqError):
    """A pass failed; the message holds what it said."""


class UnsupportedError(EpiqError, NotImplementedError):
    """Valid input that epiq cannot handle yet; the message names it."""
