"""A user's own Triton GEMM whose output leaves quantized: FP8 values and a scale for 128 of them.

python examples/kernels/quantized_matmul.py            # runs, in the executor if there is no GPU
python examples/kernels/quantized_matmul.py --ir       # the kernel's Triton IR before and after
python examples/kernels/quantized_matmul.py --ptx sm_100a
"""

from __future__ import annotations

import argparse

import torch
import triton
import triton.language as tl

import epiq


@triton.jit
def matmul(a_ptr, b_ptr, c_ptr, M, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    """c = a @ b for row-major matrices; knows nothing of quantization."""
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    cols = tl.program_id(1) * BN + tl.arange(0, BN)
    acc = tl.zeros((BM, BN), dtype=tl.float32)
    for k in range(0, K, BK):
        ks = k + tl.arange(0, BK)
        a = tl.load(a_ptr + rows[:, None] * K + ks[None, :], mask=rows[:, None] < M, other=0.0)
        b = tl.load(b_ptr + ks[:, None] * N + cols[None, :], mask=cols[None, :] < N, other=0.0)
        acc = tl.dot(a, b, acc)
    mask = (rows[:, None] < M) & (cols[None, :] < N)
    tl.store(c_ptr + rows[:, None] * N + cols[None, :], acc.to(c_ptr.dtype.element_ty), mask=mask)


# The lines a user adds: the output is not stored, so None is passed for it.
quantized_matmul = epiq.fuse(matmul, output="c_ptr", epilogue=epiq.Quantize(epiq.formats.FP8_GROUP128))


def matmul_fp8(a: torch.Tensor, b: torch.Tensor, blocks: dict[str, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """q, scale with a @ b ≈ q * scale, a scale for each 128 columns."""
    (m, k), n = a.shape, b.shape[1]
    q = torch.empty(m, n, dtype=torch.float8_e4m3fn, device=a.device)
    scale = torch.empty(m, n // 128, dtype=torch.float32, device=a.device)
    grid = (triton.cdiv(m, blocks["BM"]), triton.cdiv(n, blocks["BN"]))
    quantized_matmul[grid](a, b, None, m, n, k, q=q, scale=scale, **blocks)
    return q, scale


def main() -> None:
    parser = argparse.ArgumentParser(description="a GEMM with a quantized output")
    parser.add_argument("--ir", action="store_true", help="print the Triton IR before and after")
    parser.add_argument("--ptx", metavar="TARGET", help="print the PTX for sm_90a or sm_100a")
    options = parser.parse_args()
    on_gpu = torch.cuda.is_available()
    blocks = {"BM": 128, "BN": 128, "BK": 64, "num_warps": 8} if on_gpu else {"BM": 32, "BN": 128, "BK": 32}
    size = 1024 if on_gpu else 256
    device = "cuda" if on_gpu else "cpu"
    torch.manual_seed(0)
    a, b = (torch.randn(size, size, device=device).bfloat16() for _ in range(2))
    q, scale = matmul_fp8(a, b, blocks)
    expected_q, expected_scale = epiq.quantize(a @ b, epiq.formats.FP8_GROUP128)
    if options.ir:
        print("// Triton IR of the kernel\n" + quantized_matmul.ir("kernel"))
        print("// The epilogue, graph-level IR\n" + quantized_matmul.ir("epilogue"))
        print("// Triton IR of both\n" + quantized_matmul.ir("fused"))
    if options.ptx:
        print(quantized_matmul.ptx(options.ptx))
    same = (q.view(torch.uint8) == expected_q.view(torch.uint8)).float().mean().item()
    close = torch.isclose(scale, expected_scale, rtol=2**-7).all().item()
    print(
        f"a @ b of {size} x {size} on {device}: {same:.2%} of the FP8 bytes as torch's, scales agree: {close}"
    )


if __name__ == "__main__":
    main()
