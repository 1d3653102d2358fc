"""Epilogues of epilogues: the same bits as one after the other on the unfused kernel's output."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import user_kernels as kernels
from test_fused_kernels import TILE, K, M, N, cdiv, operands, results
from torch import Tensor
from unfused import run_kernel, same_bits

import epiq
from epiq.formats import FP8_GROUP128, FP8_STATIC

ARGS = (M, N, K, K, 1, N, 1, N, 1)
GRID = (cdiv(M, 32) * cdiv(N, 128),)


def bias_and_relu(y: Tensor, bias: Tensor) -> Tensor:
    return F.relu(y + bias)


def unfused() -> tuple[Tensor, Tensor, Tensor]:
    a, b, c = operands()
    run_kernel(kernels.matmul_grouped, GRID, a, b, c, *ARGS, GROUP_M=2, **TILE)
    return a, b, c


BIAS = torch.randn(N, generator=torch.Generator().manual_seed(2)).bfloat16()
ACTIVATION = epiq.Epilogue(bias_and_relu, outputs=("y",))


def test_a_fused_kernel_is_fused_again():
    a, b, c = unfused()
    activated = epiq.fuse(kernels.matmul_grouped, output="c_ptr", epilogue=ACTIVATION)
    fused = epiq.fuse(activated, output="y", epilogue=epiq.Quantize(FP8_GROUP128))
    q, scale = results(M, N, FP8_GROUP128)
    fused[GRID](a, b, None, *ARGS, GROUP_M=2, bias=BIAS, q=q, scale=scale, **TILE)
    expected_q, expected_scale = epiq.quantize(bias_and_relu(c, BIAS), FP8_GROUP128)
    assert same_bits(q, expected_q)
    assert same_bits(scale, expected_scale)


def test_what_is_between_can_be_kept():
    a, b, c = unfused()
    activated = epiq.fuse(kernels.matmul_grouped, output="c_ptr", epilogue=ACTIVATION, keep_output=True)
    fused = epiq.fuse(activated, output="y", epilogue=epiq.Quantize(FP8_GROUP128), keep_output=True)
    q, scale = results(M, N, FP8_GROUP128)
    y, kept = torch.zeros_like(c), torch.zeros_like(c)
    fused[GRID](a, b, kept, *ARGS, GROUP_M=2, bias=BIAS, y=y, scale=scale, q=q, **TILE)
    assert same_bits(kept, c)
    assert same_bits(y, bias_and_relu(c, BIAS))
    assert same_bits(q, epiq.quantize(y, FP8_GROUP128)[0])


def test_epilogues_call_epilogues():
    a, b, c = unfused()
    quantize = epiq.Quantize(FP8_STATIC, scale=0.05)
    both = epiq.Epilogue(lambda y, bias: quantize(ACTIVATION(y, bias)), outputs=("q",))
    fused = epiq.fuse(kernels.matmul_grouped, output="c_ptr", epilogue=both)
    q, _ = results(M, N, FP8_GROUP128)
    fused[GRID](a, b, None, *ARGS, GROUP_M=2, bias=BIAS, q=q, **TILE)
    assert same_bits(q, quantize(bias_and_relu(c, BIAS)))


def test_names_that_do_not_go_together():
    activated = epiq.fuse(kernels.matmul_grouped, output="c_ptr", epilogue=ACTIVATION)
    with pytest.raises(ValueError, match="output 'z' is not a result of the epilogue, which has y"):
        epiq.fuse(activated, output="z", epilogue=epiq.Quantize(FP8_GROUP128))
    with pytest.raises(ValueError, match="output 'c_ptr' of matmul_grouped already has an epilogue"):
        epiq.fuse(activated, output="c_ptr", epilogue=epiq.Quantize(FP8_GROUP128))
    with pytest.raises(ValueError, match="output 'a_ptr' of matmul_grouped is not 'c_ptr', which has"):
        epiq.fuse(activated, output="a_ptr", epilogue=epiq.Quantize(FP8_GROUP128))
    with pytest.raises(ValueError, match="names repeat: bias, bias"):
        epiq.fuse(activated, output="y", epilogue=epiq.Epilogue(bias_and_relu, outputs=("out",)))
