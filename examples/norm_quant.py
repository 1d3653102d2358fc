"""Residual add, RMSNorm and FP8 quantization in plain torch, and the one kernel they become.

epiq explain examples/norm_quant.py:add_norm_quantize
epiq compile examples/norm_quant.py:add_norm_quantize --target sm_90a --out /tmp/kernels
python examples/norm_quant.py
"""

from __future__ import annotations

import torch
from torch import Tensor


def add_norm_quantize(x: Tensor, residual: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The start of a decoder layer with FP8 linears.

    Args: x, residual: (M, K) bf16, K a multiple of 128. weight: (K,) bf16.
    Returns: h: (M, K) bf16, the new residual. q: (M, K) float8_e4m3fn. scale: (M, K // 128) f32, one
    for 128 values, column-major.
    """
    h = x + residual
    wide = h.float()
    variance = wide.pow(2).mean(dim=-1, keepdim=True)
    normed = weight * (wide * torch.rsqrt(variance + 1e-5)).to(torch.bfloat16)
    groups = normed.float().unflatten(-1, (-1, 128))
    scale = (groups.abs().amax(dim=-1, keepdim=True) / 448.0).clamp(min=1.0 / (448.0 * 512.0))
    q = (groups / scale).clamp(-448.0, 448.0).to(torch.float8_e4m3fn).flatten(-2)
    return h, q, scale.squeeze(-1).t().clone(memory_format=torch.contiguous_format).t()


def inputs(num_tokens: int = 16, hidden_size: int = 4096) -> tuple[Tensor, Tensor, Tensor]:
    """What `epiq explain` and `epiq compile` trace the function with."""
    x, residual = torch.randn(2, num_tokens, hidden_size).to(torch.bfloat16)
    return x, residual, (1.0 + 0.1 * torch.randn(hidden_size)).to(torch.bfloat16)


def main() -> None:
    torch.manual_seed(0)
    args = inputs()
    h, q, scale = torch.compile(add_norm_quantize, backend="epiq")(*args)
    h0, q0, scale0 = add_norm_quantize(*args)
    off = (q.view(torch.uint8) != q0.view(torch.uint8)).float().mean().item()
    print(f"h equal: {torch.equal(h, h0)}; FP8 bytes that differ: {off:.3%}")
    print(f"scales: worst relative difference {((scale - scale0).abs() / scale0).max().item():.1e}")


if __name__ == "__main__":
    main()
