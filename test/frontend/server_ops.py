"""Custom ops as a server defines them, computed by plain torch, and the functions that stand for them."""

from __future__ import annotations

import torch
from torch import Tensor

E4M3 = torch.float8_e4m3fn

SCHEMAS = {
    "rms_norm": "(Tensor! result, Tensor input, Tensor weight, float epsilon) -> ()",
    "fused_add_rms_norm": "(Tensor! input, Tensor! residual, Tensor weight, float epsilon) -> ()",
    "silu_and_mul": "(Tensor! result, Tensor input) -> ()",
    "static_scaled_fp8_quant": "(Tensor! result, Tensor input, Tensor scale) -> ()",
    "dynamic_per_token_scaled_fp8_quant": (
        "(Tensor! result, Tensor input, Tensor! scale, Tensor? scale_ub) -> ()"
    ),
    "per_token_group_fp8_quant": (
        "(Tensor input, Tensor! output_q, Tensor! output_s, int group_size, float eps) -> ()"
    ),
    "group_quant": "(Tensor input, int group_size=128) -> (Tensor, Tensor)",
    "scaled": "(Tensor input, *, float factor) -> Tensor",
}


def rms_norm(result: Tensor, input: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    return torch.rms_norm(input, weight.shape, weight, epsilon)


def fused_add_rms_norm(
    input: Tensor, residual: Tensor, weight: Tensor, epsilon: float
) -> tuple[Tensor, Tensor]:
    residual = input + residual
    return torch.rms_norm(residual, weight.shape, weight, epsilon), residual


def silu_and_mul(result: Tensor, input: Tensor) -> Tensor:
    gate, up = input.chunk(2, -1)
    return torch.nn.functional.silu(gate) * up


def static_scaled_fp8_quant(result: Tensor, input: Tensor, scale: Tensor) -> Tensor:
    return (input.float() * scale.reciprocal()).clamp(-448.0, 448.0).to(E4M3)


def dynamic_per_token_scaled_fp8_quant(
    result: Tensor, input: Tensor, scale: Tensor, scale_ub: Tensor | None
) -> tuple[Tensor, Tensor]:
    wide = input.float()
    amax = wide.abs().amax(-1, keepdim=True)
    if scale_ub is not None:
        amax = torch.minimum(amax, scale_ub)
    scale = (amax / 448.0).clamp(min=1 / (448.0 * 512.0))
    return (wide / scale).clamp(-448.0, 448.0).to(E4M3), scale


def per_token_group_fp8_quant(
    input: Tensor, output_q: Tensor, output_s: Tensor, group_size: int, eps: float
) -> tuple[Tensor, Tensor]:
    groups = input.float().unflatten(-1, (-1, group_size))
    scale = groups.abs().amax(-1, keepdim=True).clamp(min=eps) / 448.0
    return (groups / scale).clamp(-448.0, 448.0).to(E4M3).flatten(-2), scale.squeeze(-1)


def group_quant(input: Tensor, group_size: int = 128) -> tuple[Tensor, Tensor]:
    groups = input.float().unflatten(-1, (-1, group_size))
    scale = groups.abs().amax(-1, keepdim=True).clamp(min=1e-10) / 448.0
    return (groups / scale).to(E4M3).flatten(-2), scale.squeeze(-1)


def scaled(input: Tensor, *, factor: float) -> Tensor:
    return input * factor


FUNCTIONS = {fn.__name__: fn for fn in (
    rms_norm, fused_add_rms_norm, silu_and_mul, static_scaled_fp8_quant,
    dynamic_per_token_scaled_fp8_quant, per_token_group_fp8_quant, group_quant, scaled,
)}  # fmt: skip


def _kernel(name: str):
    """Runs the function and writes what the schema says is written."""

    def run(*args, **kwargs):
        found = FUNCTIONS[name](*args, **kwargs)
        results = list(found) if isinstance(found, tuple) else [found]
        schema = getattr(torch.ops.server, name).default._schema
        written = [i for i, argument in enumerate(schema.arguments) if argument.is_write]
        if not written:
            return found
        for index, value in zip(written, results, strict=True):
            args[index].copy_(value)
        return None

    return run


_library = torch.library.Library("server", "DEF")
for _name, _schema in SCHEMAS.items():
    _library.define(_name + _schema)
    _library.impl(_name, _kernel(_name), "CPU")
    torch.library.register_fake(f"server::{_name}", _kernel(_name), lib=_library)

OPS = {name: getattr(torch.ops.server, name).default for name in SCHEMAS}
