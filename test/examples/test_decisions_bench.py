"""The benchmark of decisions: its grid, its statistics, its verdict, and that it runs."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "examples" / "bench" / "decisions.py"


@pytest.fixture(scope="module")
def bench():
    import sys

    spec = importlib.util.spec_from_file_location("decisions", BENCH)
    module = importlib.util.module_from_spec(spec)
    sys.modules["decisions"] = module
    spec.loader.exec_module(module)
    return module


def test_the_grid_is_wide(bench):
    cases = bench.choose_cases(bench.parse_arguments([]))
    assert len(cases) == len(set(cases)) >= 40
    assert {case.tokens for case in cases} >= {1, 16384}
    assert {case.layer.model for case in cases} == {"Llama-3-8B", "Llama-3-70B", "Qwen3-8B", "DeepSeek-V3"}


def test_ratios_pair_the_times_of_a_round(bench):
    """A drift that hits both sides of a round alike cancels."""
    ours = [10.0 + round for round in range(40)]
    found = bench.ratio([1.5 * time for time in ours], ours)
    assert found == {"median": 1.5, "low": 1.5, "high": 1.5}
    noisy = bench.ratio([10.0, 20.0, 30.0] * 10, [10.0] * 30)
    assert noisy["low"] <= noisy["median"] <= noisy["high"] and noisy["low"] < noisy["high"]


def test_it_runs_without_a_gpu(bench, tmp_path, capsys):
    assert bench.main(["--smoke", "--device", "cpu", "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "decisions.json").read_text())
    assert [case["decisions"][0]["chosen"] for case in record["cases"]] == ["library", "library"]
    assert (tmp_path / "decisions.md").read_text().count("not") == 0
    assert "x of inductor" in capsys.readouterr().out
