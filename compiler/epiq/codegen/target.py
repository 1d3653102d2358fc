"""The GPU that code is generated for: a parameter, independent of the machine that compiles."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Compute capabilities, times ten. Both are compiled with their architecture-specific features (the "a").
SUPPORTED = (90, 100)
_SPELLINGS = re.compile(r"(?:sm_?|cuda:)?(\d+)a?")


@dataclass(frozen=True)
class Target:
    """A GPU architecture, by compute capability times ten.

    Raises: ValueError for an architecture that is not in SUPPORTED.
    """

    arch: int

    def __post_init__(self) -> None:
        if self.arch not in SUPPORTED:
            raise ValueError(f"target {self.arch} is not one of {_supported_names()}")

    @property
    def name(self) -> str:
        """As ptxas calls it: sm_90a."""
        return f"sm_{self.arch}a"

    @classmethod
    def parse(cls, text: str) -> Target:
        """Reads "sm_90a", "sm_90", "90" or "cuda:90".

        Raises: TypeError if `text` is not a string, ValueError if it names no supported target.
        """
        if not isinstance(text, str):
            raise TypeError(f"target must be a string such as 'sm_90a', got {type(text).__name__}")
        match = _SPELLINGS.fullmatch(text.strip().lower())
        if match is None or int(match[1]) not in SUPPORTED:
            raise ValueError(f"target {text!r} is not one of {_supported_names()}")
        return cls(int(match[1]))

    @classmethod
    def current(cls) -> Target | None:
        """The current CUDA device's target; None without a CUDA device or for one that is not supported."""
        import torch

        if not torch.cuda.is_available():
            return None
        major, minor = torch.cuda.get_device_capability()
        arch = major * 10 + minor
        return cls(arch) if arch in SUPPORTED else None


def _supported_names() -> str:
    return ", ".join(f"sm_{arch}a" for arch in SUPPORTED)
