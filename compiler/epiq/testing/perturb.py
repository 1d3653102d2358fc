"""How much the results of a graph depend on the last bits of what is not exact in it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

from epiq.frontend.inexact import is_inexact


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
