"""How much the results of a graph depend on the last bits of what is not exact in it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

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


class Perturbed(Interpreter):
    """Runs a graph with a relative error of at most `size` in each result that is not exact.

    everywhere: in each float result that is computed, for devices whose elementwise ops differ as well.
    """

    def __init__(self, gm: GraphModule, seed: int, size: float = 2.0**-22, everywhere: bool = False) -> None:
        super().__init__(gm)
        self.generator = torch.Generator().manual_seed(seed)
        self.size = size
        self.everywhere = everywhere

    def run_node(self, n: Node) -> Any:
        found = super().run_node(n)
        if n.op != "call_function" or not (self.everywhere or is_inexact(n)):
            return found
        if isinstance(found, tuple | list):
            return type(found)(self._moved(each) for each in found)
        return self._moved(found)

    def _moved(self, x: Any) -> Any:
        if not isinstance(x, Tensor) or x.dtype not in (
            torch.float64,
            torch.float32,
            torch.bfloat16,
            torch.float16,
        ):
            return x
        errors = torch.rand(x.shape, generator=self.generator, dtype=torch.float64) * 2 - 1
        moved = x.double() * (1 + self.size * errors.to(x.device))
        return torch.empty_like(x).copy_(moved)
