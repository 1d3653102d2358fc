"""The example model: its FP8 GEMM, its layouts, and that a layer traces as one graph."""

from __future__ import annotations

import pytest
import torch
from torch._dynamo.backends.debugging import aot_eager
from torch._subclasses.fake_tensor import FakeTensorMode

from epiq.cli.example_model import load_example

llama = load_example()


def test_activation_scales_are_column_major():
    q, scale = llama.quantize_activations(torch.randn(6, 256).to(torch.bfloat16))
    assert (q.dtype, tuple(q.shape)) == (torch.float8_e4m3fn, (6, 256))
    assert (scale.dtype, tuple(scale.shape), scale.stride()) == (torch.float32, (6, 2), (1, 6))


def test_block_scaled_mm_is_the_product_within_the_quantization_error():
    """Each operand is off by at most half an e4m3 step, 1/28 of its group's amax (plus its block's)."""
    torch.manual_seed(0)
    x, w = torch.randn(6, 256).to(torch.bfloat16), torch.randn(128, 256)
    q, scale = llama.quantize_activations(x)
    wq, w_scale = llama.quantize_weight(w)
    actual = llama.block_scaled_mm(q, scale, wq, w_scale).double()
    bound_x = x.double().unflatten(-1, (-1, 128)).abs().amax(-1) / 28
    bound_w = w.double().view(1, 128, 2, 128).abs().amax(dim=(1, 3)) / 28
    sums_w = w.double().abs().unflatten(-1, (-1, 128)).sum(-1)
    sums_x = x.double().abs().unflatten(-1, (-1, 128)).sum(-1)
    bound = bound_x @ sums_w.t() + (sums_x * bound_w).sum(-1, keepdim=True)
    bound += 128 * (bound_x * bound_w).sum(-1, keepdim=True)
    exact = x.double() @ w.double().t()
    assert ((actual - exact).abs() <= bound + exact.abs() * 2.0**-8).all()


def test_zeros_stay_zeros():
    q, scale = llama.quantize_activations(torch.zeros(2, 128, dtype=torch.bfloat16))
    assert (q.float() == 0).all()
    assert torch.isfinite(scale).all()
    assert (scale > 0).all()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_full_width_layer_traces_with_fake_tensors(device):
    """As one graph, with nothing allocated, for a device that need not be there."""
    with FakeTensorMode(), torch.no_grad():
        model = llama.Llama(llama.LLAMA_3_8B, num_layers=1, device=device)
        inputs = llama.example_inputs(model, batch=4, seq_len=2048)
        y = torch.compile(model, backend=aot_eager, fullgraph=True)(*inputs)
    assert (tuple(y.shape), y.dtype, y.device.type) == ((4, 2048, 4096), torch.bfloat16, device)


def test_layers_keep_the_variance_bounded():
    """Random weights must not make activations explode or vanish over the layers."""
    torch.manual_seed(0)
    model = llama.Llama(llama.NARROW, num_layers=4)
    with torch.no_grad():
        y = model(*llama.example_inputs(model, batch=1, seq_len=16))
    assert 0.5 < y.float().std().item() < 10
