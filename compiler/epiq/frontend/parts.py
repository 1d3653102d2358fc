"""Parts of a tensor by a number, as `kv[0]`, and tensors of which a part was replaced.

Servers keep keys and values in one tensor, (2, blocks, block_size, heads, dim). In a functional graph a write
of `kv[0]` is a `select_scatter`, from which `kv[1]` is taken then: as it was before.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace

import torch
from torch.fx import Node

_SELECT, _UNBIND = torch.ops.aten.select.int, torch.ops.aten.unbind.int
_SCATTER = torch.ops.aten.select_scatter.default


@dataclass(frozen=True)
class Part:
    """`whole.select(dim, index)`, both counted from the front."""

    whole: Node
    dim: int
    index: int

    def before(self) -> Part:
        """The same values in the tensor as it was before other parts of it were replaced."""
        part = self
        while (other := replaced_in(part.whole)) is not None:
            if other.dim != part.dim or other.index == part.index:
                break
            part = replace(part, whole=other.whole)
        return part


def part_of(node: Node) -> Part | None:
    """The part that `node` is a view of, if it is one: by select, or one of those of unbind."""
    if node.target is _SELECT:
        return _part(node.args[0], node.args[1], node.args[2])
    if node.target is not operator.getitem or not isinstance(node.args[0], Node):
        return None
    parts = node.args[0]
    return _unbound(parts, node.args[1]) if parts.target is _UNBIND else None


def parts_of(unbind: Node) -> list[Part | None]:
    """Those of an unbind node, in order."""
    return [_unbound(unbind, index) for index in range(len(unbind.meta["val"]))]


def replaced_in(node: Node) -> Part | None:
    """Which part of which tensor `node` replaces by another value."""
    if node.target is not _SCATTER:
        return None
    return _part(node.args[0], node.args[2], node.args[3])


def _unbound(unbind: Node, index: object) -> Part | None:
    return _part(unbind.args[0], unbind.args[1] if len(unbind.args) > 1 else 0, index)


def _part(whole: object, dim: object, index: object) -> Part | None:
    if not isinstance(whole, Node) or not isinstance(dim, int) or not isinstance(index, int):
        return None
    fake = whole.meta.get("val")
    if not isinstance(fake, torch.Tensor) or not isinstance(fake.shape[dim], int):
        return None
    return Part(whole, dim % fake.dim(), index % fake.shape[dim])
