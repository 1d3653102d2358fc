"""Products in the executor: against f32, and fused against the product followed by the epilogue."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from products import FP8, case, same_bits, within_one_rounding

import epiq
from epiq.formats import FP8_GROUP64, FP8_GROUP128, FP8_STATIC, quantize
from epiq.kernels import Config, matmul

# Small tiles, so that few values make several of them, the last ones cut.
WHOLE = Config(32, 128, 32, num_warps=4, num_stages=2, group_m=2)
PERSISTENT = Config(32, 128, 32, num_warps=4, num_stages=2, group_m=2, persistent=True)
SPLIT = Config(32, 128, 32, num_warps=4, num_stages=2, split_k=3)
BLOCKS = Config(32, 128, 128, num_warps=4, num_stages=2, group_m=1)
M, N, K = 45, 208, 144

KINDS = [
    (torch.bfloat16, "none"),
    (torch.float16, "tensor"),
    (torch.bfloat16, "vector"),
    (FP8, "none"),
    (FP8, "tensor"),
    (FP8, "vector"),
]


@pytest.mark.parametrize("config", [WHOLE, PERSISTENT, SPLIT], ids=["whole", "persistent", "split"])
@pytest.mark.parametrize(("dtype", "scales"), KINDS, ids=str)
def test_product(dtype, scales, config):
    given = case(dtype, scales, M, N, K)
    c = matmul(given.a, given.b, **given.scales, config=config)
    assert c.dtype == (torch.bfloat16 if dtype == FP8 else dtype)
    within_one_rounding(c, given.product(), K)


@pytest.mark.parametrize("split_k", [1, 2])
def test_product_with_block_scales(split_k):
    """K ends inside a group, N inside a block."""
    given = case(FP8, "block", M, N, 336)
    config = Config(32, 128, 128, num_warps=4, num_stages=2, split_k=split_k)
    c = matmul(given.a, given.b, **given.scales, config=config)
    within_one_rounding(c, given.product(), 336)


def residual_then_quantize(y, residual, bias):
    return quantize(F.relu(y + bias) + residual, FP8_GROUP128)


EPILOGUES = {
    "group128": (epiq.Quantize(FP8_GROUP128), ()),
    "group64": (epiq.Quantize(FP8_GROUP64), ()),
    "static": (epiq.Quantize(FP8_STATIC, scale=0.05), ()),
    "chain": (epiq.Epilogue(residual_then_quantize), ("residual", "bias")),
}


@pytest.mark.parametrize("config", [WHOLE, PERSISTENT, SPLIT], ids=["whole", "persistent", "split"])
@pytest.mark.parametrize("name", EPILOGUES)
def test_fused_epilogue_has_the_bits_of_the_unfused_one(name, config):
    epilogue, inputs = EPILOGUES[name]
    given = case(FP8, "vector", M, 256, K)
    tensors = {"residual": torch.randn(M, 256).bfloat16(), "bias": torch.randn(256).bfloat16()}
    tensors = {key: tensors[key] for key in inputs}
    c = matmul(given.a, given.b, **given.scales, config=config)
    fused = matmul(given.a, given.b, **given.scales, config=config, epilogue=epilogue, inputs=tensors)
    expected = epilogue.compute(c, *tensors.values())
    fused = fused if isinstance(fused, tuple) else (fused,)
    assert all(same_bits(x, y) for x, y in zip(fused, expected, strict=True))


@pytest.mark.parametrize(
    ("dtype", "scales", "config"),
    [
        (FP8, "tensor", Config(32, 256, 32, num_warps=4, num_stages=2, persistent=True)),
        (FP8, "vector", Config(32, 256, 32, num_warps=4, num_stages=2)),
        (FP8, "block", Config(32, 256, 128, num_warps=4, num_stages=2)),
        (torch.bfloat16, "none", Config(32, 256, 32, num_warps=4, num_stages=2, split_k=2)),
    ],
    ids=str,
)
def test_gate_up(dtype, scales, config):
    """Gate and up are halves of the columns of b, whose scales follow them."""
    inner = 256
    given = case(dtype, scales, 37, 2 * inner, 256)
    c = matmul(given.a, given.b, **given.scales, config=BLOCKS if scales == "block" else WHOLE)
    y = F.silu(c[:, :inner]) * c[:, inner:]
    assert same_bits(matmul(given.a, given.b, **given.scales, gate_up=True, config=config), y)
    q, scale = matmul(
        given.a, given.b, **given.scales, gate_up=True, config=config, epilogue=epiq.Quantize(FP8_GROUP128)
    )
    expected_q, expected_scale = quantize(y, FP8_GROUP128)
    assert same_bits(scale, expected_scale)
    assert same_bits(q, expected_q)


@pytest.mark.parametrize("scales", ["none", "tensor", "vector", "block"])
def test_gate_and_up_may_be_two_matrices(scales):
    inner = 256
    dtype = torch.bfloat16 if scales == "none" else FP8
    gate, up = (case(dtype, scales, 37, inner, 256, seed=seed) for seed in (0, 1))
    pairs = {}
    if scales != "none":
        pairs = {"a_scale": gate.scales["a_scale"], "b_scale": (gate.scales["b_scale"], up.scales["b_scale"])}
    config = Config(32, 256, 128, num_warps=4, num_stages=2, persistent=scales == "none")
    y = matmul(gate.a, (gate.b, up.b), **pairs, gate_up=True, config=config)
    one, other = (
        matmul(gate.a, b, **({"a_scale": pairs["a_scale"], "b_scale": scale} if pairs else {}), config=BLOCKS)
        for b, scale in zip((gate.b, up.b), pairs.get("b_scale", (None, None)), strict=True)
    )
    assert same_bits(y, F.silu(one) * other)


@pytest.mark.parametrize("gate_up", [False, True], ids=["plain", "gate_up"])
def test_default_config(gate_up):
    given = case(FP8, "tensor", 3, 512, 128)
    q, scale = matmul(given.a, given.b, **given.scales, gate_up=gate_up, epilogue=epiq.Quantize(FP8_GROUP128))
    c = matmul(given.a, given.b, **given.scales)
    y = F.silu(c[:, :256]) * c[:, 256:] if gate_up else c
    expected_q, expected_scale = quantize(y, FP8_GROUP128)
    assert same_bits(q, expected_q)
    assert same_bits(scale, expected_scale)


def operands(m=4, n=64, k=64, dtype=FP8):
    return torch.zeros(m, k).to(dtype), torch.zeros(n, k).to(dtype).t()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"b": operands(k=32)[1]}, "a has 64 columns, b has 32 rows"),
        ({"b": operands(dtype=torch.float16)[1]}, "got torch.float8_e4m3fn and torch.float16"),
        ({"b": torch.zeros(64, 64).to(FP8)}, r"b.t\(\) must be contiguous along K, got strides \(1, 64\)"),
        ({"a": torch.zeros(4, 72).to(FP8)[:, 4:68]}, "rows of a must be apart .* got 72 bytes"),
        ({"a_scale": torch.ones(1)}, "got no b_scale"),
        ({"a_scale": torch.ones(2, 1), "b_scale": torch.ones(1, 64)}, r"got \(2, 1\) and \(1, 64\)"),
        ({"a_scale": torch.ones(1).half(), "b_scale": torch.ones(1)}, "a_scale must be torch.float32"),
        ({"gate_up": True, "b": operands(n=63)[1]}, "63 columns, which is odd"),
        ({"inputs": {"bias": torch.ones(64)}}, "the epilogue takes no inputs, got bias"),
    ],
)
def test_refuses(change, message):
    a, b = operands()
    arguments = {"a": a, "b": b, **change}
    with pytest.raises(ValueError, match=message):
        matmul(**arguments)


def test_refuses_two_matrices_that_differ():
    a, b = operands()
    with pytest.raises(ValueError, match="they take gate_up=True"):
        matmul(a, (b, b))
    with pytest.raises(ValueError, match=r"must be alike, got b of \(64, 64\) and \(64, 32\)"):
        matmul(a, (b, operands(n=32)[1]), gate_up=True)


def test_refuses_a_config():
    with pytest.raises(ValueError, match="block_m must be a power of two, got 48"):
        Config(48, 128, 32, num_warps=4, num_stages=2)
    with pytest.raises(ValueError, match="does not split K, got split_k = 2"):
        Config(32, 128, 32, num_warps=4, num_stages=2, persistent=True, split_k=2)
