"""Fused kernels on a GPU: the same bits as the kernel by Triton, followed by `epiq.quantize`."""

from __future__ import annotations

import pytest
import torch
import user_kernels as kernels
from triton.tools.tensor_descriptor import TensorDescriptor
from unfused import same_bits

import epiq
from epiq.formats import FP8_GROUP128

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
M, N, K = 1000, 1024, 512
TILE = {"BLOCK_M": 128, "BLOCK_N": 128, "BLOCK_K": 64, "num_warps": 8}


def results():
    q = torch.zeros(M, N, dtype=torch.float8_e4m3fn, device="cuda")
    return q, torch.zeros(N // 128, M, device="cuda").t()


def operands():
    torch.manual_seed(0)
    a = torch.randn(M, K, device="cuda").bfloat16()
    return a, torch.randn(K, N, device="cuda").bfloat16(), torch.empty(M, N, device="cuda").bfloat16()


def check(c, q, scale):
    expected_q, expected_scale = epiq.quantize(c, FP8_GROUP128)
    assert same_bits(scale, expected_scale)
    assert same_bits(q, expected_q)


def test_pointers():
    a, b, c = operands()
    args = (M, N, K, K, 1, N, 1, N, 1)
    grid = (8 * 8,)
    kernels.matmul_grouped[grid](a, b, c, *args, GROUP_M=8, **TILE)
    q, scale = results()
    fused = epiq.fuse(kernels.matmul_grouped, "c_ptr", epiq.Quantize(FP8_GROUP128))
    fused[grid](a, b, None, *args, GROUP_M=8, q=q, scale=scale, **TILE)
    check(c, q, scale)


def test_host_descriptors():
    a, b, c = operands()
    b = b.t().contiguous()
    descriptors = (
        TensorDescriptor.from_tensor(a, [128, 64]),
        TensorDescriptor.from_tensor(b, [128, 64]),
        TensorDescriptor.from_tensor(c, [128, 128]),
    )
    grid = (8 * 8,)
    kernels.matmul_host_descriptor[grid](*descriptors, M, N, K, **TILE)
    q, scale = results()
    fused = epiq.fuse(kernels.matmul_host_descriptor, "c_desc", epiq.Quantize(FP8_GROUP128))
    fused[grid](*descriptors, M, N, K, q=q, scale=scale, **TILE)
    check(c, q, scale)
