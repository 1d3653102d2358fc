"""Shared by the tests of epiq.pull_quant: the kernels, and running one of them as it is."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "fuse")]
