"""Every script under examples/ runs on a machine without a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(p for p in (ROOT / "examples").rglob("*.py") if "def main(" in p.read_text())


def arguments(script: Path, out: Path) -> list[str]:
    """Benchmarks run in their smallest form, what writes into the tree only checks; the rest as it stands."""
    if script.parent.name == "reports":
        return ["--check"]
    if script.parent.name != "bench":
        return []
    return ["--smoke", "--device", "cpu", "--out", str(out)]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.relative_to(ROOT / "examples").as_posix())
def test_script_runs(script, tmp_path):
    environment = {**os.environ, "EPIQ_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, str(script), *arguments(script, tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()


def test_scripts_are_found():
    assert len(SCRIPTS) >= 3
