"""A registered function, traced for one call of its op into the form that graphs have here."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._inductor.decomposition import select_decomp_table
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import statically_known_true
from torch.utils import _pytree as pytree

from epiq.frontend.cse import writes_memory
from epiq.frontend.custom_op import CustomCall
from epiq.frontend.unwrap import Unwrap, UnwrapError


class StaysError(Exception):
    """The call stays a call of its op; the message says why."""


def argument_nodes(call: CustomCall) -> list[Node]:
    """The arguments that are nodes, in the order of a traced function's placeholders."""
    return [leaf for leaf in pytree.tree_leaves(call.arguments) if isinstance(leaf, Node)]


def trace_key(call: CustomCall) -> Hashable:
    """Calls with equal keys have one trace: it depends on the arguments' types and numbers alone."""
    leaves, spec = pytree.tree_flatten(call.arguments)
    return (call.unwrap, repr(spec), *(_leaf_key(leaf) for leaf in leaves))


def _leaf_key(leaf: Any) -> Hashable:
    if not isinstance(leaf, Node):
        return (type(leaf).__name__, repr(leaf))
    value = leaf.meta.get("val")
    if not isinstance(value, Tensor):
        return str(value)
    return (value.dtype, value.device, str(tuple(value.shape)), str(value.stride()))


def trace_call(call: CustomCall) -> GraphModule:
    """The graph of the function for the arguments of `call`.

    Raises: UnwrapError if the function's results are not like the op's; StaysError.
    """
    leaves, spec = pytree.tree_flatten(call.arguments)
    fakes = [node.meta.get("val") for node in argument_nodes(call)]
    mode = torch._guards.detect_fake_mode(fakes)
    if mode is None:
        raise StaysError("the graph was not traced with fake tensors")

    def flat(*values: Any) -> list[Any]:
        given = iter(values)
        filled = [next(given) if isinstance(leaf, Node) else leaf for leaf in leaves]
        return _called(call.unwrap, pytree.tree_unflatten(filled, spec))

    try:
        with mode, torch.no_grad():
            gm = make_fx(_functional(flat), decomposition_table=select_decomp_table())(*fakes)
            # Some decompositions write into what they have just made.
            if any(writes_memory(node) for node in gm.graph.nodes):
                gm = make_fx(_functional(gm))(*fakes)
    except UnwrapError:
        raise
    except Exception as error:
        raise UnwrapError(f"the function for {call.unwrap.op} cannot be traced: {error}") from error
    gm.graph.eliminate_dead_code()
    return gm


def _functional(fn: Callable[..., Any]) -> Callable[..., Any]:
    """`fn` without writes to memory."""
    functional: Callable[..., Any] = torch.func.functionalize(fn, remove="mutations")
    return functional


def _called(unwrap: Unwrap, arguments: dict[str, Any]) -> list[Any]:
    """The results of the function as a list of the right length."""
    by_position = [a.name for a in unwrap.op._schema.arguments if not a.kwarg_only]
    args = [arguments[name] for name in by_position]
    kwargs = {name: value for name, value in arguments.items() if name not in by_position}
    found = unwrap.torch_fn(*args, **kwargs)
    results = list(found) if isinstance(found, list | tuple) else [found]
    if len(results) != unwrap.num_results:
        raise UnwrapError(
            f"the function for {unwrap.op} returns {len(results)} results, the op has "
            f"{len(unwrap.op._schema.returns)} and writes {len(unwrap.written)} arguments"
        )
    for index, result in enumerate(results):
        if not isinstance(result, Tensor):
            raise UnwrapError(
                f"result {index} of the function for {unwrap.op} is a {type(result).__name__}, "
                "the op's is a tensor"
            )
    return results


def check_results(call: CustomCall, found: Sequence[Any]) -> None:
    """Raises: UnwrapError if a result has another dtype or shape than the op's, StaysError for strides."""
    for index, (given, wanted) in enumerate(zip(found, call.wanted, strict=True)):
        if given.dtype != wanted.dtype or not _equal(given.shape, wanted.shape):
            raise UnwrapError(
                f"result {index} of the function for {call.unwrap.op} is {_described(given)}, "
                f"the op's is {_described(wanted)}"
            )
    # What is seen in another order is put in its own by a copy.
    copied = {call.place_of(name) for name, view in call.views.items() if view.order is not None}
    for index, (given, wanted) in enumerate(zip(found, call.wanted, strict=True)):
        if index in copied and given.device == wanted.device:
            continue
        if given.device != wanted.device or not _equal(_strides(given), _strides(wanted)):
            raise StaysError(
                f"result {index} would have strides {given.stride()} on {given.device}, "
                f"the op's has {wanted.stride()} on {wanted.device}"
            )


def _described(x: Tensor) -> str:
    return f"{str(x.dtype).removeprefix('torch.')} of shape {tuple(x.shape)}"


def _strides(x: Tensor) -> list[Any]:
    """The strides of the dimensions that have more than one element."""
    return [
        stride
        for size, stride in zip(x.shape, x.stride(), strict=True)
        if not (isinstance(size, int) and size <= 1)
    ]


def _equal(a: Sequence[Any], b: Sequence[Any]) -> bool:
    return len(a) == len(b) and all(statically_known_true(x == y) for x, y in zip(a, b, strict=True))
