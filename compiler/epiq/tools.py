"""The native tools that come with the package, as console scripts."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

__all__ = ["epiq_opt", "tool_path"]


def tool_path(name: str) -> Path:
    """Path of a bundled tool, `epiq-opt` or `FileCheck`.

    Raises: FileNotFoundError if the package was installed without its native part.
    """
    path = Path(__file__).parent / "_bin" / name
    if not path.is_file():
        raise FileNotFoundError(
            f"{name} is not in {path.parent}: the package was installed without its C++ part"
        )
    return path


def epiq_opt() -> NoReturn:
    """Runs `epiq-opt` with this process's arguments."""
    path = tool_path("epiq-opt")
    os.execv(path, [str(path), *sys.argv[1:]])
