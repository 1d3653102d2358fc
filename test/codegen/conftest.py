"""Each test has a cache of its own, and the small kernel that data/ holds."""

from __future__ import annotations

from pathlib import Path

import pytest

DATA = Path(__file__).parent / "data"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("EPIQ_CACHE_DIR", str(folder))
    return folder


@pytest.fixture
def group_quant() -> str:
    """Rows of 512 bf16 to FP8 in groups of 128: (x, q, scale, rows, row stride of x)."""
    return (DATA / "group_quant.ttir").read_text()
