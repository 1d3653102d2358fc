"""Recipes as the graphs that the backend gets, and those graphs rewritten."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import SymInt, Tensor
from torch._dynamo.source import ConstantSource
from torch._inductor.decomposition import select_decomp_table
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import Graph, GraphModule
from torch.fx._lazy_graph_module import _make_graph_module, _use_lazy_graph_module
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext

from epiq.config import Settings
from epiq.frontend.record import CompilationRecord
from epiq.frontend.rewrite import rewrite_graph
from epiq.runtime.prepare import prepare_kernel
from epiq.testing.recipe import Recipe

# The names of sizes that a dynamic recipe leaves open.
OPEN_SIZES = ("T", "B")


@dataclass
class Traced:
    """A functional aten graph. symbols: the sizes that it takes before the tensors, as (input, dim)."""

    gm: GraphModule
    env: ShapeEnv
    fakes: list[Any]
    symbols: list[tuple[int, int]]

    def run(self, gm: Callable[..., Any], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """`gm`, this graph or one made of it, on real inputs."""
        sizes = [inputs[index].shape[dim] for index, dim in self.symbols]
        with torch.no_grad():
            found: tuple[Tensor, ...] = tuple(gm(*sizes, *inputs))
        return found

    def serves(self, inputs: Sequence[Tensor]) -> bool:
        """Whether the guards of the trace hold for these inputs."""
        return bool(self.env.evaluate_guards_for_args(self.fakes, list(inputs), ignore_static=False))

    def copy(self) -> GraphModule:
        graph = Graph()
        graph.output(graph.graph_copy(self.gm.graph, {}))
        # Most copies are changed before they run, and code is made for the graph that runs.
        with _use_lazy_graph_module(True):
            return _make_graph_module(self.gm, graph)

    def returning(self, indices: Sequence[int]) -> Traced:
        """The same graph with some of its results, and nothing that only the others need."""
        gm = self.copy()
        output = next(node for node in gm.graph.nodes if node.op == "output")
        results: Any = output.args[0]
        output.args = (tuple(results[index] for index in indices),)
        gm.graph.eliminate_dead_code()
        gm.recompile()
        return dataclasses.replace(self, gm=gm)


def trace(recipe: Recipe, inputs: Sequence[Tensor], *, plain: bool = False) -> Traced:
    """The graph of a recipe, decomposed as Inductor's are, with fake tensors in its metadata."""
    env = ShapeEnv()
    mode = FakeTensorMode(shape_env=env, static_shapes=not recipe.dynamic)
    fakes, symbols = [], []
    names: dict[str, tuple[int, int]] = {}
    for index, (given, tensor) in enumerate(zip(recipe.inputs, inputs, strict=True)):
        fake, opened = _fake(mode, recipe, given.shape, tensor, f"x{index}")
        fakes.append(fake)
        for dim in opened:
            expr = str(fake.shape[dim])
            if expr not in names and isinstance(fake.shape[dim], SymInt):
                names[expr] = (index, dim)
                symbols.append((index, dim))
    sizes = [fakes[index].shape[dim] for index, dim in symbols]
    function = recipe.function(plain=plain)

    def flat(*args: Any) -> Any:
        return function(*args[len(sizes) :])

    # As under Dynamo: the eager reference looks at values only where nothing is compiled.
    compiling = patch.object(torch.compiler, "is_compiling", lambda: True)
    with torch.no_grad(), mode, compiling:
        functional = torch.func.functionalize(flat, remove="mutations")
        gm = make_fx(functional, decomposition_table=select_decomp_table(), tracing_mode="real")(
            *sizes, *fakes
        )
    _make_functional(gm.graph)
    gm.graph.eliminate_dead_code()
    gm.recompile()
    return Traced(gm, env, fakes, symbols)


def _make_functional(graph: Graph) -> None:
    """Decompositions write into their own temporaries; AOTAutograd's graphs do not."""
    for node in graph.nodes:
        target: Any = node.target
        if node.op != "call_function" or not isinstance(target, torch._ops.OpOverload):
            continue
        if not target._schema.is_mutable or not target._schema.name.endswith("_"):
            continue
        written = node.args[0]
        packet = getattr(torch.ops.aten, target._schema.name.split("::")[1][:-1])
        node.target = getattr(packet, target._overloadname)
        later = set(graph.nodes)
        for other in graph.nodes:
            later.discard(other)
            if other is node:
                break
        written.replace_all_uses_with(node, delete_user_cb=lambda user, later=later: user in later)


def _fake(
    mode: FakeTensorMode, recipe: Recipe, shape: Sequence[int | str], tensor: Tensor, name: str
) -> tuple[Tensor, list[int]]:
    opened = [dim for dim, size in enumerate(shape) if recipe.dynamic and size in OPEN_SIZES]
    if not opened:
        return mode.from_tensor(tensor), []
    dims = [DimDynamic.DUCK if dim in opened else DimDynamic.STATIC for dim in range(tensor.dim())]
    context: Any = StatelessSymbolicContext(dynamic_sizes=dims)
    return mode.from_tensor(tensor, symbolic_context=context, source=ConstantSource(name)), opened


def rewritten(
    traced: Traced, *, fuse: bool, options: Mapping[str, Any] | None = None
) -> tuple[GraphModule, CompilationRecord]:
    """A copy of the graph with its programs in it. Raises: whatever goes wrong in our own passes."""
    gm = traced.copy()
    settings = Settings(fuse=fuse, strict=True, autotune="off", **(options or {}))
    record = CompilationRecord("fuzzed")
    rewrite_graph(gm.graph, settings, prepare_kernel(settings), record)
    gm.graph.lint()
    gm.recompile()
    return gm, record
