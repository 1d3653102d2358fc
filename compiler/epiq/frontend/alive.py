"""Which nodes a graph still computes when planned programs stand in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch.fx import Graph, Node

from epiq.frontend.cse import writes_memory
from epiq.frontend.plan import Plan


def still_computed(graph: Graph, plans: Sequence[Plan]) -> set[Node]:
    """The nodes that the graph computes when the programs of `plans` are in it."""
    return needed_by(wanted(graph), plans)


def wanted(graph: Graph) -> list[Node]:
    """What the graph is run for: its output, and the nodes that do more than compute a value."""
    return [node for node in graph.nodes if node.op == "output" or writes_memory(node) or _is_effect(node)]


def needed_by(roots: Iterable[Node], plans: Sequence[Plan]) -> set[Node]:
    """`roots` and the nodes that they are computed from, where programs compute what they replace."""
    by_program = {node: plan for plan in plans for nodes in plan.redirected.values() for node in nodes}
    waiting = list(roots)
    alive: set[Node] = set()
    ran: set[str] = set()
    while waiting:
        node = waiting.pop()
        if node in alive:
            continue
        alive.add(node)
        for source in node.all_input_nodes:
            plan = by_program.get(source)
            waiting.extend([source] if plan is None else _inputs(plan, ran))
    return alive


def _inputs(plan: Plan, ran: set[str]) -> list[Node]:
    """The nodes that hold the inputs of a program and of the programs before it."""
    if plan.site.symbol in ran:
        return []
    ran.add(plan.site.symbol)
    found = []
    for source in plan.sources:
        if source.plan is not None:
            found.extend(_inputs(source.plan, ran))
        elif source.node is not None:
            found.append(source.node)
    return found


def _is_effect(node: Node) -> bool:
    return node.op == "call_function" and node.is_impure()
