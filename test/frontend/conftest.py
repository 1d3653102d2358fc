"""Shared by the frontend's tests: tracing a function to an aten graph, and importing it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
