"""Common subexpressions of an FX graph, found without changing it.

Equal nodes get one value in the IR, so that `x.float()` written twice does not look like a value
that two consumers compute apart. The FX graph itself keeps both nodes.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

import torch
from torch.fx import Graph, Node

from epiq.frontend.ops import EMITTERS


def representatives(graph: Graph) -> dict[Node, Node]:
    """Maps each node that repeats an earlier one to that one.

    A node that the caller gets, itself or through views, is left alone: two outputs of a model
    that are equal must stay two tensors.
    """
    found: dict[Node, Node] = {}
    seen: dict[Hashable, Node] = {}
    for node in graph.nodes:
        if node.op != "call_function" or node.target not in EMITTERS:
            continue
        key = _key(node, found)
        if key is None:
            continue
        first = seen.setdefault(key, node)
        if first is not node and not (escapes(node) and escapes(first)):
            found[node] = first
    return found


def escapes(node: Node) -> bool:
    """Whether a tensor that shares memory with `node` is an output, or is written to."""
    for user in node.users:
        if user.op == "output" or writes_memory(user):
            return True
        if is_view(user) and escapes(user):
            return True
    return False


def is_view(node: Node) -> bool:
    """Whether the node's results share memory with an argument."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return False
    return any(ret.alias_info is not None for ret in node.target._schema.returns)


def writes_memory(node: Node) -> bool:
    """Whether the node writes into one of its arguments."""
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def _key(node: Node, found: dict[Node, Node]) -> Hashable | None:
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor):
        return None
    layout = (value.dtype, str(tuple(value.shape)), str(value.stride()), value.device)
    try:
        key = (node.target, layout, _freeze(node.args, found), _freeze(node.kwargs, found))
        hash(key)
    except TypeError:
        return None
    return key


def _freeze(value: Any, found: dict[Node, Node]) -> Hashable:
    if isinstance(value, Node):
        return ("node", found.get(value, value))
    if isinstance(value, dict):
        return tuple(sorted((key, _freeze(item, found)) for key, item in value.items()))
    if isinstance(value, Iterable) and not isinstance(value, str):
        return tuple(_freeze(item, found) for item in value)
    # 1, 1.0 and True are equal to Python, and so are 0.0 and -0.0; they are not to torch.
    return (type(value).__name__, repr(value))
