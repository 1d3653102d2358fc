"""Reads attention in an FX graph: what torch makes of scaled_dot_product_attention, its heads side by side.

The torch ops give (batch, heads, tokens, dim); a program whose rows are tokens reads a transpose of that, and
perhaps a copy of it. All of it up to the program is one producer: its kernel stores tokens as rows anyway.
Heads of K and V that a model repeats for those of Q are read where they are: the kernels share them.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import Node
from torch.fx.experimental.symbolic_shapes import statically_known_true

from epiq.producers.attention import Attention
from epiq.producers.base import Reading
from epiq.producers.errors import ProducerError
from epiq.producers.product import Call, Slot, plain

aten = torch.ops.aten
# Ops of torch with a result of (batch, heads, tokens, dim), the first one where they have several.
_NAMES = (
    "scaled_dot_product_attention",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
)
_OPS = frozenset(getattr(aten, name).default for name in _NAMES if hasattr(aten, name))
# What stands between attention and a program: these do not change the order of elements,
_KEEPING_ORDER = (
    aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.clone.default,
)  # fmt: skip
# and these put tokens before heads.
_TRANSPOSES = (aten.permute.default, aten.transpose.int)
_QKV = ("query", "key", "value")
LAYOUTS = (*_KEEPING_ORDER, *_TRANSPOSES, operator.getitem)


def read_attention(node: Node) -> Reading | None:
    """A node that puts the heads of attention side by side, None for one that has other inputs.

    Raises: ProducerError: P1 for a form that the kernels do not compute, P2 for another order of the result,
    P3 where something else reads a step on the way.
    """
    way: list[Node] = [node]
    while way[-1].target not in _OPS:
        below = way[-1].args[0] if way[-1].target in LAYOUTS and way[-1].args else None
        if not isinstance(below, Node):
            return None
        way.append(below)
    op = way[-1]
    layouts = [each for each in way[:-1] if each.target is not operator.getitem]
    if any(each.target is operator.getitem and each.args[1] != 0 for each in way):
        return None
    if any(each.target in _TRANSPOSES for each in layouts[:-1]) or not _puts_tokens_first(layouts):
        raise ProducerError("P2: the program does not read the tokens of attention as rows")
    _check_readers(way)
    given = _arguments(op)
    slots = {each: Slot(number) for number, each in enumerate(dict.fromkeys(op.all_input_nodes))}
    call = Call(
        op.target,
        plain(op.args, slots),
        tuple((name, plain(value, slots)) for name, value in op.kwargs.items()),
    )
    mask = _mask(given)
    q, k, v, by_mask = (slots[each].index if each else None for each in (*map(given.get, _QKV), mask))
    assert q is not None and k is not None and v is not None
    inputs = list(slots)
    (key, by_key), (value, by_value) = (_unrepeated(given[name]) for name in _QKV[1:])
    repeats = by_key if by_key == by_value else 1
    if repeats > 1:
        inputs[k], inputs[v] = key, value
    if by_mask is not None:
        inputs[by_mask] = _unexpanded(inputs[by_mask])
    causal, scale = bool(given["is_causal"]), given.get("scale")
    found = Attention(call, q, k, v, by_mask, repeats, causal, scale, _rank(node, op))
    return Reading(node, found, tuple(inputs), within=tuple(way[1:]))


def _unrepeated(node: Node) -> tuple[Node, int]:
    """(batch, heads, keys, dim) before each head was repeated next to itself, and how often it was."""
    way = [node]
    while way[-1].target in _KEEPING_ORDER and isinstance(way[-1].args[0], Node):
        way.append(way[-1].args[0])
    expanded = way[-1]
    if expanded.target is not aten.expand.default or len(way) == 1:
        return node, 1
    inserted = expanded.args[0]
    if not isinstance(inserted, Node) or inserted.target is not aten.unsqueeze.default:
        return node, 1
    base, dim = inserted.args
    shape = tuple(expanded.meta["val"].shape)
    if not isinstance(base, Node) or len(shape) != 5 or dim not in (2, -3):
        return node, 1
    batch, heads, times, keys, width = shape
    given = tuple(node.meta["val"].shape)
    wanted = (batch, heads * times, keys, width)
    if not isinstance(times, int) or len(given) != 4 or not _are_equal(given, wanted):
        return node, 1
    return base, times


def _unexpanded(mask: Node) -> Node:
    """The mask before dimensions of it were repeated."""
    while mask.target is aten.expand.default and isinstance(mask.args[0], Node):
        mask = mask.args[0]
    return mask


def _are_equal(shape: Sequence[Any], other: Sequence[Any]) -> bool:
    return all(statically_known_true(a == b) for a, b in zip(shape, other, strict=True))


def _puts_tokens_first(layouts: Sequence[Node]) -> bool:
    """Whether the first step after the op swaps heads and tokens."""
    if not layouts:
        return False
    first = layouts[-1]
    if first.target is aten.permute.default:
        return list(first.args[1]) == [0, 2, 1, 3]  # type: ignore[arg-type]
    return first.target is aten.transpose.int and sorted(int(dim) % 4 for dim in first.args[1:]) == [1, 2]  # type: ignore[arg-type]


def _check_readers(way: Sequence[Node]) -> None:
    """All of the way is computed for the program alone; `way` starts with what the program reads."""
    for reader, node in itertools.pairwise(way):
        for user in node.users:
            # The further results of an op, such as the log-sum-exp, are there even where nothing reads them.
            if user is not reader and (user.users or user.op != "call_function"):
                raise ProducerError(f"P3: {user.name} reads {node.name} too")


def _arguments(op: Node) -> dict[str, Any]:
    """The arguments by their names. Raises: ProducerError, P1."""
    schema = op.target._schema.arguments  # type: ignore[union-attr]
    given: dict[str, Any] = {each.name: each.default_value for each in schema if each.has_default_value()}
    given |= dict(zip((each.name for each in schema), op.args, strict=False)) | dict(op.kwargs)
    if given["is_causal"] and _mask(given) is not None:
        raise ProducerError("P1: causal attention with a mask in a tensor as well")
    if given.get("dropout_p", 0.0) != 0.0:
        raise ProducerError(f"P1: attention with a dropout of {given['dropout_p']}")
    shapes = [given[name].meta["val"].shape for name in _QKV]
    if any(len(shape) != 4 for shape in shapes):
        ranks = ", ".join(str(len(shape)) for shape in shapes)
        raise ProducerError(f"P1: attention of tensors of ranks {ranks}, the kernels take 4")
    queries, keys = shapes[0][2], shapes[1][2]
    if given["is_causal"] and not statically_known_true(queries == keys):
        raise ProducerError(
            f"P1: torch's causal mask of {queries} queries and {keys} keys starts at the first key, ours "
            "ends at the last one"
        )
    scale = given.get("scale")
    if scale is not None and not isinstance(scale, int | float):
        raise ProducerError("P1: the softmax scale is not a number but a symbol")
    return given


def _mask(given: dict[str, Any]) -> Node | None:
    return given.get("attn_mask", given.get("attn_bias"))


def _rank(node: Node, op: Node) -> int:
    """Of the result, as Attention has it. Raises: ProducerError, P2, for another shape."""
    batch, heads, tokens, _ = op.args[0].meta["val"].shape  # type: ignore[union-attr]
    dim = op.args[2].meta["val"].shape[-1]  # type: ignore[union-attr]
    shape = tuple(node.meta["val"].shape)
    wanted = {
        4: (batch, tokens, heads, dim),
        3: (batch, tokens, heads * dim),
        2: (batch * tokens, heads * dim),
    }.get(len(shape))
    if wanted is None or not _are_equal(shape, wanted):
        raise ProducerError(
            f"P2: the program reads the result of attention as {shape}, not as rows of tokens"
        )
    return len(shape)
