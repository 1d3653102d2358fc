"""Attention joined with the row programs that read it: the bits of both apart."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F
from models import BF16, assert_near_eager, bits
from rewriting import run_rewritten

from epiq.formats import FP8_GROUP64, FP8_GROUP128, FP8_PER_TOKEN, FP8_STATIC, quantize
from epiq.kernels import attention
from epiq.runtime.registry import lookup

TOKENS, HEADS, KV_HEADS = 7, 4, 2


def seeded(*shape, dtype=BF16):
    generator = torch.Generator().manual_seed(len(shape) * 1000 + sum(shape))
    return torch.randn(*shape, generator=generator).to(dtype)


def qkv(dim=64, batch=1, tokens=TOKENS, dtype=BF16, keys=None):
    """Projections as models have them: (batch, tokens, heads * dim)."""
    return [
        seeded(batch, count, n * dim, dtype=dtype)
        for n, count in ((HEADS, tokens), (KV_HEADS, keys or tokens), (KV_HEADS, keys or tokens))
    ]


def by_head(x, dim=64):
    return x.unflatten(-1, (-1, dim)).transpose(1, 2)


def attend(q, k, v, dim=64, **given):
    """(batch, heads, tokens, dim)."""
    q, k, v = (by_head(x, dim) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, **{"is_causal": True, "enable_gqa": True, **given})


def ours(q, k, v, dim=64, **given):
    """What our kernel stores without an epilogue, (batch, tokens, heads * dim)."""
    q, k, v = (x.unflatten(-1, (-1, dim)) for x in (q, k, v))
    return attention(q, k, v, **{"causal": True, **given}).flatten(-2)


def rows(o):
    return o.transpose(1, 2).flatten(-2)


def assert_same(actual, expected):
    for a, b in zip(actual, expected, strict=True):
        assert a.shape == b.shape and a.stride() == b.stride()
        assert torch.equal(bits(a), bits(b))


def fused(fn, *args):
    """`fn(*args)`, of a graph in which attention is part of a fused kernel."""
    found = run_rewritten(fn, *args, decide="fused")
    (joined,) = found.record.joined
    assert joined.key, joined.reason
    assert found.calls.count("epiq.produced.default") == 1
    assert not [call for call in found.calls if "attention" in call or "clone" in call]
    (decision,) = lookup(joined.key).decisions
    assert decision.chosen.startswith("triton"), decision.left_out
    return found.results


def quantize_matrix(o):
    return quantize(o.transpose(1, 2).reshape(-1, o.shape[1] * o.shape[3]), FP8_GROUP64)


def test_batch_and_tokens_in_one_dimension():
    args = qkv(batch=2)
    found = fused(lambda *a: quantize_matrix(attend(*a)), *args)
    assert_same(found, quantize(ours(*args).flatten(0, 1), FP8_GROUP64))


def test_a_group_of_two_heads():
    args = qkv()
    found = fused(lambda *a: quantize(rows(attend(*a, scale=0.3)), FP8_GROUP128), *args)
    assert_same(found, quantize(ours(*args, scale=0.3), FP8_GROUP128))


def test_a_copy_disappears_and_a_gate_joins():
    args = [*qkv(), seeded(1, TOKENS, HEADS * 64)]

    def fn(q, k, v, gate):
        o = attend(q, k, v, is_causal=False).transpose(1, 2).contiguous()
        return quantize(o.view(1, TOKENS, -1) * gate, FP8_GROUP64)

    expected = quantize(ours(*args[:3], causal=False) * args[3], FP8_GROUP64)
    assert_same(fused(fn, *args), expected)


def test_the_output_is_kept_for_who_else_reads_it():
    args = qkv()

    def fn(q, k, v):
        o = rows(attend(q, k, v))
        return (*quantize(o, FP8_STATIC, scale=0.1)[:1], o)

    o = ours(*args)
    assert_same(fused(fn, *args), (quantize(o, FP8_STATIC, scale=0.1)[0], o))


def test_heads_outside_of_tokens_in_memory():
    """As rotary embeddings leave them."""
    args = [by_head(x).contiguous() for x in qkv()]

    def fn(q, k, v):
        o = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return quantize(rows(o), FP8_GROUP64)

    assert_same(fused(fn, *args), quantize(ours(*qkv()), FP8_GROUP64))


def test_token_counts_share_a_graph():
    """Q, K and V are parts of one projection."""
    sizes = [n * 64 for n in (HEADS, KV_HEADS, KV_HEADS)]
    first = seeded(1, TOKENS, sum(sizes))
    torch._dynamo.mark_dynamic(first, 1)

    def fn(x):
        return quantize(rows(attend(*x.split(sizes, -1))), FP8_GROUP64)

    found = run_rewritten(fn, first, decide="fused")
    assert found.record.joined[0].key, found.record.joined[0].reason
    with torch.no_grad():
        for tokens in (3, 40):
            x = seeded(1, tokens, sum(sizes))
            assert_same(found.compiled(x), quantize(ours(*x.split(sizes, -1)), FP8_GROUP64))


def test_the_library_is_what_runs_where_nothing_can_be_measured():
    args = qkv()

    def fn(q, k, v):
        return quantize(rows(attend(q, k, v)), FP8_GROUP128)

    found = run_rewritten(fn, *args)
    (decision,) = lookup(found.record.joined[0].key).decisions
    assert (decision.chosen, decision.how) == ("library", "not measured: no GPU")
    assert_same(found.results, run_rewritten(fn, *args, decide="library").results)
    assert_near_eager(found.results, fn(*args))


def quantized(fmt=FP8_GROUP128, dim=64, **given):
    return lambda *a: quantize(rows(attend(*a, dim=dim, **given)), fmt)


def read_twice(q, k, v):
    o = attend(q, k, v)
    return (*quantize(rows(o), FP8_GROUP64), o.sum(-1))


MASK = torch.ones(TOKENS, TOKENS, dtype=torch.bool)
REFUSED = {
    "P1: attention with a mask in a tensor": (quantized(attn_mask=MASK, is_causal=False), qkv()),
    "P1: q of torch.float32 has no kernel": (quantized(), qkv(dtype=torch.float32)),
    "P1: head dim 80 of q and k has no kernel": (quantized(FP8_GROUP64, dim=80), qkv(dim=80)),
    "P1: torch's causal mask of 7 queries and 9 keys": (quantized(), qkv(keys=9)),
    "P2: the program does not read the tokens": (
        lambda *a: quantize(attend(*a).flatten(0, 2), FP8_GROUP64),
        qkv(),
    ),
    "P3: .* reads getitem too": (read_twice, qkv()),
    "P5: quantize combines the whole row": (quantized(FP8_PER_TOKEN), qkv()),
    "P6: E5: the tile's first column is only known to be a multiple of 32": (quantized(dim=96), qkv(dim=96)),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_no_group_where_a_rule_refuses(reason):
    fn, args = REFUSED[reason]
    found = run_rewritten(fn, *args, decide="fused")
    (joined,) = found.record.joined
    assert not joined.key
    assert re.match(reason, joined.reason), joined.reason
    assert "epiq.produced.default" not in found.calls
    apart = run_rewritten(fn, *args, decide="library").results
    assert_same(found.results, apart)
