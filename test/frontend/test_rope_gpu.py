"""Rotary embedding, quantization and cache write on a GPU: the bits of eager, in the caches too."""

from __future__ import annotations

from functools import partial

import pytest
import rope_models
import torch
from rope_models import E4M3, STYLES

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.fixture(params=[(4, 2, 32), (32, 8, 128)], ids=["small", "32/8 x 128"])
def sizes(request, monkeypatch):
    """Heads, KV heads and head dim, and a cache of 4096 slots."""
    for name, value in zip(("HEADS", "KV_HEADS", "HEAD_DIM"), request.param, strict=True):
        monkeypatch.setattr(rope_models, name, value)
    monkeypatch.setattr(rope_models, "BLOCKS", 1024)


def inputs(num_tokens: int, cache_dtype: torch.dtype) -> list[torch.Tensor]:
    return [x.cuda() for x in rope_models.rope_inputs(num_tokens, cache_dtype)]


def assert_same(found: torch.Tensor, wanted: torch.Tensor) -> None:
    assert torch.equal(found.view(torch.uint8), wanted.view(torch.uint8))


@pytest.mark.usefixtures("sizes")
@pytest.mark.parametrize("cache_dtype", [torch.bfloat16, E4M3], ids=["bf16", "e4m3"])
@pytest.mark.parametrize("style", STYLES)
@torch.no_grad()
def test_bits_are_those_of_eager(style, cache_dtype):
    """Slots are in random order, and one counts from the end; all others keep what they held."""
    torch._dynamo.reset()
    options = {"epiq.strict": True, "epiq.fail_on_unfused": True}
    model = partial(rope_models.rope_cache, style)
    fast = torch.compile(model, backend="epiq", fullgraph=True, options=options)
    for num_tokens in (1, 16, 700, 2048):
        given = inputs(num_tokens, cache_dtype)
        given[5][0] -= given[3].shape[0] * given[3].shape[1]
        caches = [cache.clone() for cache in given[3:5]]
        wanted = model(*given[:3], *caches, *given[5:])
        assert_same(fast(*given), wanted)
        for cache, other in zip(given[3:5], caches, strict=True):
            assert_same(cache, other)


@torch.no_grad()
def test_cuda_graph_replays_on_new_slots():
    """What is captured reads positions and slots anew."""
    torch._dynamo.reset()
    model = partial(rope_models.rope_cache, "chunks")
    fast = torch.compile(model, backend="epiq", fullgraph=True)
    given = inputs(8, E4M3)
    fast(*given)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        q = fast(*given)
    for kept, fresh in zip(given, inputs(8, E4M3), strict=True):
        kept.copy_(fresh)
    given[1].copy_(given[1].flip(0))
    given[5].copy_(given[5].flip(0))
    caches = [cache.clone() for cache in given[3:5]]
    wanted = model(*given[:3], *caches, *given[5:])
    graph.replay()
    assert_same(q, wanted)
    for cache, other in zip(given[3:5], caches, strict=True):
        assert_same(cache, other)


@torch.no_grad()
def test_keys_and_values_in_one_tensor():
    """Both parts are written in place, also of a tensor that does not start where its memory does."""
    torch._dynamo.reset()
    model = partial(rope_models.in_one, "chunks", "unbind")
    fast = torch.compile(model, backend="epiq", fullgraph=True, options={"epiq.fail_on_unfused": True})
    given = [x.cuda() for x in rope_models.in_one_inputs(16)]
    given[3] = torch.stack((given[3].flip(0), given[3]))[1]
    eager = [x.clone() for x in given]
    assert_same(fast(*given), model(*eager))
    assert_same(given[3], eager[3])
