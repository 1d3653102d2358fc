"""Nodes of custom ops, as a call of the function that is registered for the op.

An op that writes arguments is functionalized to a node `auto_functionalized(_v2)`: it takes the
tensors that are written (the bases, whole, where an argument is a view of one) and results in a
tuple of the op's own results, or None, and the bases as they are after. An argument may be all of
its base with other dimensions (`out.view(-1, n)`) or in another order (`scales.t()`).
"""

from __future__ import annotations

import itertools
import operator
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor
from torch._higher_order_ops.auto_functionalize import auto_functionalized, auto_functionalized_v2
from torch.fx import Node
from torch.fx.experimental.symbolic_shapes import statically_known_true
from torch.fx.operator_schemas import normalize_function

from epiq.frontend.unwrap import Unwrap, find_unwrap


@dataclass(frozen=True)
class View:
    """All of a tensor, seen otherwise: by the order of its dimensions, or in `sizes` if that is None.

    sizes: numbers, or the nodes that hold them. base_sizes: those of the tensor itself.
    """

    order: tuple[int, ...] | None
    sizes: tuple[Any, ...]
    base_sizes: tuple[Any, ...]

    def of(self, base: Tensor) -> Tensor:
        """The view of a fake tensor."""
        if self.order is not None:
            return base.permute(self.order)
        return base.view([size.meta["val"] if isinstance(size, Node) else size for size in self.sizes])

    @property
    def inverse(self) -> tuple[int, ...]:
        """The order that undoes `order`."""
        assert self.order is not None
        return tuple(self.order.index(dim) for dim in range(len(self.order)))


@dataclass(frozen=True)
class CustomCall:
    """One node of a registered op.

    arguments: what the registered function is called with, by name; nodes stand for tensors and
    sizes. wanted: the fake tensor of each of its results. places: index in the node's tuple -> index
    of the result; None where the node is the only result itself. views: for an argument that is a
    view of its base, the node of which `arguments` holds, how to see it so.
    """

    node: Node
    unwrap: Unwrap
    arguments: dict[str, Any]
    wanted: list[Tensor]
    places: dict[int, int] | None
    views: dict[str, View] = field(default_factory=dict)

    def place_of(self, name: str) -> int:
        """The result that is the new value of a written argument."""
        return len(self.unwrap.op._schema.returns) + self.unwrap.written.index(name)

    def read_places(self) -> dict[int, int]:
        """`places` of what the graph reads; {0: 0} for a node that is its only result."""
        if self.places is None:
            return {0: 0}
        read = {user.args[1] for user in self.node.users if user.target is operator.getitem}
        return {index: place for index, place in self.places.items() if index in read}


def read_call(node: Node) -> CustomCall | None:
    """The call that `node` is; None for other nodes, and for forms that are not taken apart."""
    if node.op != "call_function" or "val" not in node.meta:
        return None
    if node.target in (auto_functionalized, auto_functionalized_v2):
        unwrap = find_unwrap(node.args[0]) if node.args else None
        if unwrap is None or not _is_only_unpacked(node):
            return None
        return _read_v1(node, unwrap) if node.target is auto_functionalized else _read_v2(node, unwrap)
    unwrap = find_unwrap(node.target)
    return _read_functional(node, unwrap) if unwrap is not None and not unwrap.written else None


def _read_functional(node: Node, unwrap: Unwrap) -> CustomCall | None:
    normal = normalize_function(
        unwrap.op,
        node.args,
        node.kwargs,
        normalize_to_only_use_kwargs=True,  # type: ignore[arg-type]
    )
    if normal is None:
        return None
    arguments = _with_defaults(unwrap, dict(normal.kwargs))
    value = node.meta["val"]
    if isinstance(value, Tensor):
        return CustomCall(node, unwrap, arguments, [value], None)
    if not isinstance(value, list | tuple) or not _is_only_unpacked(node):
        return None
    if not all(isinstance(part, Tensor) for part in value):
        return None
    return CustomCall(node, unwrap, arguments, list(value), {i: i for i in range(len(value))})


def _read_v1(node: Node, unwrap: Unwrap) -> CustomCall | None:
    arguments = _with_defaults(unwrap, dict(node.kwargs))
    return _written_call(node, unwrap, arguments, list(unwrap.written))


def _read_v2(node: Node, unwrap: Unwrap) -> CustomCall | None:
    given = dict(node.kwargs)
    bases: Any = given.pop("_all_bases", [])
    by_base: dict[int, str] = {}
    views: dict[str, View] = {}
    for name in unwrap.written:
        index = given.pop(f"_{name}_base_index", None)
        given.pop(f"_{name}_alias", None)
        place = [given.pop(f"_{name}_{what}", None) for what in ("size", "stride", "storage_offset")]
        # A part of a tensor, or two arguments in one, would have to be put together again.
        if not isinstance(index, int) or index in by_base:
            return None
        by_base[index] = name
        given[name] = bases[index]
        if place[0] is not None:
            view = _view_of(bases[index].meta["val"], *place)
            if view is None:
                return None
            views[name] = view
    if any(name.startswith("_") for name in given) or sorted(by_base) != list(range(len(bases))):
        return None
    order = [by_base[index] for index in range(len(bases))]
    call = _written_call(node, unwrap, _with_defaults(unwrap, given), order)
    if call is None:
        return None
    wanted = list(call.wanted)
    for name, view in views.items():
        wanted[call.place_of(name)] = view.of(wanted[call.place_of(name)])
    return replace(call, wanted=wanted, views=views)


def _view_of(base: Tensor, size: Any, stride: Any, offset: Any) -> View | None:
    """How (size, stride, offset) shows all of `base`, a dense tensor; None if it does not."""
    sizes, strides = (_values(numbers) for numbers in (size, stride))
    known = statically_known_true
    if offset != 0 or not base.is_contiguous() or base.storage_offset() != 0:
        return None
    for order in itertools.permutations(range(base.dim())) if base.dim() == len(sizes) <= 4 else ():
        seen = base.permute(order)
        pairs = zip((*seen.shape, *seen.stride()), (*sizes, *strides), strict=True)
        if all(known(a == b) for a, b in pairs):
            return View(order, tuple(size), tuple(base.shape))
    dense: Any = 1
    for length, step in zip(reversed(sizes), reversed(strides), strict=True):
        if not known(step == dense) and not known(length == 1):
            return None
        dense = dense * length
    return View(None, tuple(size), tuple(base.shape)) if known(dense == base.numel()) else None


def _values(numbers: Any) -> list[Any]:
    return [number.meta["val"] if isinstance(number, Node) else number for number in numbers]


def _written_call(
    node: Node, unwrap: Unwrap, arguments: dict[str, Any], order: list[str]
) -> CustomCall | None:
    """order: the written argument behind each of the tensors that the node's tuple ends with."""
    value = node.meta["val"]
    own = len(unwrap.op._schema.returns)
    offset = max(own, 1)
    if not isinstance(value, list | tuple) or len(value) != offset + len(order):
        return None
    if not all(isinstance(arguments.get(name), Node) for name in unwrap.written):
        return None
    after = dict(zip(order, value[offset:], strict=True))
    wanted = [*value[:own], *(after[name] for name in unwrap.written)]
    if not all(isinstance(part, Tensor) for part in wanted):
        return None
    places = {index: index for index in range(own)}
    for index, name in enumerate(order):
        places[offset + index] = own + unwrap.written.index(name)
    return CustomCall(node, unwrap, arguments, wanted, places)


def _with_defaults(unwrap: Unwrap, given: dict[str, Any]) -> dict[str, Any]:
    return {
        argument.name: given.get(argument.name, argument.default_value)
        for argument in unwrap.op._schema.arguments
    }


def _is_only_unpacked(node: Node) -> bool:
    return all(user.target is operator.getitem for user in node.users)


def registered_op(node: Node) -> Unwrap | None:
    """What is registered for the op that `node` calls, in whatever form."""
    if node.op != "call_function":
        return None
    if node.target in (auto_functionalized, auto_functionalized_v2):
        return find_unwrap(node.args[0]) if node.args else None
    return find_unwrap(node.target)
