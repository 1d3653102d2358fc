"""Finds producers in an FX graph, by the kinds that are registered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.fx import Node

from epiq.producers.base import Reading
from epiq.producers.product import PRODUCTS, read_product, side_by_side
from epiq.producers.read_attention import LAYOUTS, read_attention

# Reads a node whose target it is registered for. Raises: ProducerError, P1, for a form without kernels.
# None for a node that is no producer after all.
Reader = Callable[[Node], Reading | None]

READERS: dict[Any, Reader] = {
    **dict.fromkeys(PRODUCTS, read_product),
    **dict.fromkeys(LAYOUTS, read_attention),
}


def read_producer(node: Node) -> Reading | None:
    """The node as a producer, None for one that is none. Raises: ProducerError, P1."""
    reader = READERS.get(node.target) if node.op == "call_function" else None
    return reader(node) if reader is not None else None


def read_side_by_side(first: Reading, second: Reading) -> Reading | None:
    """Two producers as one that makes both results, None where they have nothing in common."""
    return side_by_side(first, second)
