"""Shared by the tests of epiq.pull_quant: the kernels, and running one of them as it is."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / folder) for folder in ("pull", "fuse", "frontend")]
