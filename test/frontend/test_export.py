"""Row programs back in the FX graph: what is replaced, what is refused (rules E1-E5), and the order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from grouping import group
from torch import Tensor
from torch.fx import GraphModule
from tracing import trace

from epiq.frontend.export import export_plans, sort_nodes
from epiq.frontend.importer import import_graph
from epiq.frontend.plan import Plan, Planner, RefusedError
from epiq.frontend.sites import read_sites
from epiq.pipeline.program import Layout
from epiq.runtime.kernel import Kernel
from epiq.runtime.op import row_program

Compute = Callable[..., Sequence[Tensor]]


def rewritten(
    gm: GraphModule,
    groups: Mapping[str, Sequence[str]],
    compute: Mapping[str, Compute],
    width: int = 32,
    layouts: Mapping[str, Layout] | None = None,
) -> tuple[GraphModule, list[Plan]]:
    """`gm` with its groups as calls whose kernels compute with torch."""
    imported = import_graph(gm.graph, gm)
    text, programs = group(imported.text, groups, width, layouts)
    planner = Planner(imported, gm.graph.nodes)

    def prepare(kernel: Kernel, device: torch.device, num_rows: int) -> None:
        def launch(inputs: list[Tensor], outputs: list[Tensor], rows: int, strides: list[int]) -> None:
            for output, value in zip(outputs, compute[kernel.program.symbol](*inputs), strict=True):
                output.copy_(value)

        kernel.prefer(torch.device("cpu"), num_rows, launch)

    plans = [planner.plan(site, programs[site.symbol], prepare) for site in read_sites(text)]
    export_plans(gm.graph, plans)
    gm.recompile()
    return gm, plans


def calls(gm: GraphModule) -> list[str]:
    return [str(node.target) for node in gm.graph.nodes if node.op == "call_function"]


def test_a_group_becomes_one_call() -> None:
    x, r = torch.randn(4, 32), torch.randn(4, 32)
    gm = trace(lambda x, r: ((x + r) * 2, x @ r.t()), x, r)
    wanted = gm(x, r)
    gm, plans = rewritten(gm, {"p0": ["add", "mul"]}, {"p0": lambda x, r: [(x + r) * 2]})
    assert calls(gm).count("epiq.row_program.default") == 1
    assert "aten.add.Tensor" not in calls(gm)
    assert "aten.mul.Tensor" not in calls(gm)
    for a, b in zip(gm(x, r), wanted, strict=True):
        assert torch.equal(a, b)
    call = next(node for node in gm.graph.nodes if node.target is row_program)
    assert [tuple(fake.shape) for fake in call.meta["val"]] == [(4, 32)]
    assert plans[0].num_rows == 4


def test_values_that_others_need_are_outputs() -> None:
    x = torch.randn(4, 32)
    gm = trace(lambda x: ((x + 1) * 2, (x + 1).t() @ x), x)
    wanted = gm(x)
    gm, _ = rewritten(gm, {"p0": ["add", "mul"]}, {"p0": lambda x: [x + 1, (x + 1) * 2]})
    assert "aten.add.Tensor" not in calls(gm)
    for a, b in zip(gm(x), wanted, strict=True):
        assert torch.equal(a, b)


def test_one_programs_result_feeds_the_next() -> None:
    x = torch.randn(4, 32)
    gm = trace(lambda x: (x + 1) * 2, x)
    wanted = gm(x)
    gm, _ = rewritten(gm, {"p0": ["add"], "p1": ["mul"]}, {"p0": lambda x: [x + 1], "p1": lambda x: [x * 2]})
    assert calls(gm).count("epiq.row_program.default") == 2
    assert torch.equal(gm(x)[0], wanted[0])


def test_column_major_outputs_keep_their_strides() -> None:
    x = torch.randn(6, 32)

    def model(x: Tensor) -> Tensor:
        return x.view(6, 4, 8).amax(-1).t().contiguous().t()

    names = ["view", "amax", "permute", "clone", "permute_1"]
    gm, _ = rewritten(
        trace(model, x),
        {"p0": names},
        {"p0": lambda x: [x.view(6, 4, 8).amax(-1)]},
        layouts={"permute_1": "column_major"},
    )
    assert gm(x)[0].stride() == (1, 6)
    assert torch.equal(gm(x)[0], model(x))
    with pytest.raises(RefusedError, match=r"E2: permute_1 has stride \(1, 6\), .* write \(4, 1\)"):
        rewritten(trace(model, x), {"p0": names}, {})


def test_dynamic_sizes_are_read_off_the_inputs() -> None:
    x = torch.randn(2, 3, 32)
    gm = trace(lambda x: (x.view(-1, 32) + 1) * 2, x, dynamic=True)
    names = [node.name for node in gm.graph.nodes if node.op == "call_function"]
    imported = import_graph(gm.graph, gm)
    members = [name for name in names if f'"{name}"' in imported.text]
    gm, plans = rewritten(gm, {"p0": members}, {"p0": lambda x: [(x.view(-1, 32) + 1) * 2]})
    assert plans[0].kernel.outputs[0].dims == ("M", 32)
    assert plans[0].num_rows == 6


def test_a_second_mention_of_a_node_reads_the_same_result() -> None:
    def model(x: Tensor) -> Tensor:
        return x.float().abs() @ x.float().t()

    x = torch.randn(32, 32, dtype=torch.bfloat16)
    gm = trace(model, x)
    wanted = gm(x)
    gm, _ = rewritten(
        gm,
        {"p0": ["convert_element_type", "abs_1"]},
        {"p0": lambda x: [x.float(), x.float().abs()]},
    )
    assert "prims.convert_element_type.default" not in calls(gm)
    assert torch.equal(gm(x)[0], wanted[0])


def test_a_view_of_an_output_stays_its_view() -> None:
    x = torch.randn(4, 32)

    def model(x: Tensor) -> tuple[Tensor, Tensor]:
        h = x + 1
        return h, h.view(2, 2, 32)

    gm = trace(model, x)
    gm, _ = rewritten(gm, {"p0": ["add", "view"]}, {"p0": lambda x: [x + 1, (x + 1).view(2, 2, 32)]})
    a, b = gm(x)
    assert a.data_ptr() == b.data_ptr()


def test_the_parts_of_a_split_are_found() -> None:
    """Opaque nodes with several results: the getitem node holds the tensor that is read."""

    def model(x: Tensor) -> Tensor:
        values, _ = x.sort(-1)
        return values + 1

    x = torch.randn(4, 32)
    gm = trace(model, x)
    gm, _ = rewritten(gm, {"p0": ["add"]}, {"p0": lambda v: [v + 1]})
    assert torch.equal(gm(x)[0], model(x))


def test_e1_a_step_inside_a_node_is_no_input() -> None:
    x = torch.randn(4, 32, dtype=torch.bfloat16)
    gm = trace(lambda x: x + 1, x)
    imported = import_graph(gm.graph, gm)
    text, programs = group(imported.text.replace('loc("add"', 'loc("other"'), {"p0": ["other"]}, 32)
    with pytest.raises(RefusedError, match="E1: an input is a step inside node add, which no node holds"):
        Planner(imported, gm.graph.nodes).plan(read_sites(text)[0], programs["p0"], lambda *_: None)


def test_e3_a_write_between_the_nodes() -> None:
    x, y = torch.randn(4, 32), torch.randn(4, 32)
    gm = trace(lambda x, y: (x + 1) * 2 + y * 0, x, y)
    add, mul = (next(n for n in gm.graph.nodes if n.name == name) for name in ("add", "mul"))
    first, second = (node for node in gm.graph.nodes if node.op == "placeholder")
    with gm.graph.inserting_before(mul):
        write = gm.graph.call_function(torch.ops.aten.copy_.default, (first, second))
    write.meta["val"] = add.meta["val"]
    with pytest.raises(RefusedError, match="E3: copy__default writes memory between"):
        rewritten(gm, {"p0": ["add", "mul"]}, {})


def test_e4_tensors_on_two_devices() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    from epiq.frontend.plan import Source, _common_device

    with FakeTensorMode():
        here, there = torch.empty(4, 32), torch.empty(4, 32, device="cuda")
        scalar = torch.empty(())
    with pytest.raises(RefusedError, match="E4: its inputs lie on cpu, cuda:0"):
        _common_device([Source(here), Source(there)])
    sources = [Source(scalar), Source(there)]
    assert _common_device(sources).type == "cuda"
    assert sources[0].to_device == there.device
    assert sources[0].fake.device == there.device


def test_e5_a_kernel_that_cannot_be_made() -> None:
    gm = trace(lambda x: x + 1, torch.randn(4, 32))
    imported = import_graph(gm.graph, gm)
    text, programs = group(imported.text, {"p0": ["add"]}, 32)

    def fail(*_: Any) -> None:
        raise ValueError("too wide")

    with pytest.raises(RefusedError, match="E5: too wide"):
        Planner(imported, gm.graph.nodes).plan(read_sites(text)[0], programs["p0"], fail)


def test_sorting_keeps_writes_behind_what_stood_before_them() -> None:
    x, y = torch.randn(4, 32), torch.randn(4, 32)

    def model(x: Tensor, y: Tensor) -> Tensor:
        z = y * 3
        x.copy_(y)
        return z + 1

    gm = trace(model, x, y)
    nodes = {node.name: node for node in gm.graph.nodes}
    before = [node.name for node in gm.graph.nodes]
    sort_nodes(gm.graph)
    assert [node.name for node in gm.graph.nodes] == before
    nodes["add"].append(nodes["mul"])
    sort_nodes(gm.graph)
    after = [node.name for node in gm.graph.nodes]
    assert after.index("mul") < after.index("add") < after.index("copy_")
    assert after[-1] == "output"
