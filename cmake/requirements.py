"""Prints the requirements that pyproject.toml lists, for pip: `build` or `run` (with tests and tools)."""

from __future__ import annotations

import re
import sys
from pathlib import Path

PROJECT = Path(__file__).parent.parent / "pyproject.toml"
# torch and triton are installed by the Makefile, at versions that it names.
PINNED_ELSEWHERE = ("torch", "triton", "epiq")


def list_of(text: str, key: str) -> list[str]:
    """Strings of the list `key = [...]`; Python 3.10 has no tomllib."""
    body = re.search(rf"^{key} = \[(.*?)\]$", text, re.MULTILINE | re.DOTALL)
    if body is None:
        raise SystemExit(f"pyproject.toml has no list {key}")
    return re.findall(r'"([^"]+)"', body.group(1))


def main() -> None:
    text = PROJECT.read_text()
    keys = {"build": ["requires"], "run": ["dependencies", "test", "models", "dev"]}[sys.argv[1]]
    names = [name for key in keys for name in list_of(text, key)]
    print("\n".join(name for name in names if re.split(r"[^\w-]", name)[0] not in PINNED_ELSEWHERE))


if __name__ == "__main__":
    main()
