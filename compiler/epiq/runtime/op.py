"""`torch.ops.epiq.row_program(key, inputs)` and `.produced`: what groups are in the graph that Inductor gets.

Importing this module registers the ops. They allocate their outputs, launch on the current stream
and, but for the first calls of `produced`, which measure, wait for nothing: CUDA graphs can capture them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from epiq.runtime.registry import lookup

_TAGS = (torch.Tag.needs_fixed_stride_order, torch.Tag.pt2_compliant_tag)

_library: Any = torch.library.Library("epiq", "DEF")  # type: ignore[no-untyped-call]


def _run(key: str, inputs: list[Tensor]) -> list[Tensor]:
    return lookup(key)(inputs)


def _fake(key: str, inputs: list[Tensor]) -> list[Tensor]:
    return lookup(key).fake(inputs)


# Profilers show the names: a row program, and a product or attention with the row program that reads it.
for _name in ("row_program", "produced"):
    _library.define(f"{_name}(str key, Tensor[] inputs) -> Tensor[]", tags=_TAGS)
    _library.impl(_name, _run, "CPU")
    _library.impl(_name, _run, "CUDA")
    torch.library.register_fake(f"epiq::{_name}", _fake, lib=_library)

row_program = torch.ops.epiq.row_program.default
produced = torch.ops.epiq.produced.default
