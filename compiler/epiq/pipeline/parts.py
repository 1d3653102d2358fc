"""What a row program replaces: the kernels it would be if nothing were fused.

One kernel for each named operation (norm, activation, quantization, layout change) and for each
remaining torch op, every one reading its inputs from memory and writing its outputs there. Views
and constants are free. This is what the reports call "before".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from epiq.pipeline.tensor_type import parse_tensor_type, static_size, tensor_bytes

# Ops that move no data of their own: views, constants, the terminator.
_FREE = frozenset(
    (
        "arith.constant",
        "epiq.broadcast",
        "epiq.reshape",
        "epiq.transpose",
        "epiq.yield",
    )
)
_NAME_LOC = re.compile(r'loc\("([^"]+)"')


@dataclass(frozen=True)
class Part:
    """One kernel of the unfused form.

    name: the named operation, or the torch op. row_bytes: bytes read and written for each row.
    fixed_bytes: bytes that do not grow with the rows (a norm's weight).
    """

    name: str
    row_bytes: int
    fixed_bytes: int

    def num_bytes(self, num_rows: int) -> int:
        return num_rows * self.row_bytes + self.fixed_bytes


@dataclass
class _Kernel:
    """The ops of one part while it is collected."""

    name: str
    ops: list[Any] = field(default_factory=list)
    reads: set[Any] = field(default_factory=set)
    writes: set[Any] = field(default_factory=set)


def unfused_parts(op: Any, row_like: Iterable[bool], leading: int) -> tuple[Part, ...]:
    """Returns the parts of a row program's body, in program order.

    Args: row_like: for each input, whether it has the token dimensions. leading: the product of the
    static token dimensions.
    """
    body = op.regions[0].blocks[0]
    rows = {argument for argument, flag in zip(body.arguments, row_like, strict=True) if flag}
    kernels = _collect(body, rows)
    return tuple(_measure(kernel, rows, max(leading, 1)) for kernel in kernels)


def fx_name(op: Any) -> str:
    """The FX node an op belongs to, without the mark of helper ops; "" when it has no name."""
    match = _NAME_LOC.match(str(op.location))
    return match.group(1).removesuffix(".aux") if match else ""


def _collect(body: Any, rows: set[Any]) -> list[_Kernel]:
    """The kernels of a block; adds every value that has the token dimensions to `rows`."""
    kernels: dict[str, _Kernel] = {}
    owner: dict[Any, str] = {}
    storage: dict[Any, Any] = {argument: argument for argument in body.arguments}
    for view in body.operations:
        op = view.operation
        operands, results = list(op.operands), list(op.results)
        if any(operand in rows for operand in operands):
            # A number is shared by all tokens, even where it is made of rows.
            rows.update(result for result in results if parse_tensor_type(str(result.type))[1])
        if op.name in _FREE:
            for result in results:
                storage[result] = storage[operands[0]] if operands else None
            if op.name == "epiq.yield":
                for operand in operands:
                    _write(kernels, owner, storage[operand])
            continue
        if op.name == "epiq.slice":
            # A view as well, but whoever reads it reads only its part of the source.
            _write(kernels, owner, storage[operands[0]])
            storage[results[0]] = results[0]
            continue
        key, name = _identity(op)
        kernel = kernels.setdefault(key, _Kernel(name))
        kernel.ops.append(op)
        for operand in operands:
            source = storage[operand]
            if source is None or owner.get(source) == key:
                continue
            kernel.reads.add(source)
            _write(kernels, owner, source)
        for result in results:
            storage[result] = result
            owner[result] = key
    return list(kernels.values())


def _identity(op: Any) -> tuple[str, str]:
    """A key that the ops of one kernel share, and the kernel's name."""
    name = fx_name(op)
    if op.name == "epiq.composite":
        label = op.attributes["kind"].value
        return f"{label}@{name}", label
    if op.name in ("epiq.relayout", "epiq.contiguous"):
        return f"layout@{name}", "layout"
    return name or op.name, re.sub(r"_\d+$", "", name) or op.name


def _write(kernels: dict[str, _Kernel], owner: dict[Any, str], value: Any) -> None:
    if value is not None and value in owner:
        kernels[owner[value]].writes.add(value)


def _measure(kernel: _Kernel, rows: set[Any], leading: int) -> Part:
    row_bytes = fixed_bytes = 0
    for value in kernel.reads | kernel.writes:
        dtype, shape = parse_tensor_type(str(value.type))
        size = tensor_bytes(dtype, static_size(shape))
        if value in rows:
            row_bytes += size // leading
        else:
            fixed_bytes += size
    return Part(kernel.name, row_bytes, fixed_bytes)
