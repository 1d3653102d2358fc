"""`torch.ops.epiq.row_program(key, inputs)` and `.produced`: what groups are in the graph that Inductor gets.

Importing this module registers the ops. They allocate their outputs, launch on the current stream
and, but for the first calls of `produced`, which measure, wait for nothing: CUDA graphs can capture them.
A group that stores rows by index, in a cache of keys and values, is `epiq.row_program_update_N`, for N new
tensors, which writes its buffers in place.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from epiq.runtime.registry import lookup

if TYPE_CHECKING:
    from epiq.runtime.kernel import Kernel

# `inputs` are the others. What functionalization takes has single tensors as results: one op for each number.
_UPDATE_SCHEMA = "row_program_update_{}(str key, Tensor[] inputs, Tensor(a!)[] buffers) -> ({})"
_TAGS = (torch.Tag.needs_fixed_stride_order, torch.Tag.pt2_compliant_tag)

_library: Any = torch.library.Library("epiq", "DEF")  # type: ignore[no-untyped-call]


def _run(key: str, inputs: list[Tensor]) -> list[Tensor]:
    return lookup(key)(inputs)


def _fake(key: str, inputs: list[Tensor]) -> list[Tensor]:
    return lookup(key).fake(inputs)


def _define(schema: str, run: Any, fake: Any) -> Any:
    name = schema.partition("(")[0]
    _library.define(schema, tags=_TAGS)
    _library.impl(name, run, "CPU")
    _library.impl(name, run, "CUDA")
    torch.library.register_fake(f"epiq::{name}", fake, lib=_library)
    return getattr(torch.ops.epiq, name).default


# Profilers show the names: a row program, and a product or attention with the row program that reads it.
row_program = _define("row_program(str key, Tensor[] inputs) -> Tensor[]", _run, _fake)
produced = _define("produced(str key, Tensor[] inputs) -> Tensor[]", _run, _fake)


def _updating(key: str) -> Kernel:
    from epiq.runtime.kernel import Kernel

    kernel = lookup(key)
    assert isinstance(kernel, Kernel), "a program that stores rows by index is joined with nothing"
    return kernel


@cache
def row_program_update(results: int) -> Any:
    """The op of programs with so many new tensors: `(key, inputs, buffers)` -> these."""

    def unpacked(found: list[Tensor]) -> Any:
        return found[0] if results == 1 else tuple(found) if found else None

    def run(key: str, inputs: list[Tensor], buffers: list[Tensor]) -> Any:
        kernel = _updating(key)
        return unpacked(kernel(kernel.merge(inputs, buffers)))

    def fake(key: str, inputs: list[Tensor], buffers: list[Tensor]) -> Any:
        kernel = _updating(key)
        return unpacked(kernel.fake(kernel.merge(inputs, buffers)))

    return _define(_UPDATE_SCHEMA.format(results, ", ".join(["Tensor"] * results)), run, fake)
