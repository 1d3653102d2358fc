"""FX graph in, graph-level IR out: one op per aten op that the table knows, else an opaque node."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node

from epiq.errors import UnsupportedError
from epiq.frontend.cse import representatives
from epiq.frontend.emitter import Emitter, Value, location
from epiq.frontend.layouts import Found, find_layouts
from epiq.frontend.locations import source_location
from epiq.frontend.ops import EMITTERS, Scope
from epiq.frontend.ops.constants import lifted_constant
from epiq.frontend.ops.table import Emitted
from epiq.frontend.types import is_known, static_shape


@dataclass
class Imported:
    """An imported graph.

    text: the module. nodes: FX nodes by name. duplicates: repeated node -> the node whose value
    stands for both. opaque: names of the nodes that were imported as `epiq.extern`.
    """

    text: str
    nodes: dict[str, Node]
    duplicates: dict[Node, Node]
    opaque: list[str] = field(default_factory=list)


def import_graph(graph: Graph, owner: GraphModule | None = None) -> Imported:
    """Writes `graph`, a functional aten graph with fake tensors in `meta["val"]`, as a module.

    Args: owner: holds the constants that `get_attr` nodes name.
    Raises: UnsupportedError for a node without the metadata that tracing leaves.
    """
    return _Importer(graph, owner).run()


class _Importer:
    def __init__(self, graph: Graph, owner: GraphModule | None) -> None:
        self.graph = graph
        self.owner = owner
        self.emitter = Emitter()
        self.values: dict[Node, Emitted] = {}
        self.arguments: list[str] = []
        self.results: list[Value] = []
        self.opaque: list[str] = []

    def run(self) -> Imported:
        duplicates = representatives(self.graph)
        layouts = find_layouts(self.graph)
        hidden = {node for found in layouts.values() for node in found.hidden} - layouts.keys()
        for node in self.graph.nodes:
            if node in hidden or (node in layouts and self._relayout(node, layouts[node])):
                continue
            if duplicates.get(node) in self.values:
                self.values[node] = self.values[duplicates[node]]
            else:
                self._import(node)
        types = ", ".join(value.type for value in self.results)
        names = ", ".join(value.name for value in self.results)
        tail = f"return {names} : {types}" if self.results else "return"
        text = (
            f"module {{\n  func.func @graph({', '.join(self.arguments)})"
            f"{f' -> ({types})' if types else ''} {{\n"
            f"{self.emitter.render()}\n    {tail}\n  }}\n}}\n"
        )
        nodes = {node.name: node for node in self.graph.nodes}
        return Imported(text, nodes, duplicates, self.opaque)

    def _import(self, node: Node) -> None:
        source = source_location(node)
        self.emitter.begin(node.name, source)
        if node.op == "placeholder":
            self._placeholder(node, source)
        elif node.op == "output":
            self.results = [
                value for value in map(self.values.get, node.all_input_nodes) if isinstance(value, Value)
            ]
        elif node.op == "get_attr":
            self._constant(node)
        elif node.op != "call_function":
            raise UnsupportedError(f"node {node.name} of kind {node.op} is not in a traced graph")
        elif node.target is operator.getitem:
            self._getitem(node)
        else:
            self._call(node)

    def _relayout(self, node: Node, found: Found) -> bool:
        """The node is named by the relayout, whose memory it is; its own shape is a view of that."""
        source = self.values.get(found.source)
        assert isinstance(source, Value) and is_known(source.dtype), "find_layouts follows values"
        self.emitter.begin(node.name, source_location(node))
        fake = _meta_value(node)
        if source.dtype.itemsize == fake.dtype.itemsize:
            source = self.emitter.bitcast(source, fake.dtype)
        if len(source.shape) != 2:
            known = [size for size in source.shape[:-1] if size is not None]
            rows = math.prod(known) if len(known) == len(source.shape) - 1 else None
            source = self.emitter.reshape(source, (rows, source.shape[-1]))
        stored = self.emitter.finish(self.emitter.relayout(source, found.layout, fake.dtype))
        shape = static_shape(fake.shape)
        self.values[node] = stored if stored.shape == shape else self.emitter.reshape(stored, shape)
        return True

    def _placeholder(self, node: Node, source: str) -> None:
        fake = _meta_value(node)
        if not isinstance(fake, torch.Tensor):
            return
        value = Value(f"%arg{len(self.arguments)}", fake.dtype, static_shape(fake.shape))
        self.values[node] = value
        self.arguments.append(f"{value.name}: {value.type} {location(node.name, source)}")

    def _constant(self, node: Node) -> None:
        held = getattr(self.owner, str(node.target), None) if self.owner is not None else None
        value = lifted_constant(Scope(self.emitter, node, self.values), held)
        if value is not None:
            self.values[node] = self.emitter.finish(value)
        elif isinstance(node.meta.get("val", held), torch.Tensor):
            node.meta.setdefault("val", held)
            self._extern(node)

    def _getitem(self, node: Node) -> None:
        source, index = node.args
        held = self.values.get(source) if isinstance(source, Node) else None
        if held == ():
            self._call(node, EMITTERS[torch.ops.aten.select.int])
        elif isinstance(held, tuple) and isinstance(index, int):
            self.values[node] = self.emitter.rename(held[index])
        elif isinstance(node.meta.get("val"), torch.Tensor):
            self._extern(node)

    def _call(self, node: Node, emit: Any = None) -> None:
        emit = emit or EMITTERS.get(node.target)
        if emit is not None and "val" in node.meta:
            emitted = emit(Scope(self.emitter, node, self.values))
            if isinstance(emitted, Value):
                self.values[node] = self.emitter.finish(emitted)
                return
            if emitted is not None:
                self.values[node] = emitted
                return
            self.emitter.rollback()
        self._extern(node)

    def _extern(self, node: Node) -> None:
        """An opaque node: its tensors in, its tensors out, whatever else it takes unsaid."""
        fakes = _meta_value(node)
        many = isinstance(fakes, list | tuple)
        listed = list(fakes) if isinstance(fakes, list | tuple) else [fakes]
        inputs = list(self._tensors(node))
        tensors = [fake for fake in listed if isinstance(fake, torch.Tensor)]
        if not tensors and not inputs:
            return
        self.opaque.append(node.name)
        results = self.emitter.extern(
            str(node.target), inputs, [(t.dtype, static_shape(t.shape)) for t in tensors]
        )
        if not many:
            self.values[node] = results[0] if results else None
            return
        remaining = iter(results)
        self.values[node] = tuple(
            next(remaining) if isinstance(fake, torch.Tensor) else _NOTHING for fake in listed
        )

    def _tensors(self, node: Node) -> Iterator[Value]:
        for source in node.all_input_nodes:
            value: Any = self.values.get(source)
            if isinstance(value, Value):
                yield value
            elif isinstance(value, tuple):
                yield from (part for part in value if part is not _NOTHING)


def _meta_value(node: Node) -> Any:
    if "val" not in node.meta:
        raise UnsupportedError(f"node {node.name} was not traced: its metadata has no value")
    return node.meta["val"]


# Stands in a tuple of results for one that is not a tensor.
_NOTHING = Value("", torch.int64, ())
