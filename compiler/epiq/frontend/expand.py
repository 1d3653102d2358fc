"""Custom ops as what they compute: puts traced functions in their place, and the ops back.

An expansion is provisional until programs are planned: an op whose nodes do not all end up in
fused programs comes back, with its arguments, its results and its place. Kernels that its function
calls, as that of attention with quantized operands, may stay.
"""

from __future__ import annotations

import operator
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_arg

from epiq.frontend.alive import still_computed
from epiq.frontend.cse import is_view
from epiq.frontend.custom_op import CustomCall, View, read_call, registered_op
from epiq.frontend.plan import Plan
from epiq.frontend.trace import StaysError, argument_nodes, check_results, trace_call, trace_key

# What the nodes of an expansion take over from the op's node: where it stands in the user's code.
_KEPT_META = ("stack_trace", "nn_module_stack", "source_fn_stack", "from_node")
_ALIAS = torch.ops.aten.alias.default
_CLONE = torch.ops.aten.clone.default
_PERMUTE = torch.ops.aten.permute.default
_VIEW = torch.ops.aten.view.default


@dataclass
class Expansion:
    """One op's node, taken out of the graph.

    mode: what its fake tensors belong to. args, kwargs, meta: the node's. items: the metadata of
    the getitem nodes that read it. nodes: what stands in its place, in order. results: index in
    the op's tuple -> the node read instead.
    """

    call: CustomCall
    mode: FakeTensorMode
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    meta: dict[str, Any]
    items: dict[int, dict[str, Any]]
    nodes: list[Node] = field(default_factory=list)
    results: dict[int, Node] = field(default_factory=dict)


class Expansions:
    """The expansions of one graph. left: the ops that stay in the graph after all, and why."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.kept: list[Expansion] = []
        self.left: list[tuple[str, str]] = []
        # A model's layers call an op alike.
        self._traced: dict[Hashable, GraphModule] = {}

    def expand_all(self) -> None:
        """Expands each node of a registered op. Raises: UnwrapError for a function that is not the op's."""
        for node in list(self.graph.nodes):
            call = read_call(node)
            if call is not None:
                self._expand(call)
            elif unwrap := registered_op(node):
                self.left.append((str(unwrap.op), "it writes a part of a tensor, or one tensor twice"))

    def undo(self, expansions: Iterable[Expansion]) -> None:
        for expansion in list(expansions):
            self.kept.remove(expansion)
            self._undo(expansion)

    def settle(self) -> None:
        """Makes the expansions final: the aliases that mark their results go."""
        for expansion in self.kept:
            for alias in expansion.results.values():
                alias.replace_all_uses_with(alias.args[0])  # type: ignore[arg-type]
                self.graph.erase_node(alias)

    def put_back_unfused(self, plans: list[Plan]) -> bool:
        """Undoes the expansions that do not all end up in programs, or in programs that hold nothing else."""
        found = self._unfused(plans)
        for expansion, reason in found:
            self.left.append((str(expansion.call.unwrap.op), reason))
        self.undo([expansion for expansion, _ in found])
        return bool(found)

    def _unfused(self, plans: list[Plan]) -> list[tuple[Expansion, str]]:
        alive = still_computed(self.graph, plans)
        working = {node.name for node in self.graph.nodes if not _is_free(node)}
        found = []
        for expansion in self.kept:
            own = {node.name for node in expansion.nodes}
            left = [n for n in expansion.nodes if n in alive and not _is_free(n) and not _is_kernel(n)]
            shared = any(plan.site.members & own and (plan.site.members & working) - own for plan in plans)
            if left:
                found.append((expansion, f"{len(left)} of its {len(own)} steps are in no fused kernel"))
            elif not shared:
                found.append((expansion, "nothing else would be in its kernel"))
        return found

    def _expand(self, call: CustomCall) -> None:
        node = call.node
        views = self._view_arguments(call)
        try:
            gm = self._trace(call)
            outputs = _outputs(gm)
            check_results(call, [output.meta["val"] for output in outputs])
        except StaysError as error:
            self.left.append((str(call.unwrap.op), str(error)))
            for view in views:
                self.graph.erase_node(view)
            return
        items: dict[Any, dict[str, Any]] = {
            user.args[1]: dict(user.meta) for user in node.users if user.target is operator.getitem
        }
        mode = torch._guards.detect_fake_mode([arg.meta["val"] for arg in argument_nodes(call)])
        assert mode is not None, "trace_call has refused it"
        expansion = Expansion(call, mode, node.args, dict(node.kwargs), dict(node.meta), items)
        expansion.nodes.extend(views)
        with self.graph.inserting_before(node):
            inlined = self._inline(gm, argument_nodes(call), expansion)
            own = set(expansion.nodes).difference(views)
            by_place = {call.place_of(name): view for name, view in call.views.items()}
            for index, place in sorted(call.read_places().items()):
                source = inlined[outputs[place]]
                # What is an argument, or another result, must become a tensor of its own.
                is_new = source in own
                own.discard(source)
                if not is_new:
                    source = self._add(expansion, _CLONE, (source,), {})
                if place in by_place:
                    source = self._put_in_place(expansion, by_place[place], source)
                expansion.results[index] = self._add(expansion, _ALIAS, (source,), {})
        if call.places is None:
            node.replace_all_uses_with(expansion.results[0])
        for user in list(node.users):
            read: Any = user.args[1]
            if read in expansion.results:
                user.replace_all_uses_with(expansion.results[read])
            self.graph.erase_node(user)
        self.graph.erase_node(node)
        self.kept.append(expansion)

    def _view_arguments(self, call: CustomCall) -> list[Node]:
        """Puts views of written tensors into the graph, for arguments that are such; the call takes them."""
        found = []
        for name, view in call.views.items():
            base = call.arguments[name]
            with self.graph.inserting_before(call.node):
                if view.order is not None:
                    seen = self.graph.call_function(_PERMUTE, (base, list(view.order)))
                else:
                    seen = self.graph.call_function(_VIEW, (base, list(view.sizes)))
            seen.meta["val"] = view.of(base.meta["val"])
            call.arguments[name] = seen
            found.append(seen)
        return found

    def _put_in_place(self, expansion: Expansion, view: View, value: Node) -> Node:
        """The tensor of which `value` is the new view."""
        if view.order is not None:
            turned = self._add(expansion, _PERMUTE, (value, list(view.inverse)), {})
            return self._add(expansion, _CLONE, (turned,), {"memory_format": torch.contiguous_format})
        sizes = _sizes(self.graph)
        base_sizes = [sizes.get(str(size), size) for size in view.base_sizes]
        return self._add(expansion, _VIEW, (value, base_sizes), {})

    def _inline(self, gm: GraphModule, arguments: list[Node], expansion: Expansion) -> dict[Node, Node]:
        """The nodes of `gm` as nodes of the graph."""
        sizes = _sizes(self.graph)
        given = iter(arguments)
        inlined: dict[Node, Node] = {}
        for node in gm.graph.nodes:
            value = node.meta.get("val")
            if node.op == "placeholder":
                inlined[node] = next(given)
            elif node.op == "get_attr":
                inlined[node] = self._constant(gm, node, expansion)
            elif node.op == "call_function" and not isinstance(value, Tensor) and str(value) in sizes:
                inlined[node] = sizes[str(value)]
            elif node.op == "call_function":
                args = map_arg(node.args, inlined.__getitem__)
                kwargs = map_arg(node.kwargs, inlined.__getitem__)
                inlined[node] = self._add(expansion, node.target, args, kwargs)
        return inlined

    def _constant(self, gm: GraphModule, node: Node, expansion: Expansion) -> Node:
        """A tensor that the function makes of numbers, held by the graph's own module."""
        owner: Any = self.graph.owning_module
        number = 0
        while hasattr(owner, name := f"_unwrapped_constant{number}"):
            number += 1
        tensor = getattr(gm, str(node.target))
        owner.register_buffer(name, tensor, persistent=False)
        constant = self.graph.get_attr(name)
        is_fake = isinstance(tensor, FakeTensor)
        constant.meta["val"] = tensor if is_fake else expansion.mode.from_tensor(tensor)
        expansion.nodes.append(constant)
        return constant

    def _add(self, expansion: Expansion, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Node:
        node = self.graph.call_function(target, args, kwargs)
        node.meta = {key: expansion.meta[key] for key in _KEPT_META if key in expansion.meta}
        fakes = map_arg((args, kwargs), lambda arg: arg.meta["val"])
        with expansion.mode, torch.no_grad():
            node.meta["val"] = target(*fakes[0], **fakes[1])
        expansion.nodes.append(node)
        return node

    def _trace(self, call: CustomCall) -> GraphModule:
        key = trace_key(call)
        gm = self._traced.get(key)
        if gm is None:
            gm = self._traced.setdefault(key, trace_call(call))
        return gm

    def _undo(self, expansion: Expansion) -> None:
        first = expansion.nodes[0]
        replaced: dict[Node, Node] = {}
        with self.graph.inserting_before(first):
            target: Any = expansion.call.node.target
            node = self.graph.call_function(target, expansion.args, expansion.kwargs)
            node.meta = expansion.meta
            for index, result in expansion.results.items():
                source = node
                if expansion.call.places is not None:
                    source = self.graph.call_function(operator.getitem, (node, index))
                    source.meta = expansion.items[index]
                result.replace_all_uses_with(source)
                replaced[result] = source
        for other in self.kept:
            other.args = map_arg(other.args, lambda arg: replaced.get(arg, arg))
            other.kwargs = map_arg(other.kwargs, lambda arg: replaced.get(arg, arg))
        for inlined in reversed(expansion.nodes):
            self.graph.erase_node(inlined)


def _outputs(gm: GraphModule) -> list[Node]:
    """The results of a traced function. Raises: StaysError for one that is not a node."""
    output = next(node for node in reversed(gm.graph.nodes) if node.op == "output")
    found: Any = output.args[0]
    listed = list(found) if isinstance(found, list | tuple) else [found]
    if not all(isinstance(node, Node) and isinstance(node.meta.get("val"), Tensor) for node in listed):
        raise StaysError("a result is no node of the traced function")
    return listed


def _sizes(graph: Graph) -> dict[str, Node]:
    """The nodes that hold sizes, by what they are."""
    found: dict[str, Node] = {}
    for node in graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, torch.SymInt):
            found.setdefault(str(value), node)
    return found


def _is_kernel(node: Node) -> bool:
    """Whether a node of a traced function is a kernel wherever it stands: another custom op, or attention.

    What an op does before such a kernel, as quantizing what it takes, may then join another one.
    """
    if node.target is operator.getitem and isinstance(node.args[0], Node):
        return _is_kernel(node.args[0])
    if not isinstance(node.target, torch._ops.OpOverload):
        return False
    return node.target.namespace not in ("aten", "prims", "epiq") or "attention" in str(node.target)


def _is_free(node: Node) -> bool:
    return is_view(node) or node.op == "get_attr" or not isinstance(node.meta.get("val"), Tensor)
