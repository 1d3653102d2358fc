"""Shared by the tests of epiq.fuse: the kernels, and running one of them unfused."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
