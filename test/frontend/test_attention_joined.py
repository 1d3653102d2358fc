"""Attention joined with the row programs that read it: the bits of both apart."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F
from models import BF16, assert_near_eager, bits
from rewriting import run_rewritten

from epiq.attention.operands import Mask, Options
from epiq.attention.outputs import output_of
from epiq.attention.paged import config_of, run_first
from epiq.attention.paged_operands import check_cached
from epiq.formats import FP8_GROUP64, FP8_GROUP128, FP8_PER_TOKEN, FP8_STATIC, dequantize, quantize
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
    assert "triton" in decision.chosen, decision.left_out
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


def over_cache(q, k, v, mask=None):
    """What the kernel that shares keys among programs stores, (batch, tokens, heads * dim)."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    options = Options(Mask(), q.shape[-1] ** -0.5, 0.0, None)
    operands = check_cached(q, k, v, mask, options)
    output = output_of(
        None, None, per_head=False, keep_output=False, shape=tuple(q.shape), dtype=q.dtype, device=q.device
    )
    run_first(operands, config_of(operands), output)
    return output.given().flatten(-2)


def cached(queries=1, keys=70, batch=2):
    """Q of a step, and a cache, (batch, heads, tokens, dim)."""
    return [seeded(batch, n, t, 64) for n, t in ((HEADS, queries), (KV_HEADS, keys), (KV_HEADS, keys))]


def lower(queries, keys):
    return torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)


# Of (batch, heads, queries, keys) = (2, 4, 3, 70).
MASKS = {
    "of all": lower(3, 70),
    "of each sequence": (torch.arange(70) < torch.tensor([[33], [70]]))[:, None, None, :],
    "of each head": torch.linspace(-4.0, 0.0, 4 * 70).view(1, 4, 1, 70).bfloat16(),
    "the least number": torch.where(lower(3, 70), 0.0, torch.finfo(BF16).min).bfloat16(),
}


@pytest.mark.parametrize("mask", MASKS)
def test_a_mask_in_a_tensor(mask):
    """A model with a cache of a fixed size has one, and repeats heads of keys for those of queries."""
    q, k, v = cached(3)
    mask = MASKS[mask]

    def fn(q, k, v, mask):
        k, v = (x.repeat_interleave(HEADS // KV_HEADS, dim=1) for x in (k, v))
        return quantize(rows(F.scaled_dot_product_attention(q, k, v, attn_mask=mask)), FP8_GROUP64)

    found = fused(fn, q, k, v, mask)
    assert_same(found, quantize(over_cache(q, k, v, mask), FP8_GROUP64))
    near = (dequantize(*each, FP8_GROUP64) for each in (found, fn(q, k, v, mask)))
    torch.testing.assert_close(*near, rtol=2**-3, atol=2e-2)


def test_one_query_and_a_cache():
    q, k, v = cached()

    def fn(q, k, v):
        return quantize(rows(F.scaled_dot_product_attention(q, k, v, enable_gqa=True)), FP8_GROUP128)

    found = fused(fn, q, k, v)
    assert_same(found, quantize(over_cache(q, k, v), FP8_GROUP128))


def test_the_cache_is_read_where_it_is():
    """The library gets its copy of each head, as the model has it; the fused kernel none."""
    args = (*cached(), MASKS["of each sequence"])

    def fn(q, k, v, mask):
        k, v = (x[:, :, None].expand(-1, -1, 2, -1, -1).reshape(2, HEADS, 70, 64) for x in (k, v))
        o = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return quantize(o.transpose(1, 2).reshape(2, -1), FP8_GROUP64)

    found = run_rewritten(fn, *args)
    (joined,) = found.record.joined
    assert [tuple(x.shape) for x in lookup(joined.key).parts.stand_ins[1:3]] == [(2, KV_HEADS, 70, 64)] * 2
    assert not [call for call in found.calls if "clone" in call or "attention" in call]
    assert_same(found.results, run_rewritten(fn, *args, decide="library").results)


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


REFUSED = {
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
