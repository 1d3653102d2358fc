"""Recognizes chains of data movement that put scales into a layout, by running them.

Servers and libraries write one layout in many ways: pads, views, permutations, copies into slices of zeros.
What such a chain does to one matrix of scales is found out by giving it a matrix of numbers that are all
different, for several numbers of rows where that is not known, and comparing what comes out with what the
layout says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, Node

from epiq.formats.layouts import LAYOUTS, ScaleLayout
from epiq.frontend.ops.table import overload
from epiq.runtime.shapes import known_size


def _overloads(*paths: str) -> frozenset[Any]:
    return frozenset(found for path in paths if (found := overload(path)) is not None)


# Views that keep the order of the elements; a view as another dtype is one if the size stays.
_RESHAPES = _overloads(
    "aten.view.default", "aten._unsafe_view.default", "aten.reshape.default", "aten.unsqueeze.default",
    "aten.squeeze.default", "aten.squeeze.dim", "aten.squeeze.dims", "aten.flatten.using_ints",
    "aten.unflatten.int", "aten.alias.default", "aten.view.dtype",
)  # fmt: skip
_PERMUTES = _overloads("aten.permute.default", "aten.t.default", "aten.transpose.int")
_PADS = _overloads(
    "aten.constant_pad_nd.default", "aten.slice_scatter.default", "aten.cat.default", "aten.copy.default",
)  # fmt: skip
_OTHERS = _overloads("aten.clone.default", "aten.slice.Tensor", "aten.expand.default", "aten.select.int")
MOVES = _RESHAPES | _PERMUTES | _PADS | _OTHERS
CREATIONS = _overloads(
    "aten.full.default", "aten.zeros.default", "aten.new_zeros.default", "aten.new_full.default",
    "aten.empty.memory_format", "aten.new_empty.default", "aten.empty_strided.default",
)  # fmt: skip
_EMPTY = _overloads("aten.empty.memory_format", "aten.new_empty.default", "aten.empty_strided.default")

# Numbers of rows that a chain is tried with, about the multiples that layouts pad to.
_TRIAL_ROWS = (2, 3, 5, 8, 127, 128, 130, 257)
# A chain over more bytes is not tried: that would take longer than what it could save.
_MAX_BYTES = 1 << 24


@dataclass(frozen=True)
class Found:
    """The value of a node is `source`, rows by groups, in `layout`. hidden: nodes that only this needs."""

    layout: ScaleLayout
    source: Node
    hidden: frozenset[Node]


def find_layouts(graph: Graph) -> dict[Node, Found]:
    """The nodes of `graph` whose values are laid-out matrices."""
    found: dict[Node, Found] = {}
    for node in graph.nodes:
        if node.target in MOVES and any(user.target not in MOVES for user in node.users):
            chain = _Chain.above(node)
            match = None if chain is None else chain.match()
            if match is not None:
                found[node] = match
    return found


@dataclass(frozen=True)
class _Chain:
    """The moves from `source` to `last`: all of `nodes`, creations among them, but for the source."""

    source: Node
    last: Node
    nodes: frozenset[Node]

    @staticmethod
    def above(last: Node) -> _Chain | None:
        path = [last]
        nodes = {last}
        while path[-1].target in MOVES:
            inputs = [node for node in path[-1].all_input_nodes if isinstance(node.meta.get("val"), Tensor)]
            moved = [node for node in inputs if not _is_creation(node)]
            for extra in inputs:
                nodes |= {extra} if _is_creation(extra) else set()
            # A slice of zeros, a view of it: followed to what made it.
            made = [node for node in moved if _made_of_nothing(node)]
            for extra in made:
                nodes |= _all_above(extra)
            moved = [node for node in moved if node not in made]
            if len(set(moved)) != 1:
                return None
            path.append(moved[0])
            nodes.add(moved[0])
        source = _matrix(path)
        if source is None or source is last:
            return None
        above = path[path.index(source) :]
        return _Chain(source, last, frozenset(nodes - set(above)))

    def match(self) -> Found | None:
        source, last = _fake(self.source), _fake(self.last)
        layouts = [LAYOUTS[name] for name in self._candidates(source, last)]
        if not layouts:
            return None
        trials = list(self._trials())
        for sizes in trials:
            try:
                layouts = self._fitting(layouts, sizes)
            except Exception:
                # A chain that cannot be run on these sizes is not one that we know.
                return None
            if not layouts:
                return None
        if not trials:
            return None
        return Found(layouts[0], self.source, self._hidden())

    def _candidates(self, source: Tensor, last: Tensor) -> list[str]:
        """Layouts that the dtypes and kinds of ops leave, and that no pass recognizes on its own."""
        targets = {node.target for node in self.nodes}
        before, after = source.dtype.itemsize, last.dtype.itemsize
        if before == 4 and after == 4 and targets & _PADS and last.dim() > 0:
            return ["tma_aligned", "column_major"]
        if before == 1 and after == 4 and last.dim() > 0:
            return ["packed_ue8m0"]
        is_swizzle = any(node.target in _PERMUTES and _fake(node).dim() >= 4 for node in self.nodes)
        return ["swizzled_128x4"] if before == 1 and after == 1 and is_swizzle else []

    def _trials(self) -> Iterator[dict[Any, int]]:
        """A value for each symbol of the chain's sizes."""
        open_sizes = [size for node in (self.source, *self.nodes) for size in _open_sizes(node)]
        symbols = sorted({symbol for size in open_sizes for symbol in size.node.expr.free_symbols}, key=str)
        if not symbols:
            yield {}
            return
        # What the trace relied on: sizes that break a guard never get here.
        guards = [guard.expr for guard in open_sizes[0].node.shape_env.guards]
        for rows in _TRIAL_ROWS:
            sizes = {symbol: rows if index == 0 else index + 1 for index, symbol in enumerate(symbols)}
            if not any(guard.xreplace(sizes) == False for guard in guards):  # noqa: E712
                yield sizes

    def _fitting(self, layouts: list[ScaleLayout], sizes: Mapping[Any, int]) -> list[ScaleLayout]:
        shape = [_number(size, sizes) for size in _fake(self.source).shape]
        rows, groups = Tensor.numel(torch.empty(shape[:-1], device="meta")), shape[-1]
        dtype = _fake(self.source).dtype
        if rows * groups * dtype.itemsize > _MAX_BYTES or rows * groups == 0:
            return []
        kept = list(layouts)
        # Tracing runs under a fake mode; the numbers must be real.
        with torch._subclasses.fake_tensor.unset_fake_temporarily():
            for numbers in _numbered(rows * groups, dtype):
                result = self._run(numbers.view(shape), sizes)
                kept = [layout for layout in kept if _is_laid_out(result, numbers.view(rows, groups), layout)]
        return kept

    def _run(self, numbers: Tensor, sizes: Mapping[Any, int]) -> Tensor:
        values: dict[Node, Any] = {self.source: numbers}

        def value(node: Node) -> Any:
            if node not in values:
                values[node] = made(node)
            return values[node]

        def made(node: Node) -> Any:
            held = node.meta.get("val")
            if not isinstance(held, Tensor):
                return _number(held, sizes)
            if node not in self.nodes:
                # Only its dtype and shape matter: `new_zeros` of it.
                return torch.empty([_number(size, sizes) for size in held.shape], dtype=held.dtype)
            args = torch.fx.map_arg(node.args, value)
            kwargs = torch.fx.map_arg({k: v for k, v in node.kwargs.items() if k != "device"}, value)
            result = node.target(*args, **kwargs)  # type: ignore[operator]
            if node.target in _EMPTY:
                result.untyped_storage().fill_(0xFF)
            return result

        result: Tensor = value(self.last)
        return result

    def _hidden(self) -> frozenset[Node]:
        hidden = set(self.nodes) - {self.last}
        while True:
            seen = {n for n in hidden if any(u not in hidden and u is not self.last for u in n.users)}
            if not seen:
                return frozenset(hidden)
            hidden -= seen


def _fake(node: Node) -> Tensor:
    held: Tensor = node.meta["val"]
    return held


def _is_creation(node: Node) -> bool:
    return node.target in CREATIONS


def _made_of_nothing(node: Node) -> bool:
    if _is_creation(node):
        return True
    tensors = [each for each in node.all_input_nodes if isinstance(each.meta.get("val"), Tensor)]
    return node.target in MOVES and bool(tensors) and all(map(_made_of_nothing, tensors))


def _all_above(node: Node) -> set[Node]:
    found = {node}
    if not _is_creation(node):
        for each in node.all_input_nodes:
            if isinstance(each.meta.get("val"), Tensor):
                found |= _all_above(each)
    return found


def _matrix(path: list[Node]) -> Node | None:
    """Where the movement starts: the last matrix before it, or the value itself.

    path: nodes from the end of the chain up to the value that is no move.
    """
    start = path[-1]
    if not isinstance(start.meta.get("val"), Tensor):
        return None
    best = start if _fake(start).dim() >= 1 else None
    for below, node in zip(reversed(path[:-1]), reversed(path[1:]), strict=True):
        if _fake(node).dim() == 2:
            best = node
        is_reshape = below.target in _RESHAPES and _fake(below).dtype.itemsize == _fake(node).dtype.itemsize
        if not is_reshape:
            break
    if best is None or known_size(_fake(best).shape[-1]) is None:
        return None
    return best


def _open_sizes(node: Node) -> list[Any]:
    held = node.meta.get("val")
    sizes: tuple[Any, ...] = tuple(held.shape) if isinstance(held, Tensor) else ()
    return [size for size in sizes if known_size(size) is None]


def _number(size: Any, sizes: Mapping[Any, int]) -> int:
    number = known_size(size)
    return number if number is not None else int(size.node.expr.xreplace(dict(sizes)))


def _numbered(count: int, dtype: torch.dtype) -> Iterator[Tensor]:
    """`count` elements, none of them 0, that differ in one of the tensors at least."""
    numbers = torch.arange(count)
    if dtype.itemsize == 4:
        yield (numbers + 1).to(torch.int32).view(dtype)
        return
    remaining = count
    while True:
        yield (numbers % 255 + 1).to(torch.uint8).view(dtype)
        numbers, remaining = numbers // 255, remaining // 255
        if remaining == 0:
            return


def _is_laid_out(result: Tensor, matrix: Tensor, layout: ScaleLayout) -> bool:
    wanted = layout.lay_out(matrix)
    if result.numel() != wanted.numel() or result.dtype.itemsize != wanted.dtype.itemsize:
        return False
    if layout.tile is not None:
        return result.is_contiguous() and torch.equal(_raw(result), _raw(wanted))
    if result.shape[-1] != wanted.shape[-1]:
        return False
    strides = layout.strides(result.shape[:-1], matrix.shape[1])
    sizes = zip(result.shape, result.stride(), strides, strict=True)
    return all(size == 1 or a == b for size, a, b in sizes) and torch.equal(_raw(result), _raw(wanted))


def _raw(x: Tensor) -> Tensor:
    flat = x.clone(memory_format=torch.contiguous_format).view(-1)
    return flat.view(torch.int32 if x.dtype.itemsize == 4 else torch.uint8)
