"""Runs epiq-opt here, and Triton releases in processes of their own."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from epiq.tools import tool_path

HERE = Path(__file__).parent
# `make` puts a second Triton here, beside the one of the environment.
SIDE = HERE.parents[1] / ".triton-3.9"


def paths() -> dict[str, str | None]:
    """The Triton releases at hand: version -> folder to put on PYTHONPATH (None for the environment's)."""
    own = ".".join(importlib.metadata.version("triton").split(".")[:2])
    found: dict[str, str | None] = {own: None}
    if SIDE.is_dir():
        found.setdefault("3.9", str(SIDE))
    return found


def missing(version: str) -> str | None:
    """Why tests of a Triton release cannot run, or None."""
    if version in paths():
        return None
    return f"Triton {version} is not here: the environment has {list(paths())}, and `make test` fetches 3.9"


def run_python(version: str, script: str, *args: str, timeout: float = 600) -> str:
    """Runs a script of this folder beside Triton `version`; returns what it printed."""
    folder = paths()[version]
    env = dict(os.environ)
    env.pop("PYTHONPATH", None)
    if folder:
        env["PYTHONPATH"] = folder
    command = [sys.executable, "-W", "ignore", str(HERE / script), *args]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, (
        f"{script} beside Triton {version}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    )
    return done.stdout


def ask(version: str, action: str, names: Sequence[str], scratch: Path) -> dict[str, Any]:
    """Runs side.py on several files at once."""
    out = scratch / f"{action}.json"
    run_python(version, "side.py", action, str(out), *names)
    result: dict[str, Any] = json.loads(out.read_text())
    return result


def epiq_opt(path: Path | str, *flags: str) -> str:
    """epiq-opt's output for a file.

    Raises: AssertionError with its messages if it fails.
    """
    command = [str(tool_path("epiq-opt")), str(path), *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"epiq-opt {path}: exit {done.returncode}: {done.stderr[:2000]}"
    return done.stdout
