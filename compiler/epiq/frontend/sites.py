"""The row programs of a grouped module, in the terms of the FX graph it was imported from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from epiq import ir

_AUX = ".aux"
_REGIONS = ("epiq.composite", "epiq.row_program")


@dataclass(frozen=True)
class ValueName:
    """A value by the FX node whose value it is.

    node: the node's name. result: which of the tensors of a node with several. program: the symbol
    of the row program that computes it, "" for none. is_aux: no node has this value; it is a step
    on the way to `node`'s.
    """

    node: str
    result: int = 0
    program: str = ""
    is_aux: bool = False


@dataclass(frozen=True)
class Site:
    """One row program. members: names of the nodes whose values its body computes."""

    symbol: str
    inputs: tuple[ValueName, ...]
    outputs: tuple[ValueName, ...]
    members: frozenset[str]


def read_sites(module_text: str) -> list[Site]:
    """The sites of a grouped module, in the order of their ops."""
    module = ir.parse(module_text, filename="<grouped graph>")
    return [
        _site(op.operation)
        for func in module.body.operations
        if func.operation.name == "func.func"
        for op in func.operation.regions[0].blocks[0].operations
        if op.operation.name == "epiq.row_program"
    ]


def _site(op: Any) -> Site:
    return Site(
        symbol=op.attributes["sym_name"].value,
        inputs=tuple(_value_name(value) for value in op.operands),
        outputs=tuple(_yielded_name(op, index) for index in range(len(op.results))),
        members=frozenset(_members(op)),
    )


def _members(op: Any) -> Iterator[str]:
    for inner in op.regions[0].blocks[0].operations:
        inner_op = inner.operation
        if inner_op.name in _REGIONS:
            yield from _members(inner_op)
            continue
        name = _location_name(inner_op.location)
        if name and not name.endswith(_AUX):
            yield name


def _value_name(value: Any) -> ValueName:
    owner = value.owner
    if isinstance(owner, ir.ir.Block):
        return _named(_location_name(value.location))
    op = owner.operation if hasattr(owner, "operation") else owner
    index = value.result_number
    if op.name == "epiq.row_program":
        inner = _yielded_name(op, index)
        return ValueName(inner.node, index, op.attributes["sym_name"].value, inner.is_aux)
    if op.name == "epiq.composite":
        return _yielded_name(op, index)
    name = _named(_location_name(op.location))
    return ValueName(name.node, index, "", name.is_aux)


def _yielded_name(op: Any, index: int) -> ValueName:
    """The name of a region op's result: that of the value its body yields there."""
    block = op.regions[0].blocks[0]
    value = block.operations[len(block.operations) - 1].operands[index]
    owner = value.owner
    if isinstance(owner, ir.ir.Block):
        return _value_name(op.operands[value.arg_number])
    return _value_name(value)


def _named(name: str) -> ValueName:
    if name.endswith(_AUX):
        return ValueName(name[: -len(_AUX)], is_aux=True)
    return ValueName(name)


def _location_name(location: Any) -> str:
    """The FX node of a location: its own name, or that of the first part of a fused one."""
    if location.is_a_name():
        return str(location.name_str)
    if location.is_a_fused():
        for part in location.locations:
            name = _location_name(part)
            if name:
                return name
    return ""
