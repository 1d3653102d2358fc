"""Reports from records: remarks to quantizations, programs to kernels, both to text and JSON."""

from __future__ import annotations

import json

import pytest

from epiq.frontend import CompilationRecord
from epiq.ir import Diagnostic
from epiq.pipeline import Grouped, RowProgram, TensorSpec
from epiq.pipeline.parts import Part
from epiq.report import report_of
from epiq.report.build import quantizations_of, source_line
from epiq.report.text import totals

WHERE = 'loc("_to_copy_3"("/home/user/models/llama.py":54:9))'


def make_program(symbol: str = "prog_0", rows: int = 64) -> RowProgram:
    spec = TensorSpec("bf16", (rows, 512), True, 512)
    return RowProgram(
        name="epiq_rms_norm_quantize_512",
        symbol=symbol,
        ir="module {}",
        inputs=(spec, TensorSpec("bf16", (512,), False, 512)),
        outputs=(TensorSpec("f8E4M3FN", (rows, 512), True, 512), TensorSpec("f32", (rows, 4), True, 4)),
        row_width=512,
        full_row=True,
        composites=("rms_norm", "quantize"),
        key=symbol,
        num_rows=rows,
        parts=(Part("rms_norm", 2048, 1024), Part("quantize", 1552, 0)),
    )


def make_graph(*, remarks=(), programs=(), refused=(), name="graph 0"):
    grouped = Grouped("", tuple(programs), tuple(remarks), {"import": ""})
    rows = tuple(program.num_rows for program in programs)
    return CompilationRecord(name, grouped=grouped, refused=tuple(refused), num_rows=rows)


FUSED = Diagnostic("remark", "fused: quantize(e4m3 group 128) into rms_norm + add", WHERE)
ALONE = Diagnostic(
    "remark", "not fused: quantize(e4m3 token): F2: aten.mm is not a row op", 'loc("_to_copy_9")'
)
FOUND = Diagnostic("remark", "named rms_norm", WHERE)


def test_remarks_become_quantizations():
    fused, alone = quantizations_of([FOUND, FUSED, ALONE])
    assert (fused.what, fused.node, fused.where) == ("quantize(e4m3 group 128)", "_to_copy_3", "llama.py:54")
    assert (fused.fused, fused.fused_into) == (True, "rms_norm + add")
    assert (alone.fused, alone.rule, alone.reason) == (False, "F2", "aten.mm is not a row op")
    assert alone.where == ""


def test_a_reason_without_a_rule():
    smaller = "fused: quantize(e4m3 tensor) amax into abs + mul; not further: L7: a row of 65536"
    (part,) = quantizations_of([Diagnostic("remark", smaller, WHERE)])
    assert (part.what, part.fused_into) == ("quantize(e4m3 tensor)", "abs + mul (amax)")
    assert (part.rule, part.reason) == ("L7", "a row of 65536")
    (alone,) = quantizations_of([Diagnostic("remark", "not fused: cast(e4m3): no reason: at all", WHERE)])
    assert (alone.what, alone.rule, alone.reason) == ("cast(e4m3)", "", "no reason: at all")


@pytest.mark.parametrize(
    ("location", "expected"),
    [(WHERE, "llama.py:54"), ("loc(unknown)", ""), ('loc("x.mlir":1:2)', "")],
)
def test_source_lines(location, expected):
    assert source_line(location) == expected


def test_kernels_and_bytes_add_up():
    report = report_of([make_graph(remarks=[FUSED], programs=[make_program(), make_program("prog_1")])])
    after = 64 * (512 * 2 + 512 + 16) + 1024
    before = 64 * (2048 + 1552) + 1024
    assert (report.kernels_before, report.kernels_after) == (4, 2)
    assert (report.bytes_before, report.bytes_after) == (2 * before, 2 * after)
    assert totals(report) == "kernels 4 -> 2, bytes 0.46 -> 0.20 MB (57 % less)"


def test_a_refused_program_is_no_kernel_and_has_its_reason():
    graph = make_graph(remarks=[FUSED], programs=[make_program()], refused=[("prog_0", "unknown shape s0")])
    report = report_of([graph])
    assert report.kernels == ()
    assert "left to Inductor: prog_0: unknown shape s0" in str(report)


def test_text_holds_every_quantization_with_its_reason():
    report = report_of([make_graph(remarks=[FUSED, FUSED, ALONE], programs=[make_program()])])
    text = str(report)
    assert "llama.py:54" in text
    assert "rms_norm" in text
    assert "F2: aten.mm is not a row op" in text
    # The two equal ones share a line.
    assert sum("quantize(e4m3 group 128)" in line for line in text.splitlines()) == 1


def test_json_holds_the_totals():
    report = report_of([make_graph(remarks=[FUSED], programs=[make_program()])])
    data = json.loads(json.dumps(report.to_dict()))
    assert data["kernels_before"] == 2
    assert data["graphs"][0]["quantizations"][0]["fused_into"] == "rms_norm + add"


def test_nothing_to_fuse_is_said():
    assert "left to Inductor" in str(report_of([make_graph()]))
    assert str(report_of([])) == "nothing was traced"


def test_several_graphs_are_named():
    graphs = [make_graph(remarks=[FUSED], programs=[make_program()], name=f"graph {n}") for n in range(2)]
    text = str(report_of(graphs))
    assert "graph 0" in text
    assert "graph 1" in text


def test_a_graph_left_alone_has_its_reason():
    report = report_of([CompilationRecord("graph 0", left_alone="gradients are needed")])
    assert "left to Inductor: gradients are needed" in str(report)
