"""The functions that the benchmark times, as a user writes them: nothing but torch, no import of epiq.

Each ends in an FP8 quantization that servers fuse by hand. Shapes: x, r (T, H); w (H,); gate_up (T, 2 * I).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

E4M3 = torch.float8_e4m3fn
E4M3_MAX = 448.0
SCALE_FLOOR = 1.0 / (448.0 * 512.0)
EPS = 1e-5


def rms_norm(x: Tensor, w: Tensor) -> Tensor:
    """Llama's: normalized in f32, rounded, then times the weight."""
    wide = x.float()
    variance = wide.pow(2).mean(-1, keepdim=True)
    return w * (wide * torch.rsqrt(variance + EPS)).to(x.dtype)


def group_quant(y: Tensor, group_size: int = 128) -> tuple[Tensor, Tensor]:
    """One scale for `group_size` values; scales (T, K // group_size) row-major."""
    groups = y.float().view(y.shape[0], y.shape[1] // group_size, group_size)
    scale = (groups.abs().amax(-1, keepdim=True) / E4M3_MAX).clamp(min=SCALE_FLOOR)
    q = (groups / scale).clamp(-E4M3_MAX, E4M3_MAX).to(E4M3).view(y.shape)
    return q, scale.squeeze(-1)


def add_rms_norm_group(x: Tensor, r: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    h = x + r
    q, scale = group_quant(rms_norm(h, w))
    return h, q, scale


def add_rms_norm_group64(x: Tensor, r: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    h = x + r
    q, scale = group_quant(rms_norm(h, w), 64)
    return h, q, scale


def add_rms_norm_group_columns(x: Tensor, r: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    h = x + r
    q, scale = group_quant(rms_norm(h, w))
    return h, q, scale.t().contiguous().t()


def add_rms_norm_static(x: Tensor, r: Tensor, w: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
    h = x + r
    y = rms_norm(h, w).float() * scale.reciprocal()
    return h, y.clamp(-E4M3_MAX, E4M3_MAX).to(E4M3)


def add_rms_norm_token(x: Tensor, r: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    h = x + r
    y = rms_norm(h, w).float()
    scale = (y.abs().amax(-1, keepdim=True) / E4M3_MAX).clamp(min=SCALE_FLOOR)
    return h, (y / scale).clamp(-E4M3_MAX, E4M3_MAX).to(E4M3), scale


def silu_mul_group(gate_up: Tensor) -> tuple[Tensor, ...]:
    gate, up = gate_up.chunk(2, dim=-1)
    return group_quant(F.silu(gate) * up)


def silu_mul_group_columns(gate_up: Tensor) -> tuple[Tensor, ...]:
    q, scale = silu_mul_group(gate_up)
    return q, scale.t().contiguous().t()


def norm_inputs(tokens: int, width: int, device: str, seed: int) -> tuple[Tensor, ...]:
    """x, r and w of (T, H), random."""
    generator = torch.Generator(device).manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=device).bfloat16()

    return random(tokens, width), random(tokens, width), 1.0 + 0.1 * random(width)


def static_inputs(tokens: int, width: int, device: str, seed: int) -> tuple[Tensor, ...]:
    """Those of the norm, and the static scale."""
    return *norm_inputs(tokens, width, device, seed), torch.full((), 0.01, device=device)


def gate_up_inputs(tokens: int, width: int, device: str, seed: int) -> tuple[Tensor, ...]:
    """gate_up of (T, 2 * I), random."""
    generator = torch.Generator(device).manual_seed(seed)
    return (torch.randn(tokens, 2 * width, generator=generator, device=device).bfloat16(),)


@dataclass(frozen=True)
class Program:
    """A function, what makes its inputs from (tokens, width, device, seed), and the widths to time it at."""

    fn: Callable[..., tuple[Tensor, ...]]
    inputs: Callable[[int, int, str, int], tuple[Tensor, ...]]
    widths: tuple[int, ...]


# Hidden and intermediate sizes of Llama, Qwen, GPT-OSS (2880: not a multiple of 128) and DeepSeek models.
NORM_WIDTHS = (4096, 7168, 5120, 8192, 2048, 2560)
ODD_WIDTH = 2880
MLP_WIDTHS = (14336, 6144, 18432, 2816)
PROGRAMS = {
    "add_rms_norm_group": Program(add_rms_norm_group, norm_inputs, NORM_WIDTHS),
    "silu_mul_group": Program(silu_mul_group, gate_up_inputs, MLP_WIDTHS),
    "add_rms_norm_static": Program(add_rms_norm_static, static_inputs, (*NORM_WIDTHS, ODD_WIDTH)),
    "add_rms_norm_token": Program(add_rms_norm_token, norm_inputs, (*NORM_WIDTHS, ODD_WIDTH)),
    "add_rms_norm_group64": Program(add_rms_norm_group64, norm_inputs, (ODD_WIDTH,)),
    "add_rms_norm_group_columns": Program(add_rms_norm_group_columns, norm_inputs, NORM_WIDTHS[:2]),
    "silu_mul_group_columns": Program(silu_mul_group_columns, gate_up_inputs, MLP_WIDTHS[:1]),
}
