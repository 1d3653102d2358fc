"""The benchmark's own arithmetic: cells, bounds, the table, and that a failure is not fatal."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

BENCH = Path(__file__).parents[2] / "examples" / "bench"


@pytest.fixture(scope="module")
def bench():
    sys.path.insert(0, str(BENCH))
    import row_programs

    yield row_programs
    sys.path.remove(str(BENCH))


def outputs(scale_factor=1.0, flipped=0, residual=0.0, scales=1):
    """Residual, FP8 values and scales of a pretended program, changed a little."""
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(64, 256, generator=generator).bfloat16() + residual
    q = torch.randn(64, 256, generator=generator).to(torch.float8_e4m3fn)
    q.view(torch.uint8).view(-1)[:flipped] ^= 1
    scale = torch.rand(64, 2, generator=generator) + 1.0
    scale[:scales, 0] *= scale_factor
    return h, q, scale


@pytest.mark.parametrize(
    ("change", "good"),
    [
        ({}, True),
        ({"scale_factor": 1 + 1e-7}, True),
        ({"scale_factor": 1.001}, True),  # one of 128 scales
        ({"scale_factor": 1.001, "scales": 3}, False),  # three are more than two, and than one in a thousand
        ({"scale_factor": 1.1}, False),
        ({"flipped": 32}, True),  # 32 of 16384 bytes
        ({"flipped": 40}, False),
        ({"residual": 0.01}, False),
    ],
)
def test_bounds(bench, change, good):
    assert bench.within_bounds(bench.compare(outputs(**change), outputs())) is good


def test_wrong_strides_are_an_error(bench):
    h, q, scale = outputs()
    with pytest.raises(AssertionError, match=r"strides \(1, 64\), eager's are \(2, 1\)"):
        bench.compare((h, q, scale.t().contiguous().t()), (h, q, scale))


def test_strides_of_one_long_dimensions_mean_nothing(bench):
    one = torch.zeros(1, 4)
    assert bench.same_bits((one.as_strided((1, 4), (1, 1)),), (one,))


def test_cells_are_chosen(bench):
    cells = bench.choose_cells(bench.parse_arguments([]))
    assert len(cells) == len(set(cells)) == 7 * sum(len(one.widths) for one in bench.PROGRAMS.values())
    assert len(bench.choose_cells(bench.parse_arguments(["--smoke"]))) == len(bench.PROGRAMS)
    assert {cell.tokens for cell in bench.choose_cells(bench.parse_arguments(["--tokens", "5"]))} == {5}


def timed(epiq, inductor, copy, vllm=None):
    times = {"epiq": epiq, "inductor": inductor, "copy": copy, "vllm": vllm}
    return {
        name: {"median_us": value, "p10_us": value, "p90_us": value, "samples": 10}
        for name, value in times.items()
        if value is not None
    }


def test_the_table_has_ratios_means_promises_and_failures(bench):
    good = {"within_bounds": True, "fused_is_unfused": True}
    cell = {"program": "add_rms_norm_group", "tokens": 8192, "width": 4096, "checks": good}
    cell |= {"bytes_moved": 300 << 20}
    other = {"program": "add_rms_norm_group", "tokens": 1, "width": 7168, "error": "RuntimeError: no"}
    warm, flushed = timed(80.0, 120.0, 76.0, 160.0), timed(82.0, 123.0, 69.7, 82.0 * 0.9)
    cells = [cell | {"warm": warm, "flushed": flushed}, other]
    text = bench.as_markdown({"device": "D", "command": "C", "conditions": "", "cells": cells})
    numbers = "120.0 | 160.0 | 80.0 (80.0-80.0) | 1.50x (1.50x) | 2.00x (0.90x) | 0.85x | ok |"
    assert f"| 8192 x 4096 | {numbers}" in text
    assert "| add_rms_norm_group | 1 x 7168 | | | | | | | RuntimeError: no |" in text
    assert "| add_rms_norm_group | 1 | 1.50x (1.50x) | 2.00x (0.90x) | 0.85x |" in text
    assert "at least 1.50x of vLLM | 2.00x over 2 cells |" in text
    assert "at least 1.30x of Inductor | not measured |" in text
    assert "0 of 1, worst 0.85; add_rms_norm_group 8192 x 4096: 0.85 |" in text
    assert "behind the fastest peer, warm | 1 of 1, worst 1.50 |" in text
    assert "behind the fastest peer, flushed | 0 of 1, worst 0.90; add_rms_norm_group" in text


def test_a_failing_cell_is_recorded_and_the_rest_goes_on(bench, monkeypatch, tmp_path, capsys):
    good = {"within_bounds": True}

    def run_cell(cell, options, *, baseline, check_unfused):
        if "silu" in cell.program:
            raise RuntimeError("no\nreason")
        return bench.dataclasses.asdict(cell) | {"checks": good, "warm": timed(1.0, 2.0, 1.0)}

    monkeypatch.setattr(bench, "run_cell", run_cell)
    assert bench.main(["--smoke", "--device", "cpu", "--out", str(tmp_path)]) == 1
    assert "7 cells, 2 failed" in capsys.readouterr().out
    cells = json.loads((tmp_path / "results.json").read_text())["cells"]
    errors = [cell["error"] for cell in cells if "error" in cell]
    assert errors == ["RuntimeError: no reason"] * 2
    assert (tmp_path / "results.md").read_text().startswith("# Row programs on ")


def test_the_budget_leaves_cells_out(bench, monkeypatch, capsys):
    monkeypatch.setattr(bench, "run_cell", None)
    assert bench.main(["--smoke", "--device", "cpu", "--budget-s", "-1"]) == 0
    assert "7 cells are left out" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")
def test_without_a_gpu_it_says_what_to_do(bench, capsys):
    assert bench.main([]) == 2
    assert "use --device cpu --smoke" in capsys.readouterr().out
