"""Products on a GPU: the Triton kernels against f32, the Gluon kernel against them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from products import FP8, case, same_bits, within_one_rounding

import epiq
from epiq.formats import FP8_GROUP128, quantize
from epiq.kernels import Config, matmul

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
KINDS = [(FP8, "none"), (FP8, "tensor"), (FP8, "vector"), (FP8, "block"), (torch.bfloat16, "none")]
# An edge in each direction: rows, columns inside a half tile, K inside a stage.
SHAPES = [(1000, 1232, 2000), (5, 512, 512), (200, 768, 4096)]


def config(kernel: str, dtype: torch.dtype, m: int) -> Config:
    depth = 128 if dtype == FP8 else 64
    if kernel == "gluon":
        return Config(128 if m > 64 else 64, 256, depth, 4, 4, persistent=True, kernel="gluon")
    return Config(128 if m > 64 else 64, 128, depth, 4, 3, persistent=True)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("dtype", "scales"), KINDS, ids=str)
@pytest.mark.parametrize("kernel", ["triton", "gluon"])
def test_product(kernel, dtype, scales, shape):
    m, n, k = shape
    given = case(dtype, scales, m, n, k, device="cuda")
    c = matmul(given.a, given.b, **given.scales, config=config(kernel, dtype, m))
    expected = given.product()
    if dtype == FP8:
        # Hopper adds FP8 products with about 14 bits.
        assert float((c - expected).norm() / expected.norm()) < 4e-3
        return
    within_one_rounding(c, expected, k)


@pytest.mark.parametrize("gate_up", [False, True], ids=["plain", "gate_up"])
@pytest.mark.parametrize(("dtype", "scales"), KINDS, ids=str)
@pytest.mark.parametrize("kernel", ["triton", "gluon"])
def test_fused_has_the_bits_of_the_unfused(kernel, dtype, scales, gate_up):
    m, n, k = 333, 1024, 1024
    given = case(dtype, scales, m, n, k, device="cuda")
    chosen = config(kernel, dtype, m)
    if gate_up and kernel == "triton":
        chosen = Config(128, 256, chosen.block_k, 8, 3)
    c = matmul(given.a, given.b, **given.scales, config=config(kernel, dtype, m))
    y = F.silu(c[:, : n // 2]) * c[:, n // 2 :] if gate_up else c
    q, scale = matmul(
        given.a, given.b, **given.scales, gate_up=gate_up, epilogue=epiq.Quantize(FP8_GROUP128), config=chosen
    )
    expected_q, expected_scale = quantize(y, FP8_GROUP128)
    # silu's exponential is not torch's, bit for bit.
    if gate_up:
        close = torch.isclose(scale, expected_scale, rtol=2.0**-7)
        same = q.view(torch.uint8) == expected_q.view(torch.uint8)
        assert bool(close.all())
        assert float(same.float().mean()) > 0.97
        return
    assert same_bits(scale, expected_scale)
    assert same_bits(q, expected_q)


def test_autotuned():
    given = case(FP8, "tensor", 64, 1024, 512, device="cuda")
    c = matmul(given.a, given.b, **given.scales, autotune=True)
    expected = given.product()
    assert float((c - expected).norm() / expected.norm()) < 4e-3
