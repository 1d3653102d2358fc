"""Puts planned row programs into an FX graph as calls, in place of the nodes that they compute."""

from __future__ import annotations

import heapq
import operator
from collections.abc import Iterable
from typing import Any

import torch
from torch._higher_order_ops.auto_functionalize import auto_functionalized_v2
from torch.fx import Graph, Node

from epiq.frontend.cse import is_view, writes_memory
from epiq.frontend.layouts import CREATIONS, MOVES
from epiq.frontend.ops import EMITTERS
from epiq.frontend.parts import replaced_in
from epiq.frontend.plan import Plan, Source, unviewed
from epiq.runtime.op import row_program_update

# Nodes without effects, which nothing may be left to read.
_ERASABLE = EMITTERS.keys() | MOVES | CREATIONS
# What a new node takes over from the node whose value it holds.
_KEPT_META = ("stack_trace", "nn_module_stack", "source_fn_stack", "original_aten", "from_node")


def export_plans(graph: Graph, plans: Iterable[Plan]) -> None:
    """Rewrites `graph`: a call and its getitems for each plan, users redirected, dead nodes erased.

    The graph is left in an order that respects data flow and keeps writes to memory after what
    stood before them.
    """
    plans = list(plans)
    for plan in plans:
        _insert(graph, plan)
    for plan in plans:
        _redirect(plan)
    sort_nodes(graph)
    absorbed = {node for plan in plans for node in plan.absorbed}
    roots = [node for plan in plans for nodes in plan.redirected.values() for node in nodes]
    _erase_dead(graph, [*roots, *absorbed], absorbed)
    graph.lint()


def _insert(graph: Graph, plan: Plan) -> None:
    with graph.inserting_before(plan.anchor):
        call = _call_update(graph, plan) if plan.bases else _call(graph, plan)
        own = {index: number for number, index in enumerate(plan.own())}
        for index, fake in enumerate(plan.fakes):
            replaced = plan.redirected.get(index) or [plan.anchor]
            kept = {key: replaced[0].meta[key] for key in _KEPT_META if key in replaced[0].meta}
            if index in own:
                item = _node(graph, operator.getitem, (call, own[index]), fake, kept)
            else:
                item = _stored_value(graph, plan, index, kept)
            plan.results.append(item)


def _node(graph: Graph, target: Any, args: tuple[Any, ...], value: Any, kept: dict[str, Any]) -> Node:
    node = graph.call_function(target, args)
    node.meta = {**kept, "val": value}
    return node


def _kept_of(node: Node) -> dict[str, Any]:
    return {key: node.meta[key] for key in _KEPT_META if key in node.meta}


def _call(graph: Graph, plan: Plan) -> Node:
    inputs = [_input_node(graph, source) for source in plan.sources]
    return _node(graph, plan.op, (plan.kernel.key, inputs), list(plan.fakes), _kept_of(plan.anchor))


def _call_update(graph: Graph, plan: Plan) -> Node:
    """A functional call of the op that writes its buffers: Inductor decides, from what else reads them, which
    of them are written in place and which are copied first. New tensors come first, or None.
    """
    bases = list(dict.fromkeys(base.node for base in plan.bases.values()))
    inputs = [
        _input_node(graph, source)
        for index, source in enumerate(plan.sources)
        if index not in plan.program.buffers
    ]
    new = [plan.fakes[index] for index in plan.own()]
    call = graph.call_function(auto_functionalized_v2, (row_program_update(len(new)),))
    call.kwargs = {
        "key": plan.kernel.key,
        "inputs": inputs,
        "_buffers_length": len(plan.bases),
        "_all_bases": bases,
    }
    for number, base in enumerate(plan.bases.values()):
        call.kwargs = {**call.kwargs, **_place(f"_buffers_{number}", bases.index(base.node), base.part)}
    kept = _kept_of(plan.anchor)
    results: list[Any] = list(new) or [None]
    call.meta = {**kept, "val": (*results, *(base.meta["val"] for base in bases))}
    first = max(len(new), 1)
    after = [
        _node(graph, operator.getitem, (call, first + number), base.meta["val"], kept)
        for number, base in enumerate(bases)
    ]
    plan.updated = {index: after[bases.index(base.node)] for index, base in plan.bases.items()}
    return call


def _place(name: str, base: int, part: int | None) -> dict[str, Any]:
    """How the call's argument `name` lies in base number `base`: all of it, or a part."""
    place = {"base_index": base}
    if part is not None:
        place |= {"slice_dim": 0, "slice_start": part, "slice_end": part + 1}
    return {f"{name}_{key}": value for key, value in place.items()}


def _stored_value(graph: Graph, plan: Plan, index: int, kept: dict[str, Any]) -> Node:
    """The buffer after the call, in the shape that the program's result has."""
    stored, fake, part = plan.updated[index], plan.fakes[index], plan.bases[index].part
    if part is not None:
        shown = stored.meta["val"].select(0, part)
        stored = _node(graph, torch.ops.aten.select.int, (stored, 0, part), shown, kept)
    if stored.meta["val"].shape == fake.shape:
        return stored
    return _node(graph, torch.ops.aten.view.default, (stored, list(fake.shape)), fake, kept)


def _input_node(graph: Graph, source: Source) -> Node:
    node = source.node if source.plan is None else source.plan.results[source.index]
    assert node is not None
    if source.to_device is None:
        return node
    copied = graph.call_function(torch.ops.prims.device_put.default, (node, source.to_device))
    copied.meta["val"] = source.fake
    return copied


def _redirect(plan: Plan) -> None:
    for index, nodes in plan.redirected.items():
        for node in nodes:
            if index in plan.bases and plan.bases[index].part is None:
                _redirect_whole(node, plan.updated[index])
            node.replace_all_uses_with(plan.results[index])
    for whole in {base.node for base in plan.bases.values() if base.part is not None}:
        _redirect_parts(plan, whole)


def _redirect_whole(node: Node, updated: Node) -> None:
    """Views of a stored result that have the shape of its buffer are the buffer."""
    whole = updated.meta["val"]
    for user in list(node.users):
        shown = user.meta.get("val")
        if is_view(user) and isinstance(shown, torch.Tensor) and shown.shape == whole.shape:
            user.replace_all_uses_with(updated)


def _redirect_parts(plan: Plan, whole: Node) -> None:
    """`whole` with all of its stored parts replaced, one after the other, is the tensor after the call."""
    left = {base.part: index for index, base in plan.bases.items() if base.node is whole}
    updated, current = plan.updated[next(iter(left.values()))], whole
    replacing: list[Node] = []
    while left:
        for user in current.users:
            part = replaced_in(user)
            if part is None or part.whole is not current or part.dim != 0 or part.index not in left:
                continue
            stored, result = user.args[1], plan.results[left[part.index]]
            if isinstance(stored, Node) and unviewed(stored) is unviewed(result):
                break
        else:
            return
        del left[part.index]
        replacing.append(user)
        current = user
    current.replace_all_uses_with(updated)
    plan.absorbed.extend(replacing)


def sort_nodes(graph: Graph) -> None:
    """Stable topological sort. A node that writes memory stays behind all that stood before it."""
    order = list(graph.nodes)
    index = {node: number for number, node in enumerate(order)}
    needs = {node: set(node.all_input_nodes) for node in order}
    since_write: list[Node] = []
    for node in order:
        if writes_memory(node):
            needs[node].update(since_write)
            since_write = []
        since_write.append(node)
    waiting = {node: len(found) for node, found in needs.items()}
    followers: dict[Node, list[Node]] = {}
    for node, found in needs.items():
        for need in found:
            followers.setdefault(need, []).append(node)
    ready = [index[node] for node in order if waiting[node] == 0]
    heapq.heapify(ready)
    done: list[Node] = []
    while ready:
        node = order[heapq.heappop(ready)]
        done.append(node)
        for follower in followers.get(node, []):
            waiting[follower] -= 1
            if waiting[follower] == 0:
                heapq.heappush(ready, index[follower])
    assert len(done) == len(order), "a row program makes the graph cyclic"
    previous = done[0]
    for node in done[1:]:
        previous.append(node)
        previous = node


def _erase_dead(graph: Graph, roots: list[Node], absorbed: set[Node]) -> None:
    """Erases `roots` and what only they needed; nodes with effects are never touched."""
    pending = list(roots)
    erased: set[Node] = set()
    while pending:
        node = pending.pop()
        if node in erased or node.users or node.op != "call_function":
            continue
        is_free = node.target in _ERASABLE or node.target is operator.getitem
        if not is_free and node not in absorbed:
            continue
        inputs = list(node.all_input_nodes)
        graph.erase_node(node)
        erased.add(node)
        pending.extend(inputs)
