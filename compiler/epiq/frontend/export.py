"""Puts planned row programs into an FX graph as calls, in place of the nodes that they compute."""

from __future__ import annotations

import heapq
import operator
from collections.abc import Iterable

import torch
from torch.fx import Graph, Node

from epiq.frontend.cse import writes_memory
from epiq.frontend.layouts import CREATIONS, MOVES
from epiq.frontend.ops import EMITTERS
from epiq.frontend.plan import Plan, Source

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
        inputs = [_input_node(graph, source) for source in plan.sources]
        call = graph.call_function(plan.op, (plan.kernel.key, inputs))
        call.meta = {key: plan.anchor.meta[key] for key in _KEPT_META if key in plan.anchor.meta}
        call.meta["val"] = list(plan.fakes)
        for index, fake in enumerate(plan.fakes):
            item = graph.call_function(operator.getitem, (call, index))
            replaced = plan.redirected.get(index) or [plan.anchor]
            item.meta = {key: replaced[0].meta[key] for key in _KEPT_META if key in replaced[0].meta}
            item.meta["val"] = fake
            plan.results.append(item)


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
            node.replace_all_uses_with(plan.results[index])


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
