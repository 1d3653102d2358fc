"""What has more than one right answer in f32: sums, by their order, and functions of a library."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch.fx import GraphModule, Node

# Ops whose result depends on the order of a sum or on a mathematical library. All others have one
# right answer in f32.
_SUMS = ("sum", "mean", "var_mean", "var", "linalg_vector_norm", "mm", "addmm", "bmm", "logsumexp", "cumsum")
_FUNCTIONS = (
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "rsqrt", "sin", "cos", "tan", "tanh", "sigmoid",
    "erf", "erfc", "pow", "acos", "asin", "atan", "cosh", "sinh", "hypot", "atan2", "_softmax",
    "_log_softmax", "silu", "gelu", "glu", "elu", "softplus", "mish", "log_sigmoid_forward", "logaddexp",
    "prod", "native_layer_norm", "_fused_rms_norm", "_scaled_mm", "scaled_dot_product_attention",
)  # fmt: skip
_INEXACT = frozenset((*_SUMS, *_FUNCTIONS))


def is_inexact(node: Node) -> bool:
    target: Any = node.target
    if not isinstance(target, torch._ops.OpOverload):
        return False
    return target._schema.name.split("::")[1] in _INEXACT


def inexact_outputs(gm: GraphModule, without: Collection[str] = ()) -> list[bool]:
    """For each result of the graph, whether something inexact is upstream of it.

    without: names of nodes that do not count.
    """
    tainted: set[Node] = set()
    for node in gm.graph.nodes:
        inexact = is_inexact(node) and node.name not in without
        if inexact or any(source in tainted for source in node.all_input_nodes):
            tainted.add(node)
    output = next(node for node in gm.graph.nodes if node.op == "output")
    listed: Sequence[Any] = output.args[0]
    return [isinstance(node, Node) and node in tainted for node in listed]
