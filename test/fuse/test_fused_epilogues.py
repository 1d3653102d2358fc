"""Epilogues that are torch functions: against the same function on the unfused kernel's output."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import triton
import triton.language as tl
import user_kernels as kernels
from test_fused_kernels import TILE, K, M, N, cdiv, operands, results
from torch import Tensor
from unfused import run_kernel, same_bits

import epiq
from epiq.formats import FP8_GROUP128, FP8_STATIC, quantize

ARGS = (M, N, K, K, 1, N, 1, N, 1)
GRID = (cdiv(M, 32) * cdiv(N, 128),)


def fused_and_expected(
    fn: Callable[..., Tensor], inputs: dict[str, Tensor], width: int = N, dtype: torch.dtype = torch.bfloat16
) -> tuple[Tensor, Tensor]:
    """`fn` of the GEMM's output, fused into the GEMM and apart from it."""
    a, b, c = operands()
    run_kernel(kernels.matmul_grouped, GRID, a, b, c, *ARGS, GROUP_M=2, **TILE)
    fused = epiq.fuse(kernels.matmul_grouped, output="c_ptr", epilogue=epiq.Epilogue(fn, outputs=("out",)))
    out = torch.zeros(M, width, dtype=dtype)
    fused[GRID](a, b, None, *ARGS, GROUP_M=2, out=out, **inputs, **TILE)
    return out, fn(c, *inputs.values())


def bias_and_relu(y: Tensor, bias: Tensor) -> Tensor:
    return F.relu(y + bias)


def add_residual(y: Tensor, residual: Tensor) -> Tensor:
    return y + residual


def dequantize_rows_and_columns(y: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return (y.float() * rows * columns).bfloat16()


def scale_by_one_value(y: Tensor, alpha: Tensor) -> Tensor:
    return y * alpha


torch.manual_seed(1)


@pytest.mark.parametrize(
    ("fn", "inputs"),
    [
        (bias_and_relu, {"bias": torch.randn(N).bfloat16()}),
        (add_residual, {"residual": torch.randn(M, N).bfloat16()}),
        (add_residual, {"residual": torch.randn(M, 2 * N).bfloat16()[:, :N]}),
        (dequantize_rows_and_columns, {"rows": torch.rand(M, 1), "columns": torch.rand(N)}),
        (scale_by_one_value, {"alpha": torch.tensor(0.37).bfloat16()}),
    ],
    ids=["bias", "residual", "strided residual", "vectors", "scalar"],
)
def test_inputs(fn, inputs):
    out, expected = fused_and_expected(fn, inputs)
    assert same_bits(out, expected)


def test_a_chain_that_ends_in_a_quantization():
    bias = torch.randn(N).bfloat16()
    residual = torch.randn(M, N).bfloat16()

    def fn(y, bias, residual):
        return quantize(F.relu(y + bias) + residual, FP8_GROUP128)

    a, b, c = operands()
    run_kernel(kernels.matmul_grouped, GRID, a, b, c, *ARGS, GROUP_M=2, **TILE)
    fused = epiq.fuse(kernels.matmul_grouped, output="c_ptr", epilogue=epiq.Epilogue(fn))
    q, scale = results(M, N, FP8_GROUP128)
    fused[GRID](a, b, None, *ARGS, GROUP_M=2, q=q, scale=scale, bias=bias, residual=residual, **TILE)
    expected_q, expected_scale = fn(c, bias, residual)
    assert same_bits(q, expected_q)
    assert same_bits(scale, expected_scale)


@pytest.mark.parametrize("given", ["number", "tensor"])
def test_static_scale(given):
    a, b, c = operands()
    run_kernel(kernels.matmul_grouped, GRID, a, b, c, *ARGS, GROUP_M=2, **TILE)
    scale = torch.tensor(0.05)
    q, _ = results(M, N, FP8_GROUP128)
    if given == "number":
        fused = epiq.fuse(kernels.matmul_grouped, "c_ptr", epiq.Quantize(FP8_STATIC, scale=scale.item()))
        fused[GRID](a, b, None, *ARGS, GROUP_M=2, q=q, **TILE)
    else:
        fused = epiq.fuse(kernels.matmul_grouped, "c_ptr", epiq.Quantize(FP8_STATIC))
        fused[GRID](a, b, None, *ARGS, GROUP_M=2, q=q, scale=scale, **TILE)
    assert same_bits(q, quantize(c, FP8_STATIC, scale)[0])


@pytest.mark.parametrize("run", [64, 1], ids=["blocks", "pairs"])
def test_gate_and_up_in_one_tile(run):
    """Gate and up alternate along the columns, in blocks of 64 or one by one: halves of each tile."""

    def silu_mul(y):
        pairs = y.unflatten(-1, (-1, 2, run))
        return (F.relu(pairs[:, :, 0]) * pairs[:, :, 1]).flatten(-2)

    out, expected = fused_and_expected(silu_mul, {}, width=N // 2)
    assert same_bits(out, expected)


@triton.autotune(
    configs=[triton.Config({"BLOCK": 64}, num_warps=1), triton.Config({"BLOCK": 256}, num_warps=2)],
    key=["n_cols"],
)
@triton.heuristics({"FACTOR": lambda args: 2 if args["n_cols"] > 100 else 3})
@triton.jit
def tuned(x_ptr, out_ptr, n_cols, stride, BLOCK: tl.constexpr, FACTOR: tl.constexpr):
    cols = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = cols < n_cols
    x = tl.load(x_ptr + tl.program_id(0) * stride + cols, mask=mask)
    tl.store(out_ptr + tl.program_id(0) * stride + cols, x * FACTOR, mask=mask)


def test_autotuned_kernel_with_heuristics():
    """The first config has tiles of 64, which hold no group of 128; the second one is taken."""
    x = torch.randn(3, 384).bfloat16()
    q, scale = results(3, 384, FP8_GROUP128)
    fused = epiq.fuse(tuned, output="out_ptr", epilogue=epiq.Quantize(FP8_GROUP128))
    fused[lambda meta: (3, triton.cdiv(384, meta["BLOCK"]))](x, None, 384, 384, q=q, scale=scale)
    expected_q, expected_scale = quantize(x * 2, FP8_GROUP128)
    assert same_bits(q, expected_q)
    assert same_bits(scale, expected_scale)
