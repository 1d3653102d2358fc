"""Attention on a GPU with the table's configs, at the sizes of models: against f32, fused against unfused."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from attention_reference import FP8, Sequence, check, heads, paged, reference, same_bits, stacked

import epiq
from epiq.formats import FP8_GROUP64, FP8_GROUP128, FP8_PER_TOKEN, FP8_STATIC, dequantize
from epiq.kernels import attention, paged_attention

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
MASKS = [
    ({"causal": True}, {"right": 0}),
    ({}, {}),
    ({"causal": True, "window": 300}, {"left": 299, "right": 0}),
    ({"causal": True, "softcap": 20.0}, {"right": 0, "softcap": 20.0}),
]


def operands(tokens, n_heads, kv_heads, dim, v_dim, dtype=torch.bfloat16, by_head=False):
    torch.manual_seed(0)
    sizes = ((n_heads, dim), (kv_heads, dim), (kv_heads, v_dim))
    return [heads(1, tokens, n, d, dtype=dtype, device="cuda", by_head=by_head) for n, d in sizes]


@pytest.mark.parametrize(("given", "mask"), MASKS, ids=str)
@pytest.mark.parametrize(("dim", "v_dim"), [(64, 64), (96, 96), (128, 128), (192, 128), (256, 256)], ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_prefill(dtype, dim, v_dim, given, mask):
    q, k, v = operands(1100, 8, 2, dim, v_dim, dtype, by_head=dim > 100)
    o = attention(q, k, v, **given)
    expected, size = reference(Sequence(*(x[0].float() for x in (q, k, v))), **mask)
    check(o[0], expected, size)


@pytest.mark.parametrize("scales", ["head", "token"])
@pytest.mark.parametrize("dim", [64, 128, 256])
def test_fp8(dim, scales):
    q, k, v = operands(1100, 8, 2, dim, dim, FP8)
    by = [
        torch.rand(x.shape[2:3] if scales == "head" else x.shape[:3], device="cuda") + 0.5 for x in (q, k, v)
    ]
    o = attention(q, k, v, causal=True, q_scale=by[0], k_scale=by[1], v_scale=by[2])
    parts = Sequence(*((x.float() * s[..., None])[0] for x, s in zip((q, k, v), by, strict=True)))
    check(o[0], *reference(parts, right=0), fp8_values=scales == "head")


def test_ragged_batch():
    lengths = [0, 1, 700, 129, 0, 128, 5]
    starts = [0, *itertools.accumulate(lengths)]
    torch.manual_seed(0)
    q = torch.randn(starts[-1] + 40, 8, 128, device="cuda").bfloat16()
    k, v = torch.randn(2, starts[-1] + 40, 2, 128, device="cuda").bfloat16()
    k[starts[-1] :] = v[starts[-1] :] = float("nan")
    cu_seqlens = torch.tensor(starts, dtype=torch.int32, device="cuda")
    o = attention(q, k, v, causal=True, cu_seqlens=cu_seqlens, max_seqlen=700)
    parts = [
        reference(Sequence(*(x[slice(*rows)].float() for x in (q, k, v))), right=0)
        for rows in itertools.pairwise(starts)
    ]
    check(o[: starts[-1]], *stacked(parts, 0))


def epilogues():
    def gated(y, gate):
        return epiq.quantize(y * F.sigmoid(gate), FP8_GROUP128)

    yield "static", epiq.Quantize(FP8_STATIC, scale=0.05), {}
    yield "group64", epiq.Quantize(FP8_GROUP64), {"keep_output": True}
    yield "group128", epiq.Quantize(FP8_GROUP128), {}
    yield "per head", epiq.Quantize(FP8_PER_TOKEN), {"per_head": True}
    gate = torch.randn(1100, 8 * 128, device="cuda").bfloat16() if torch.cuda.is_available() else None
    yield "gate", epiq.Epilogue(gated), {"inputs": {"gate": gate}}


def check_fused(o, fused, epilogue, more):
    rows = o.reshape(-1, *o.shape[-2:])
    gate = more.get("inputs", {}).values()
    expected = [*epilogue.compute(rows if "per_head" in more else rows.flatten(1), *gate)]
    expected += [o] if "keep_output" in more else []
    fused = fused if isinstance(fused, tuple) else (fused,)
    if gate:
        # The exponential of sigmoid is not torch's, bit for bit.
        agreed = (fused[0].view(torch.uint8) == expected[0].view(torch.uint8)).float().mean()
        assert float(agreed) > 0.99
        return
    assert all(same_bits(x, y) for x, y in zip(fused, expected, strict=True))


@pytest.mark.parametrize(
    ("name", "epilogue", "more"), list(epilogues()), ids=lambda x: x if isinstance(x, str) else ""
)
def test_fused_prefill_has_the_bits_of_the_unfused_one(name, epilogue, more):
    q, k, v = operands(1100, 8, 2, 128, 128)
    o = attention(q, k, v, causal=True)
    check_fused(o, attention(q, k, v, causal=True, epilogue=epilogue, **more), epilogue, more)


@pytest.mark.parametrize("count", [1, 40])
@pytest.mark.parametrize("cache", [None, FP8], ids=str)
@pytest.mark.parametrize(("dim", "v_dim"), [(64, 64), (96, 96), (128, 128), (192, 128), (256, 256)], ids=str)
def test_decode(dim, v_dim, cache, count):
    """One sequence is split among programs, forty are not."""
    lengths = [4000] if count == 1 else [0, 1, *range(100, 100 + 38 * 40, 40)]
    case = paged(lengths, 32, 8, dim, v_dim, cache=cache, scales="head" if cache else "none", device="cuda")
    o = paged_attention(*case.arguments, **case.scales)
    check(o, *stacked([reference(part, right=0) for part in case.sequences], 0))


@pytest.mark.parametrize("count", [1, 40])
@pytest.mark.parametrize("fmt", [FP8_STATIC, FP8_GROUP128, FP8_PER_TOKEN], ids=lambda fmt: fmt.name)
def test_fused_decode_has_the_bits_of_the_unfused_one(fmt, count):
    case = paged([2000] * count, 32, 8, 128, 128, device="cuda")
    epilogue = epiq.Quantize(fmt, scale=0.05) if fmt.static else epiq.Quantize(fmt)
    fused = paged_attention(*case.arguments, epilogue=epilogue)
    check_fused(paged_attention(*case.arguments), fused, epilogue, {})


@pytest.mark.parametrize("dtype", [torch.bool, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("sequences", "queries", "keys"), [(1, 1, 5000), (16, 1, 2112), (2, 40, 700)])
def test_a_mask_over_a_cache(sequences, queries, keys, dtype):
    """Fixed caches of which each sequence has filled a part, as models of transformers have them."""
    q = torch.randn(sequences, 32, queries, 128, device="cuda").bfloat16()
    k, v = torch.randn(2, sequences, 8, keys, 128, device="cuda").bfloat16()
    filled = torch.randint(1, keys, (sequences, 1, queries, 1), device="cuda")
    seen = torch.arange(keys, device="cuda") < filled
    mask = seen if dtype == torch.bool else torch.where(seen, 0.0, float("-inf")).to(dtype)

    def fn(q, k, v, mask):
        k, v = (x.repeat_interleave(4, dim=1) for x in (k, v))
        o = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return epiq.quantize(o.transpose(1, 2).reshape(sequences, queries, -1), FP8_GROUP128)

    options = {"epiq.decide": "fused", "epiq.fail_on_unfused": True}
    torch._dynamo.reset()
    with torch.no_grad():
        found = torch.compile(fn, backend="epiq", options=options)(q, k, v, mask)
        expected = fn(*(x.float() for x in (q, k, v)), mask if dtype == torch.bool else mask.float())
    near = (dequantize(*each, FP8_GROUP128) for each in (found, expected))
    # Half a step of e4m3 and one of bf16 on either side of it.
    torch.testing.assert_close(*near, rtol=2**-3, atol=5e-3)
