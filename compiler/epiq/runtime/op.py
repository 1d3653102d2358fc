"""`torch.ops.epiq.row_program(key, inputs)`: what fused groups are in the graph that Inductor gets.

Importing this module registers the op. It allocates its outputs, launches on the current stream
and waits for nothing, so CUDA graphs can capture it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from epiq.runtime.registry import lookup

_SCHEMA = "row_program(str key, Tensor[] inputs) -> Tensor[]"
_TAGS = (torch.Tag.needs_fixed_stride_order, torch.Tag.pt2_compliant_tag)

_library: Any = torch.library.Library("epiq", "DEF")  # type: ignore[no-untyped-call]
_library.define(_SCHEMA, tags=_TAGS)


def _run(key: str, inputs: list[Tensor]) -> list[Tensor]:
    return lookup(key)(inputs)


def _fake(key: str, inputs: list[Tensor]) -> list[Tensor]:
    return lookup(key).fake(inputs)


_library.impl("row_program", _run, "CPU")
_library.impl("row_program", _run, "CUDA")
torch.library.register_fake("epiq::row_program", _fake, lib=_library)

row_program = torch.ops.epiq.row_program.default
