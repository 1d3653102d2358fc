"""The form of an imported graph: names and lines, dynamic sizes, opaque nodes, repeated nodes."""

from __future__ import annotations

import os
import re

import pytest
import torch
from torch import Tensor
from tracing import imported, trace

from epiq import ir
from epiq.errors import UnsupportedError
from epiq.formats import FP8_GROUP128, quantize
from epiq.frontend.cse import representatives
from epiq.frontend.importer import import_graph


def lines_of(text: str, op: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if f" {op} " in line]


def test_a_bf16_addition_spells_out_its_rounding() -> None:
    """Both operands widen, the sum rounds once, and only the rounding carries the node's name."""
    x = torch.randn(4, 32, dtype=torch.bfloat16)
    text = imported(lambda a, b: a + b, x, x.clone()).text
    assert [re.sub(r'"[^"]*test_importer.py":\d+:0', "LINE", line) for line in text.splitlines()[2:6]] == [
        '    %0 = arith.extf %arg0 : tensor<4x32xbf16> to tensor<4x32xf32> loc("add.aux"(LINE))',
        '    %1 = arith.extf %arg1 : tensor<4x32xbf16> to tensor<4x32xf32> loc("add.aux"(LINE))',
        '    %2 = arith.addf %0, %1 : tensor<4x32xf32> loc("add.aux"(LINE))',
        '    %3 = arith.truncf %2 : tensor<4x32xf32> to tensor<4x32xbf16> loc("add"(LINE))',
    ]


def test_lines_are_those_of_the_caller_of_quantize() -> None:
    def model(x: Tensor) -> Tensor:
        return quantize(x, FP8_GROUP128)[0]

    text = imported(model, torch.randn(4, 256)).text
    assert set(re.findall(r'"([^"]*\.py)"', text)) == {os.path.relpath(__file__)}


def test_dynamic_sizes_become_question_marks() -> None:
    x = torch.randn(6, 256, dtype=torch.bfloat16)
    torch._dynamo.mark_dynamic(x, 0)
    graph = imported(lambda x: quantize(x, FP8_GROUP128), x)
    assert "%arg0: tensor<?x256xbf16>" in graph.text
    assert "tensor<?x2x128xf32>" in graph.text
    ir.parse(graph.text)


def test_several_results_and_no_result() -> None:
    """An opaque node with several results, one of which is used, and one that writes memory."""

    def model(x: Tensor, y: Tensor) -> Tensor:
        values, indices = x.topk(2)
        y.copy_(x)
        return indices + 1 + values.to(torch.int64)

    graph = imported(model, torch.randn(4, 32), torch.randn(4, 32))
    assert re.search(r'%\d+:2 = epiq.extern "aten.topk.default"\(%arg0\)', graph.text)
    assert len(lines_of(graph.text, "epiq.extern")) == 2
    ir.parse(graph.text)


def test_parts_of_a_split_have_the_names_of_their_getitems() -> None:
    graph = imported(lambda x: torch.mul(*x.split([16, 16], -1)), torch.randn(4, 32))
    assert [re.search(r'loc\("(\w+)', line)[1] for line in lines_of(graph.text, "epiq.slice")] == [  # type: ignore[index]
        "getitem",
        "getitem_1",
    ]


def test_nothing_is_written_for_a_node_that_changes_nothing() -> None:
    graph = imported(lambda x: x.view(4, 32).expand(4, 32) + 1, torch.randn(4, 32))
    assert "epiq.reshape" not in graph.text
    assert len(lines_of(graph.text, "epiq.broadcast")) == 1


def test_repeated_nodes_have_one_value() -> None:
    def model(x: Tensor) -> Tensor:
        return x.float().abs().amax(-1, keepdim=True) + x.float() * 1

    x = torch.randn(4, 32, dtype=torch.bfloat16)
    graph = imported(model, x)
    assert len(lines_of(graph.text, "arith.extf")) == 1
    assert len(graph.duplicates) == 1


def test_equal_outputs_stay_two_tensors() -> None:
    """A caller may write into one of them."""
    gm = trace(lambda x: (x + 1, (x + 1).view(-1), x * 2.0, x * 2), torch.randn(4, 32))
    assert representatives(gm.graph) == {}


def test_a_graph_without_fake_tensors_is_refused() -> None:
    gm = torch.fx.symbolic_trace(torch.nn.ReLU())
    with pytest.raises(UnsupportedError, match="node input_1 was not traced"):
        import_graph(gm.graph, gm)


def test_no_output_at_all() -> None:
    def model(x: Tensor) -> None:
        x.add_(1)

    graph = imported(model, torch.randn(4))
    ir.parse(graph.text)
