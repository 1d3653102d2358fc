"""A user's own Triton kernel with two accumulators, gate and up, whose silu_mul leaves quantized.

The kernel stores both products; fused, it stores neither: FP8 values and a scale for 128 of them instead.

python examples/kernels/two_accumulators.py            # runs, in the executor if there is no GPU
python examples/kernels/two_accumulators.py --ir       # the kernel's Triton IR before and after
"""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F
import triton
import triton.language as tl

import epiq


@triton.jit
def gate_up(x_ptr, w_ptr, gate_ptr, up_ptr, M, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    """gate, up = (x @ w).chunk(2, -1) for row-major matrices; knows neither silu nor quantization."""
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    cols = tl.program_id(1) * BN + tl.arange(0, BN)
    gate = tl.zeros((BM, BN), dtype=tl.float32)
    up = tl.zeros((BM, BN), dtype=tl.float32)
    for k in range(0, K, BK):
        ks = k + tl.arange(0, BK)
        x = tl.load(x_ptr + rows[:, None] * K + ks[None, :], mask=rows[:, None] < M, other=0.0)
        w_ptrs = w_ptr + ks[:, None] * (2 * N) + cols[None, :]
        gate = tl.dot(x, tl.load(w_ptrs, mask=cols[None, :] < N, other=0.0), gate)
        up = tl.dot(x, tl.load(w_ptrs + N, mask=cols[None, :] < N, other=0.0), up)
    at = rows[:, None] * N + cols[None, :]
    mask = (rows[:, None] < M) & (cols[None, :] < N)
    tl.store(gate_ptr + at, gate.to(gate_ptr.dtype.element_ty), mask=mask)
    tl.store(up_ptr + at, up.to(up_ptr.dtype.element_ty), mask=mask)


# The lines a user adds: one epilogue of both tiles.
def silu_mul(gate: torch.Tensor, up: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return epiq.quantize(F.silu(gate) * up, epiq.formats.FP8_GROUP128)


fused_gate_up = epiq.fuse(gate_up, output=("gate_ptr", "up_ptr"), epilogue=epiq.Epilogue(silu_mul))


def main() -> None:
    parser = argparse.ArgumentParser(description="silu_mul of two accumulators with a quantized result")
    parser.add_argument("--ir", action="store_true", help="print the Triton IR before and after")
    options = parser.parse_args()
    on_gpu = torch.cuda.is_available()
    blocks = {"BM": 128, "BN": 128, "BK": 64, "num_warps": 8} if on_gpu else {"BM": 32, "BN": 128, "BK": 32}
    m, n, k = (4096, 14336, 4096) if on_gpu else (40, 256, 128)
    device = "cuda" if on_gpu else "cpu"
    torch.manual_seed(0)
    x = torch.randn(m, k, device=device).bfloat16()
    w = (torch.randn(k, 2 * n, device=device) * k**-0.5).bfloat16()
    q = torch.empty(m, n, dtype=torch.float8_e4m3fn, device=device)
    scale = torch.empty(m, n // 128, device=device)

    grid = (triton.cdiv(m, blocks["BM"]), triton.cdiv(n, blocks["BN"]))
    fused_gate_up[grid](x, w, None, None, m, n, k, q=q, scale=scale, **blocks)

    if options.ir:
        print("// Triton IR of the kernel\n" + fused_gate_up.ir("kernel"))
        print("// Triton IR with the epilogue\n" + fused_gate_up.ir("fused"))
    expected_q, expected_scale = silu_mul(*(x @ w).chunk(2, -1))
    same = (q.view(torch.uint8) == expected_q.view(torch.uint8)).float().mean().item()
    close = torch.isclose(scale, expected_scale, rtol=2**-6).all().item()
    print(f"silu_mul of {m} x {n} on {device}: {same:.2%} of the FP8 bytes as torch's, scales agree: {close}")


if __name__ == "__main__":
    main()
