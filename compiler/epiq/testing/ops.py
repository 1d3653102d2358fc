"""Custom ops that recipes call, as a server would define them, and `plain`: the functions they stand for."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from epiq.frontend.unwrap import find_unwrap, register_unwrap

_E4M3 = torch.float8_e4m3fn
_SCHEMAS = {
    "norm": "norm(Tensor x, Tensor weight, float eps) -> Tensor",
    "add_norm": "add_norm(Tensor x, Tensor residual, Tensor weight, float eps) -> (Tensor, Tensor)",
    "silu_and_mul": "silu_and_mul(Tensor x) -> Tensor",
    "group_quantize": "group_quantize(Tensor x, int group_size) -> (Tensor, Tensor)",
}


def _norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return F.rms_norm(x, (x.shape[-1],), weight, eps)


def _add_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    total = x + residual
    return F.rms_norm(total, (x.shape[-1],), weight, eps), total


def _silu_and_mul(x: Tensor) -> Tensor:
    gate, up = x.chunk(2, -1)
    return F.silu(gate) * up


def _group_quantize(x: Tensor, group_size: int) -> tuple[Tensor, Tensor]:
    groups = torch.unflatten(x.float(), -1, (-1, group_size))
    scale = groups.abs().amax(-1, keepdim=True).clamp(min=1e-10) / 448.0
    return (groups / scale).clamp(-448.0, 448.0).to(_E4M3).flatten(-2), scale.squeeze(-1)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "norm": _norm,
    "add_norm": _add_norm,
    "silu_and_mul": _silu_and_mul,
    "group_quantize": _group_quantize,
}
plain = SimpleNamespace(**_FUNCTIONS)

_library: Any = torch.library.Library("epiq_fuzz", "DEF")  # type: ignore[no-untyped-call]
for _name, _schema in _SCHEMAS.items():
    _library.define(_schema)
    _library.impl(_name, _FUNCTIONS[_name], "CompositeExplicitAutograd")
    torch.library.register_fake(f"epiq_fuzz::{_name}", _FUNCTIONS[_name], lib=_library)


def register() -> None:
    """Tells the compiler what the ops compute."""
    for name, function in _FUNCTIONS.items():
        op = getattr(torch.ops.epiq_fuzz, name).default
        if find_unwrap(op) is None:
            register_unwrap(op, function)


def __getattr__(name: str) -> Any:
    if name not in _FUNCTIONS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(torch.ops.epiq_fuzz, name)
