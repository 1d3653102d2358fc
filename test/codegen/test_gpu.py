"""Compile, launch and compare on a GPU: the whole way of codegen with one small kernel."""

from __future__ import annotations

import pytest
import torch

from epiq.codegen import Target, compile_ttir, load
from epiq.formats import FP8_GROUP128, quantize

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(Target.current() is None, reason="needs a CUDA device of sm_90 or sm_100"),
]


def launch(text, x, num_warps=4):
    rows = x.shape[0]
    q = torch.full((rows, 512), 0x55, dtype=torch.uint8, device="cuda").view(torch.float8_e4m3fn)
    scale = torch.full((rows, 4), -1.0, device="cuda")
    kernel = load(compile_ttir(text, Target.current(), num_warps=num_warps))
    args = (x.data_ptr(), q.data_ptr(), scale.data_ptr(), rows, x.stride(0))
    kernel((rows, 1, 1), args, torch.cuda.current_stream().cuda_stream)
    return q, scale


def assert_same(got, want):
    """Equal bytes; NaNs may differ in sign (NUMERICS.md, N5)."""
    values, wanted = got.view(torch.uint8), want.view(torch.uint8)
    nan = want.float().isnan()
    assert torch.equal(got.float().isnan(), nan)
    assert torch.equal(values.masked_fill(nan, 0), wanted.masked_fill(nan, 0))


@pytest.mark.parametrize("num_warps", [1, 4, 8])
@pytest.mark.parametrize("rows", [1, 7, 4096])
def test_kernel_is_the_reference_bit_for_bit(group_quant, rows, num_warps):
    x = torch.randn(rows, 512, device="cuda").bfloat16()
    x[0, :128] = 0.0
    q, scale = launch(group_quant, x, num_warps)
    want_q, want_scale = quantize(x, FP8_GROUP128)
    assert torch.equal(scale, want_scale)
    assert_same(q, want_q)


def test_strided_rows_nan_and_inf(group_quant):
    x = torch.randn(64, 1024, device="cuda").bfloat16()[:, :512]
    x[3, 5], x[4, 200] = float("nan"), float("inf")
    q, scale = launch(group_quant, x)
    want_q, want_scale = quantize(x, FP8_GROUP128)
    assert torch.equal(scale.nan_to_num(-1.0), want_scale.nan_to_num(-1.0))
    assert_same(q, want_q)


@pytest.mark.parametrize("fmt_scale", [1.0, 1e-3, 37.5])
def test_reference_has_the_same_bits_on_cpu_and_gpu(fmt_scale):
    """The reference divides by a tensor, so that no kernel of torch turns it into a multiplication."""
    x = torch.randn(256, 1024) * fmt_scale
    q, scale = quantize(x, FP8_GROUP128)
    gpu_q, gpu_scale = quantize(x.cuda(), FP8_GROUP128)
    assert torch.equal(scale, gpu_scale.cpu())
    assert torch.equal(q.view(torch.uint8), gpu_q.cpu().view(torch.uint8))


def test_a_launch_can_be_captured_in_a_graph(group_quant):
    x = torch.randn(32, 512, device="cuda").bfloat16()
    launch(group_quant, x)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        q, scale = launch(group_quant, x)
    x.copy_(torch.randn(32, 512, device="cuda").bfloat16())
    graph.replay()
    torch.cuda.synchronize()
    want_q, want_scale = quantize(x, FP8_GROUP128)
    assert torch.equal(scale, want_scale)
    assert_same(q, want_q)
