"""`epiq bench`: what it counts, what it words, and pages that need nothing else."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
import torch
from bench_record import record
from typer.testing import CliRunner

from epiq.cli.app import app
from epiq.report.bench import Workload, count_cell, measure_cell
from epiq.report.bench_markdown import bench_markdown
from epiq.report.bench_values import BenchPage, duration
from epiq.report.compare import Call
from epiq.report.html import bench_page
from epiq.report.svg import Point, roofline

MODEL = """
import torch, epiq
def norm_quantize(x, w):
    return epiq.quantize(torch.rms_norm(x, w.shape, w, 1e-5), epiq.formats.FP8_GROUP128)
def inputs():
    return torch.randn(8, 256).bfloat16(), torch.ones(256).bfloat16()
"""


class Checked(HTMLParser):
    """Fails on tags that do not nest, and on anything that a page would have to fetch."""

    VOID = ("meta", "br", "line", "rect", "circle")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attributes):
        names = dict(attributes)
        assert tag not in ("script", "link", "img", "iframe"), tag
        assert not any(name in names for name in ("src", "onclick")), names
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def check_page(text: str) -> None:
    parser = Checked()
    parser.feed(text)
    assert parser.open == []
    assert not re.search(r"url\((?!#)|@import|https?://", text)


def test_lost_cells_are_said_as_plainly_as_won_ones():
    page = BenchPage(record())
    assert page.verdicts == [
        "Faster than Inductor at its best: prefill 4 x 2048 (1.10x).",
        "Slower than Inductor at its best: prefill 1 x 128 (0.80x).",
        "Not measured: decode 32 at 2048.",
    ]
    text = bench_page(record())
    assert 'class="number faster">1.100x' in text
    assert 'class="number slower">0.800x' in text
    check_page(text)


def test_a_failure_is_a_row_and_is_escaped():
    text = bench_page(record())
    assert "OutOfMemoryError: too &lt;much&gt;" in text
    assert "failed: OutOfMemoryError" in bench_markdown(record())


def test_an_output_that_is_off_is_said():
    off = record()
    off["cells"][0]["ok"] = False
    assert "Output too far from eager's: prefill 4 x 2048." in BenchPage(off).verdicts
    assert "TOO FAR" in bench_markdown(off)


def test_a_fused_kernel_is_compared_with_the_copy():
    """100 MB in 50 us are 2000 GB/s, two thirds of 3000."""
    (row,) = BenchPage(record()).groups[0]["rows"]
    assert (row["time"], row["fraction"]) == ("50.0", "67 %, 2000 GB/s")
    assert "67 %, 2000 GB/s" in bench_markdown(record())


def test_the_roof_is_the_time_of_a_copy():
    """A point on the roof lies on its line: 3000 GB/s move 3 MB in a microsecond."""
    text = roofline([Point("a<b", 3e8, 100.0), Point("far", 3e9, 4000.0)], 3000.0)
    line = re.search(r'class="roof".*?x1="([\d.]+)" y1="([\d.]+)" x2="([\d.]+)" y2="([\d.]+)"', text)
    x1, y1, x2, y2 = map(float, line.groups())
    cx, cy = map(float, re.search(r'circle cx="([\d.]+)" cy="([\d.]+)"', text).groups())
    assert abs(y1 + (cx - x1) / (x2 - x1) * (y2 - y1) - cy) < 0.5
    assert "a&lt;b" in text
    assert roofline([], 3000.0) == ""


@pytest.mark.parametrize(
    ("time_us", "text"), [(5.25, "5.2 µs"), (999.94, "999.9 µs"), (1732.0, "1.732 ms"), (15483.0, "15.48 ms")]
)
def test_durations(time_us, text):
    assert duration(time_us) == text


def test_other_json_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has schema 9, this epiq reads 1"):
        BenchPage({**record(), "schema": 9})
    with pytest.raises(ValueError, match="no JSON of epiq bench"):
        BenchPage({"graphs": []})


def test_without_a_gpu_it_counts(tmp_path, monkeypatch):
    (tmp_path / "model.py").write_text(MODEL)
    spec = f"{tmp_path / 'model.py'}:norm_quantize"
    result = CliRunner().invoke(app, ["bench", spec, "--count", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out" / "bench.json").read_text())
    (group,) = found["cells"][0]["groups"]
    # Reads x and w, writes q and a scale for each group of 128.
    assert group["bytes"] == 8 * 256 * 2 + 256 * 2 + 8 * 256 + 8 * 2 * 4
    assert (found["measured"], found["cells"][0]["fused"]) == (False, 1)
    page = (tmp_path / "out" / "bench.html").read_text()
    assert "Counted, not measured" in page
    assert "µs" not in page
    check_page(page)
    assert "Counted, not measured" in (tmp_path / "out" / "bench.md").read_text()
    before = page
    result = CliRunner().invoke(app, ["report", str(tmp_path / "out" / "bench.json")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "bench.html").read_text() == before


def test_sides_are_measured_from_the_same_start():
    """On the CPU, where times mean little: every side runs, is checked, and starts after a reset."""
    import epiq

    counter = torch.zeros(1)

    def step(x):
        counter.add_(1)
        return epiq.quantize(torch.rms_norm(x + counter, x.shape[-1:]), epiq.formats.FP8_GROUP128)

    workload = Workload("step", Call(step, (torch.randn(4, 256),), reset=counter.zero_), 4)
    found = measure_cell(workload, repeats=2)
    assert not found["error"]
    assert found["ok"], found["sides"]["epiq"]
    assert [s["timing"] is not None for s in found["sides"].values()] == [True] * 4
    assert found["groups"][0]["parts"][-1] == "quantize"


def test_a_cell_that_fails_is_said():
    def fails(x):
        raise RuntimeError("no such kernel")

    assert "no such kernel" in measure_cell(Workload("f", Call(fails, (torch.ones(1),)), 1))["error"]
    assert "no such kernel" in count_cell(Workload("f", Call(fails, (torch.ones(1),)), 1))["error"]


def two_steps(*_):
    for name in ("one", "two"):
        yield Workload(name, Call(torch.relu, (torch.ones(1),)), 1)


def written(folder):
    assert {each.name for each in folder.iterdir()} == {"bench.json", "bench.md", "bench.html"}
    return json.loads((folder / "bench.json").read_text())["cells"]


def test_a_run_that_is_cut_short_leaves_what_it_had(tmp_path, monkeypatch):
    def count(workload):
        if workload.name == "two":
            raise KeyboardInterrupt
        return count_cell(workload)

    monkeypatch.setattr("epiq.cli.bench._workloads", two_steps)
    monkeypatch.setattr("epiq.report.bench.count_cell", count)
    CliRunner().invoke(app, ["bench", "llama-3-8b", "--count", "--out", str(tmp_path)])
    assert [cell["name"] for cell in written(tmp_path)] == ["one"]


def test_no_step_starts_once_the_time_is_used(tmp_path, monkeypatch):
    monkeypatch.setattr("epiq.cli.bench._workloads", two_steps)
    arguments = ["bench", "llama-3-8b", "--count", "--budget-s", "1e-9", "--out", str(tmp_path)]
    assert CliRunner().invoke(app, arguments).exit_code == 1
    assert ["left out" in cell["error"] for cell in written(tmp_path)] == [True, True]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["llama-9"], "model 'llama-9' is neither llama-3-8b nor qwen3-8b nor FILE.py:NAME"),
        (
            ["llama-3-8b", "--step", "decode:4"],
            "'decode:4' is neither prefill:BATCHxLENGTH nor decode:BATCH@",
        ),
        (["llama-3-8b", "--scheme", "int3"], "scheme 'int3' is not one of block, per_row"),
    ],
)
def test_bad_arguments(arguments, message):
    result = CliRunner().invoke(app, ["bench", *arguments])
    assert message in str(result.exception)
