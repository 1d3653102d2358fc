"""The first half of an FP8 MLP in one kernel: gate and up projections, silu_mul, quantization of the result.

python examples/kernels/gate_up.py
"""

from __future__ import annotations

import torch

import epiq
from epiq.formats import FP8_GROUP128
from epiq.kernels import matmul


def main() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokens, hidden, inner = (4096, 4096, 14336) if device == "cuda" else (5, 256, 128)
    torch.manual_seed(0)
    x = torch.randn(tokens, hidden, device=device)
    weight = torch.randn(2 * inner, hidden, device=device)  # rows of the gate, then of up
    x_fp8, x_scale = epiq.quantize(x, FP8_GROUP128)
    w_fp8 = weight.to(torch.float8_e4m3fn)
    w_scale = torch.ones(2 * inner // 128, hidden // 128, device=device)  # one a block of 128 x 128

    q, scale = matmul(
        x_fp8,
        w_fp8.t(),
        a_scale=x_scale,
        b_scale=w_scale.t(),
        gate_up=True,
        epilogue=epiq.Quantize(FP8_GROUP128),
    )

    gate, up = (epiq.dequantize(x_fp8, x_scale, FP8_GROUP128, torch.float32) @ w_fp8.float().t()).chunk(2, -1)
    expected = torch.nn.functional.silu(gate) * up
    error = (epiq.dequantize(q, scale, FP8_GROUP128, torch.float32) - expected).norm() / expected.norm()
    print(f"{tokens} x {inner} values and {scale.numel()} scales in one kernel, off by {float(error):.4f}")
    assert error < 0.04


if __name__ == "__main__":
    main()
