"""Reports from records: remarks to quantizations, programs to kernels, both to text and JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from epiq.frontend import CompilationRecord
from epiq.ir import Diagnostic
from epiq.pipeline import Grouped, RowProgram, TensorSpec
from epiq.pipeline.parts import Part
from epiq.report import report_of
from epiq.report.build import quantizations_of, source_line
from epiq.report.hints import HINTS
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


def test_every_rule_of_a_graph_has_a_hint():
    """The rules as their statements label them: groups and row programs in Passes.td, the rest in Python."""
    root = Path(__file__).parents[2]
    passes = (root / "passes/include/epiq/Passes.td").read_text()
    stated = set(re.findall(r"\(([FL]\d+)\)", passes))
    plan, producers = "compiler/epiq/frontend/plan.py", "compiler/epiq/producers/__init__.py"
    for path, letter in ((plan, "E"), (producers, "P")):
        stated |= set(re.findall(rf"^  ({letter}\d+)  ", (root / path).read_text(), re.MULTILINE))
    assert {"F1", "F10", "L8", "E5", "P7"} <= stated
    assert stated <= set(HINTS), "add a sentence to epiq.report.hints"


def test_a_refusal_says_what_would_change_it():
    (alone,) = quantizations_of([ALONE])
    assert alone.hint == HINTS["F2"]
    (fused,) = quantizations_of([FUSED], {"_to_copy_3": "layers.7.mlp"})
    assert (fused.hint, fused.module, fused.source) == ("", "layers.7.mlp", "/home/user/models/llama.py:54")
    report = report_of([make_graph(remarks=[ALONE], programs=[make_program()])])
    found = report.to_dict()
    assert (found["schema"], found["hints"]) == (2, {"F2": HINTS["F2"]})
    assert HINTS["F2"].split(",")[0] in " ".join(str(report).split())


def test_the_page_of_a_report():
    refused = [("prog_9", "E4: <two> devices")]
    graph = make_graph(remarks=[FUSED, ALONE], programs=[make_program()], refused=refused)
    page = report_of([graph]).to_html()
    for text in (
        "1 of 2 quantizations",
        "llama.py:54",
        "aten.mm is not a row op",
        HINTS["F2"],
        "E4: &lt;two&gt;",
    ):
        assert text in page
    assert "No quantization was found" in report_of([make_graph()]).to_html()


def test_modules_of_nodes():
    """Dynamo's names of submodules, as paths that a user would write."""
    from types import SimpleNamespace

    from epiq.frontend.locations import module_path

    def path(name: str) -> str:
        stack = {"outer": ("L['self']", object), "inner": (name, object)}
        return module_path(SimpleNamespace(meta={"nn_module_stack": stack}))

    assert path("L['self'].model.layers[0].mlp") == "model.layers.0.mlp"
    assert path("L['self'].layers.3.norm") == "layers.3.norm"
    assert path("L['self'].blocks['first'].proj") == "blocks.first.proj"
    assert module_path(SimpleNamespace(meta={})) == ""
