"""A user's attention kernel that quantizes Q inside, and what it becomes when RoPE's kernel does that.

before: rope -> Q in bf16 -> attention, which quantizes its tile of Q in each program
after:  rope with the quantization as its epilogue -> Q in FP8, a scale for each row -> attention without it

python examples/kernels/pulled_attention.py            # runs, in the executor if there is no GPU
python examples/kernels/pulled_attention.py --ir       # attention before and after, and what was taken out
python examples/kernels/pulled_attention.py --ptx sm_100a
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
import triton
import triton.language as tl

import epiq


@triton.jit
def rope(x_ptr, cos_ptr, sin_ptr, out_ptr, M, D: tl.constexpr, BM: tl.constexpr):
    """Rotates pairs of columns half a row apart; a row is a token of one head."""
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    cols = tl.arange(0, D)
    head = tl.program_id(1) * M
    inside = rows[:, None] < M
    place = (head + rows)[:, None] * D
    angle = rows[:, None] * D + cols[None, :]
    x = tl.load(x_ptr + place + cols[None, :], mask=inside, other=0.0).to(tl.float32)
    partner = tl.load(x_ptr + place + ((cols + D // 2) % D)[None, :], mask=inside, other=0.0).to(tl.float32)
    cos = tl.load(cos_ptr + angle, mask=inside, other=0.0)
    sin = tl.load(sin_ptr + angle, mask=inside, other=0.0)
    y = x * cos + tl.where(cols[None, :] < D // 2, -partner, partner) * sin
    tl.store(out_ptr + place + cols[None, :], y.to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit
def attention(q_ptr, k_ptr, v_ptr, o_ptr, sm_scale, M, D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr):
    """K and V in FP8; Q in bf16, with an FP8 scale for each row that is computed here."""
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    cols = tl.arange(0, D)
    head = tl.program_id(1) * M * D
    q_ptrs = q_ptr + head + rows[:, None] * D + cols[None, :]
    q = tl.load(q_ptrs, mask=rows[:, None] < M, other=0.0).to(tl.float32)
    q_scale = tl.maximum(tl.max(tl.abs(q), 1) / 448.0, 1e-8)
    q8 = (q / q_scale[:, None]).to(tl.float8e4nv)
    acc = tl.zeros((BM, D), dtype=tl.float32)
    total = tl.zeros((BM,), dtype=tl.float32)
    top = tl.full((BM,), -1e30, dtype=tl.float32)
    for n in range(0, M, BN):
        keys = n + tl.arange(0, BN)
        k = tl.load(k_ptr + head + keys[None, :] * D + cols[:, None], mask=keys[None, :] < M, other=0.0)
        v = tl.load(v_ptr + head + keys[:, None] * D + cols[None, :], mask=keys[:, None] < M, other=0.0)
        s = tl.dot(q8, k) * q_scale[:, None] * (sm_scale * 1.4426950408889634)
        s = tl.where(keys[None, :] < M, s, -1e30)
        new_top = tl.maximum(top, tl.max(s, 1))
        p = tl.exp2(s - new_top[:, None])
        decay = tl.exp2(top - new_top)
        total = total * decay + tl.sum(p, 1)
        acc = acc * decay[:, None] + tl.dot(p.to(tl.float8e4nv), v)
        top = new_top
    out = o_ptr + head + rows[:, None] * D + cols[None, :]
    tl.store(out, (acc / total[:, None]).to(o_ptr.dtype.element_ty), mask=rows[:, None] < M)


# The line a user adds for attention; see after() for RoPE's.
pulled_attention = epiq.pull_quant(attention, operand="q_ptr")


def unchanged(kernel: Any, operand: str, is_on_gpu: bool) -> Any:
    """The kernel as it is. On a CPU a fused copy, whose epilogue does nothing, runs in the executor."""
    if is_on_gpu:
        return kernel
    copy = epiq.fuse(kernel, output=operand, epilogue=epiq.Epilogue(lambda y: y * 1, outputs=("copied",)))

    def at(grid: Any) -> Any:
        def run(*args: Any, **kwargs: Any) -> None:
            position = copy.kernel.names.index(operand)
            given = [*args[:position], None, *args[position + 1 :]]
            copy[grid](*given, copied=args[position].flatten(0, -2), **kwargs)

        return run

    return at


def before(x: Any, cos: Any, sin: Any, k: Any, v: Any, sm_scale: float, blocks: dict[str, int]) -> Any:
    """RoPE and attention as they are."""
    heads, m, d = x.shape
    q, out = torch.empty_like(x), torch.empty_like(x)
    grid = (triton.cdiv(m, blocks["BM"]), heads)
    on_gpu = x.is_cuda
    run_rope = rope[grid] if on_gpu else unchanged(rope, "out_ptr", on_gpu)(grid)
    run_attention = attention[grid] if on_gpu else unchanged(attention, "o_ptr", on_gpu)(grid)
    run_rope(x, cos, sin, q, m, D=d, BM=blocks["BM"])
    run_attention(q, k, v, out, sm_scale, m, D=d, **blocks)
    return out


def after(x: Any, cos: Any, sin: Any, k: Any, v: Any, sm_scale: float, blocks: dict[str, int]) -> Any:
    """The same, Q quantized where RoPE makes it."""
    heads, m, d = x.shape
    grid = (triton.cdiv(m, blocks["BM"]), heads)
    out = torch.empty_like(x)
    # What is taken out depends on the kernel's constants, as its tile.
    quantizer = pulled_attention.specialize(x, k, v, out, sm_scale, m, D=d, **blocks).quantizer
    rope_quantize = epiq.fuse(rope, output="out_ptr", epilogue=quantizer)
    q = torch.empty(heads, m, d, dtype=torch.float8_e4m3fn, device=x.device)
    q_scale = torch.empty(heads, m, 1, dtype=torch.float32, device=x.device)
    rope_quantize[grid](x, cos, sin, None, m, D=d, BM=blocks["BM"], q=q, q_scale=q_scale)
    pulled_attention[grid](q, k, v, out, sm_scale, m, D=d, **blocks, q_scale=q_scale)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description="attention without the quantization of Q")
    parser.add_argument("--ir", action="store_true", help="print what the kernel is before and after")
    parser.add_argument("--ptx", metavar="TARGET", help="print the PTX of attention for sm_90a or sm_100a")
    options = parser.parse_args()
    on_gpu = torch.cuda.is_available()
    device = "cuda" if on_gpu else "cpu"
    heads, m, d = (16, 2048, 128) if on_gpu else (2, 80, 64)
    blocks = {"BM": 128, "BN": 64, "num_warps": 8} if on_gpu else {"BM": 32, "BN": 32}
    torch.manual_seed(0)
    x = torch.randn(heads, m, d, device=device).bfloat16()
    k, v = torch.randn(2, heads, m, d, device=device).to(torch.float8_e4m3fn)
    angle = torch.arange(m, device=device)[:, None] * 1e4 ** (
        -(torch.arange(d, device=device) % (d // 2)) / d
    )
    args = (x, angle.cos(), angle.sin(), k, v, d**-0.5, blocks)
    expected, got = before(*args), after(*args)
    if options.ir:
        print("// Triton IR of attention\n" + pulled_attention.ir("kernel"))
        print("# What was taken out, as torch code\n" + pulled_attention.quantizer.source)
        print("// Triton IR of attention without it\n" + pulled_attention.ir("pulled"))
    if options.ptx:
        print(pulled_attention.ptx(options.ptx))
    same = torch.equal(got.view(torch.int16), expected.view(torch.int16))
    print(f"attention of {heads} x {m} x {d} on {device}, Q quantized by RoPE's kernel: same bits: {same}")


if __name__ == "__main__":
    main()
