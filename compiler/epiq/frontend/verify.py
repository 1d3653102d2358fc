"""`epiq.verify`: puts the unfused form of each fused group beside it.

The unfused form is the part of the graph that the group replaces, rewritten with each named part as a
kernel of its own and the rest left to torch. A group with a matrix product or attention has none: its sums
run in another order than the library's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import SymInt
from torch.fx import Graph, GraphModule, Node

from epiq.config import Settings
from epiq.frontend.cse import representatives
from epiq.frontend.inexact import inexact_outputs
from epiq.frontend.plan import Plan, Source
from epiq.runtime.kernel import Kernel
from epiq.runtime.registry import register
from epiq.runtime.verify import Unfused, VerifiedKernel


class UnverifiedError(Exception):
    """A group has no unfused form that can be run by itself."""


def unfused_settings(settings: Settings) -> Settings:
    """The settings that make each named part of a group a kernel of its own."""
    return dataclasses.replace(
        settings, fuse=False, verify=False, keep_out=(), fail_on_unfused=False, dry_run=False, dump=""
    )


@dataclass(frozen=True)
class Part:
    """The nodes that a plan replaces, as a graph of their own.

    gm: takes sizes and then the plan's sources. sizes: (source, dimension) of each size. places: the plan's
    result -> the graph's.
    """

    gm: GraphModule
    sizes: tuple[tuple[int, int], ...]
    places: dict[int, int]


def unfused_part(graph: Graph, plan: Plan) -> Part:
    """The part of the graph that `plan` replaces, not yet rewritten. Raises: UnverifiedError."""
    if not isinstance(plan.kernel, Kernel):
        raise UnverifiedError("its product sums in another order than the library's")
    by_name = {node.name: node for node in graph.nodes}
    results = {
        index: by_name[name.node]
        for index, name in enumerate(plan.site.outputs)
        if not name.is_aux and name.node in by_name
    }
    if not results:
        raise UnverifiedError("no node of the graph holds what it computes")
    copier = _Copier(graph, plan.sources, [_node_of(source, by_name) for source in plan.sources])
    outputs = tuple(copier.copy(node) for node in results.values())
    copier.part.output(outputs)
    gm = GraphModule(graph.owning_module or {}, copier.part)
    return Part(gm, tuple(copier.sizes), {index: place for place, index in enumerate(results)})


def _node_of(source: Source, by_name: dict[str, Node]) -> Node:
    """The node of the graph that holds an input of a program."""
    if source.plan is None:
        assert source.node is not None
        return source.node
    name = source.plan.site.outputs[source.index]
    if name.is_aux or name.node not in by_name:
        raise UnverifiedError(f"it reads a step inside {name.node}, which no node holds")
    return by_name[name.node]


class _Copier:
    """Copies nodes into a graph whose inputs are the sources of a program."""

    def __init__(self, graph: Graph, sources: Sequence[Source], nodes: Sequence[Node]) -> None:
        self.part = Graph()
        self.sources = sources
        self.sizes: list[tuple[int, int]] = []
        self.copied: dict[Node, Node] = {}
        duplicates = representatives(graph)
        for number, (source, node) in enumerate(zip(sources, nodes, strict=True)):
            given = self.part.placeholder(f"x{number}")
            given.meta["val"] = source.fake
            # What repeats a source is the source as well.
            same = [copy for copy, first in duplicates.items() if first is node]
            self.copied.update(dict.fromkeys((node, *same), given))
        self.first = next(iter(self.part.nodes), None)

    def copy(self, node: Node) -> Node:
        """The node's counterpart, made with all that it needs. Raises: UnverifiedError."""
        if node in self.copied:
            return self.copied[node]
        value = node.meta.get("val")
        if isinstance(value, SymInt) and (place := self._dimension(value)) is not None:
            return self._size(node, value, place)
        if node.op not in ("call_function", "get_attr"):
            raise UnverifiedError(f"it depends on {node.name}, which is not among its inputs")
        for needed in node.all_input_nodes:
            self.copy(needed)
        self.copied[node] = self.part.node_copy(node, self.copied.__getitem__)
        return self.copied[node]

    def _dimension(self, size: SymInt) -> tuple[int, int] | None:
        """The dimension of a source that is this size."""
        for index, source in enumerate(self.sources):
            sizes: Sequence[Any] = source.fake.shape
            for dim, other in enumerate(sizes):
                if isinstance(other, SymInt) and other.node.expr == size.node.expr:
                    return index, dim
        return None

    def _size(self, node: Node, value: SymInt, place: tuple[int, int]) -> Node:
        number = len(self.sizes)
        assert self.first is not None
        with self.part.inserting_before(self.first):
            given = self.part.placeholder(f"s{number}")
        given.meta["val"] = value
        self.sizes.append(place)
        self.copied[node] = given
        return given


def watch(plan: Plan, part: Part, *, raises: bool) -> None:
    """Makes the call of `plan` compare itself with `part`, which was rewritten.

    raises: a difference is an error; otherwise a warning.
    """
    assert isinstance(plan.kernel, Kernel), "unfused_part has refused it"
    part.gm.recompile()
    exact = tuple(not inexact for inexact in inexact_outputs(part.gm))
    unfused = Unfused(part.gm, part.sizes, part.places, exact, str(part.gm.graph))
    plan.kernel = register(VerifiedKernel(plan.kernel, unfused, raises))
