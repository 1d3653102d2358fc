"""What is assumed of a kernel's arguments beyond their types, said in its Triton IR."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from epiq import ir

_CASTS = ("arith.extsi", "arith.extui", "arith.trunci", "tt.splat", "tt.expand_dims", "tt.broadcast")
_PRODUCTS = ("arith.muli", "tt.make_tensor_descriptor")


def claim_multiples(module: Any, claims: Mapping[int, int]) -> None:
    """Sets tt.divisibility of arguments of the kernel, by their numbers."""
    _mark(module, "tt.divisibility", claims, 32)


def _mark(module: Any, attribute: str, numbers: Mapping[int, int], bits: int) -> None:
    if not numbers:
        return
    kernel = _kernel(module)
    mlir = ir.ir
    kind = mlir.IntegerType.get_signless(bits)
    count = len(kernel.regions[0].blocks[0].arguments)
    held = kernel.attributes.get("arg_attrs", None)
    attributes = []
    for i in range(count):
        entry = {named.name: named.attr for named in held[i]} if held is not None else {}
        if i in numbers:
            entry[attribute] = mlir.IntegerAttr.get(kind, numbers[i])
        attributes.append(mlir.DictAttr.get(entry))
    kernel.attributes["arg_attrs"] = mlir.ArrayAttr.get(attributes)


def fix_numbers(module: Any, numbers: Mapping[int, int]) -> None:
    """Puts constants in the place of integer arguments, which stay without uses."""
    mlir = ir.ir
    block = _kernel(module).regions[0].blocks[0]
    for i, number in numbers.items():
        argument = block.arguments[i]
        constant = mlir.Operation.create(
            "arith.constant",
            results=[argument.type],
            attributes={"value": mlir.IntegerAttr.get(argument.type, number)},
            loc=mlir.Location.unknown(),
            ip=mlir.InsertionPoint.at_block_begin(block),
        )
        argument.replace_all_uses_with(constant.results[0])


def mark_numbers(module: Any, numbers: Mapping[int, int]) -> None:
    """Says the values of integer arguments to epiq-fuse-epilogue: those that follow a descriptor have no uses
    to put constants in."""
    _mark(module, "epiq.value", numbers, 64)


def is_multiplied(kernel_text: str, argument: int) -> bool:
    """Whether an argument is a factor of something in the kernel, as strides are."""
    return argument in _factors(kernel_text)


@functools.lru_cache(16)
def _factors(kernel_text: str) -> frozenset[int]:
    module = ir.parse(kernel_text)
    found = set()
    for i, argument in enumerate(_kernel(module).regions[0].blocks[0].arguments):
        worklist = [argument]
        while worklist:
            for use in worklist.pop().uses:
                op = use.owner.operation if hasattr(use.owner, "operation") else use.owner
                if op.name in _PRODUCTS:
                    found.add(i)
                elif op.name in _CASTS:
                    worklist.extend(op.results)
    return frozenset(found)


def _kernel(module: Any) -> Any:
    return next(op.operation for op in module.body.operations if op.operation.name == "tt.func")
