"""What quantized values come from: functions as models and servers write them, and inputs for them.

Each takes tensors of rows and returns the values to quantize, rounded to the dtype of its inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-6


def nothing(x: Tensor) -> Tensor:
    return x


def rms_norm(x: Tensor, w: Tensor) -> Tensor:
    """Llama's: normalized in f32, rounded, then times the weight."""
    wide = x.float()
    return w * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + EPS)).to(x.dtype)


def add_rms_norm(x: Tensor, r: Tensor, w: Tensor) -> Tensor:
    return F.rms_norm(x + r, (x.shape[-1],), w, EPS)


def gemma_norm(x: Tensor, w: Tensor) -> Tensor:
    wide = x.float()
    wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + EPS)
    return (wide * (1.0 + w.float())).to(x.dtype)


def layer_norm(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return F.layer_norm(x, (x.shape[-1],), w, b, EPS)


def silu_mul(gate_up: Tensor) -> Tensor:
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate) * up


def gelu_mul(gate: Tensor, up: Tensor) -> Tensor:
    return F.gelu(gate, approximate="tanh") * up


def clamped_swiglu(gate_up: Tensor) -> Tensor:
    """GPT-OSS's: gate and up alternate, both are clamped."""
    gate, up = gate_up[..., ::2].clamp(max=7.0), gate_up[..., 1::2].clamp(-7.0, 7.0)
    return (up + 1) * (gate * torch.sigmoid(1.702 * gate))


def relu2(x: Tensor) -> Tensor:
    return F.relu(x).square()


def dequantized(q: Tensor, scale: Tensor) -> Tensor:
    """FP8 with a scale for 64 values, to be quantized again."""
    values = q.float().unflatten(-1, (-1, 64)) * scale.unsqueeze(-1)
    return values.flatten(-2).to(torch.bfloat16)


@dataclass(frozen=True)
class Producer:
    """A function, and the kinds of its inputs, a letter each.

    r: rows. W: rows of twice the width. w: a weight. b: a vector near 0. q: FP8 rows. s: their scales, one
    for 64 values.
    """

    fn: Callable[..., Tensor]
    kinds: str

    def inputs(self, tokens: int, k: int, dtype: torch.dtype, device: str) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(tokens * k)

        def make(kind: str) -> Tensor:
            shape = {"w": (k,), "b": (k,), "W": (tokens, 2 * k), "s": (tokens, k // 64)}.get(
                kind, (tokens, k)
            )
            values = torch.randn(shape, generator=generator)
            if kind == "w":
                return (1.0 + 0.1 * values).to(dtype)
            if kind == "b":
                return (0.1 * values).to(dtype)
            if kind == "q":
                return values.to(torch.float8_e4m3fn)
            if kind == "s":
                return values.abs() + 0.01
            # Rows of very different sizes: scales differ, and some hit a format's floor.
            sizes = torch.logspace(-6, 2, tokens).unsqueeze(-1)
            return (values * sizes).to(dtype)

        return tuple(make(kind).to(device) for kind in self.kinds)


PRODUCERS = {
    "nothing": Producer(nothing, "r"),
    "rms_norm": Producer(rms_norm, "rw"),
    "add_rms_norm": Producer(add_rms_norm, "rrw"),
    "gemma_norm": Producer(gemma_norm, "rw"),
    "layer_norm": Producer(layer_norm, "rwb"),
    "silu_mul": Producer(silu_mul, "W"),
    "gelu_mul": Producer(gelu_mul, "rr"),
    "clamped_swiglu": Producer(clamped_swiglu, "W"),
    "relu2": Producer(relu2, "r"),
    "dequantized": Producer(dequantized, "qs"),
}
