"""The Gluon attention on Hopper: against SDPA, fused against unfused, the same bits in every launch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from gluon_attention_cases import Packed, is_close, prefill, reference
from products import same_bits

import epiq
from epiq.formats import FP8_GROUP64, FP8_GROUP128, FP8_STATIC, quantize
from epiq.kernels import gluon_attention_call
from epiq.kernels.gluon_attention_call import Tiles, run_gluon_attention, tiles_of
from epiq.kernels.gluon_attention_operands import Prefill

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
IDENTITY = epiq.Epilogue(lambda y: y)


def gluon(
    operands: Prefill, tiles: Tiles | None = None, epilogue: epiq.Epilogue = IDENTITY
) -> tuple[torch.Tensor, ...]:
    rows, columns = operands.tokens, operands.heads * operands.head_dim
    y = torch.empty(rows, columns, dtype=operands.q.dtype, device="meta")
    results = tuple(
        torch.zeros(x.shape, dtype=x.dtype, device="cuda").as_strided(x.shape, x.stride())
        for x in epilogue.compute(y)
    )
    sms = torch.cuda.get_device_properties("cuda").multi_processor_count
    run_gluon_attention(operands, tiles or tiles_of(operands), epilogue, {}, results, sms)
    return results


@pytest.mark.parametrize("head_dim", [64, 128])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("causal", [True, False], ids=["causal", "full"])
@pytest.mark.parametrize(("batch", "tokens"), [(1, 4096), (4, 2048), (2, 1000), (3, 77), (5, 1)], ids=str)
def test_as_sdpa(batch, tokens, causal, dtype, head_dim):
    operands = prefill(
        (batch, tokens, tokens), (32, 8), head_dim, dtype=dtype, device="cuda", right=0 if causal else None
    )
    (y,) = gluon(operands)
    q, k, v = (x.float().transpose(1, 2) for x in (operands.q, operands.k, operands.v))
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)
    is_close(y, expected.transpose(1, 2).flatten(0, 1).flatten(1), operands)


MASKS = {"causal": {"right": 0}, "window": {"left": 100, "right": 0}, "both": {"left": 60, "right": 300}}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize(("queries", "keys"), [(500, 900), (900, 500), (1, 513), (129, 129)], ids=str)
def test_masks(mask, queries, keys):
    operands = prefill((2, queries, keys), (8, 2), 128, device="cuda", **MASKS[mask])
    (y,) = gluon(operands)
    is_close(y, reference(operands), operands)


@pytest.mark.parametrize("head_dim", [64, 128])
@pytest.mark.parametrize("pack", [1, 2, 4])
@pytest.mark.parametrize("groups", [1, 2, 3])
def test_tiles(groups, pack, head_dim):
    if (groups, head_dim) == (3, 128):
        pytest.skip("three groups have too few registers for head dim 128")
    operands = prefill((2, 300, 300), (8, 2), head_dim, device="cuda", right=0)
    tiles = Tiles(groups, 128, 2, 160 if groups == 3 else 240, pack)
    (y,) = gluon(operands, tiles)
    is_close(y, reference(operands), operands)
    (other,) = gluon(operands, replace(tiles, overlap=False))
    assert same_bits(y, other)


@pytest.mark.parametrize("head_dim", [64, 128])
@pytest.mark.parametrize("mask", MASKS)
def test_packed_sequences(mask, head_dim):
    """Empty ones, one token, more sequences than programs; rows of nobody are NaN, and stay as they are."""
    queries = [0, 1, 700, 64, 0, 129] + [7] * 200
    keys = [40, 1, 700, 100, 0, 300] + [9] * 200
    operands = prefill(Packed(queries, keys), (8, 2), head_dim, device="cuda", spare=300, **MASKS[mask])
    (y,) = gluon(operands)
    used = sum(queries)
    is_close(y[:used], reference(operands)[:used], operands)
    assert bool((y[used:] == 0.0).all())


def test_nan_of_a_neighbour_stays_there():
    operands = prefill(Packed([200, 200], [200, 200]), (4, 2), 128, device="cuda", right=0)
    operands.v[:, 200:] = torch.nan
    operands.k[:, 200:] = torch.inf
    (y,) = gluon(operands)
    is_close(y[:200], reference(operands)[:200], operands)
    assert bool(y[200:].isnan().all())


def test_softcap_and_sinks():
    sinks = torch.randn(8, device="cuda")
    operands = prefill((2, 500, 500), (8, 2), 128, device="cuda", right=0, softcap=2.0, sinks=sinks)
    (y,) = gluon(operands)
    is_close(y, reference(operands), operands)


def transposed(y):
    q, scale = quantize(y, FP8_GROUP64)
    return q.t().contiguous().t(), scale.t().contiguous().t(), y


EPILOGUES = {
    "group128": epiq.Quantize(FP8_GROUP128),
    "group64": epiq.Quantize(FP8_GROUP64),
    "static": epiq.Quantize(FP8_STATIC, scale=0.01),
    "columns first, output kept": epiq.Epilogue(transposed, outputs=("q", "scale", "y")),
}


@pytest.mark.parametrize("name", EPILOGUES)
@pytest.mark.parametrize("head_dim", [64, 128])
def test_fused_has_the_bits_of_the_unfused(name, head_dim):
    epilogue = EPILOGUES[name]
    operands = prefill(Packed([700, 0, 333], [700, 0, 500]), (8, 2), head_dim, device="cuda", right=0)
    tiles = tiles_of(operands, 2 if (name, head_dim) == ("group128", 64) else 1)
    (y,) = gluon(operands, tiles)
    for actual, other in zip(gluon(operands, tiles, epilogue), epilogue.compute(y), strict=True):
        assert same_bits(actual, other)


@pytest.mark.parametrize("packed", [False, True], ids=["dense", "packed"])
def test_every_launch_has_the_same_bits(packed):
    lengths = Packed([1000, 3000, 96], [1000, 3000, 96]) if packed else (1, 4096, 4096)
    operands = prefill(lengths, (32, 8), 128, device="cuda", right=0)
    epilogue = epiq.Quantize(FP8_GROUP128)
    first = gluon(operands, None, epilogue)
    for _ in range(30):
        assert all(same_bits(a, b) for a, b in zip(gluon(operands, None, epilogue), first, strict=True))
    assert all(int(counter) == 0 for counter in gluon_attention_call._counters.values())


def test_in_a_cuda_graph():
    operands = prefill((1, 1000, 1000), (8, 2), 128, device="cuda", right=0)
    (expected,) = gluon(operands)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        gluon(operands)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        (y,) = gluon(operands)
    for _ in range(3):
        graph.replay()
    torch.cuda.synchronize()
    assert same_bits(y, expected)
