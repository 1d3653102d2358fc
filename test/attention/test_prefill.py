"""Attention over whole sequences in the executor: against f32, and fused against unfused."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from attention_reference import FP8, Sequence, check, heads, reference, same_bits, stacked

import epiq
from epiq.errors import UnsupportedError
from epiq.formats import FP8_GROUP64, FP8_GROUP128, FP8_PER_TOKEN, FP8_STATIC, quantize
from epiq.kernels import AttentionConfig, attention

# Small tiles, so that few tokens make several of them, the last ones cut.
SMALL = AttentionConfig(32, 32, num_warps=4, num_stages=2)


def operands(tokens, keys, n_heads, kv_heads, dim, v_dim, *, batch=1, dtype=torch.bfloat16, by_head=False):
    torch.manual_seed(0)
    q = heads(batch, tokens, n_heads, dim, dtype=dtype, by_head=by_head)
    k = heads(batch, keys, kv_heads, dim, dtype=dtype, by_head=by_head)
    return q, k, heads(batch, keys, kv_heads, v_dim, dtype=dtype, by_head=by_head)


def check_batch(o, q, k, v, fp8_values=False, **mask):
    parts = [reference(Sequence(*(x.float() for x in row)), **mask) for row in zip(q, k, v, strict=True)]
    check(o, *stacked(parts, -1), fp8_values=fp8_values)


@pytest.mark.parametrize(
    ("dim", "v_dim", "dtype"),
    [(32, 32, torch.float16), (64, 64, torch.bfloat16), (96, 96, torch.bfloat16), (128, 128, torch.float16),
     (192, 128, torch.bfloat16), (256, 256, torch.bfloat16)],
    ids=str,
)  # fmt: skip
def test_head_dims(dim, v_dim, dtype):
    """A tile that ends inside, two heads of Q for one of K, heads in either order."""
    q, k, v = operands(45, 45, 4, 2, dim, v_dim, dtype=dtype, by_head=dim > 64)
    check_batch(attention(q, k, v, causal=True, config=SMALL), q, k, v, right=0)


@pytest.mark.parametrize(
    ("tokens", "keys", "given", "mask"),
    [
        (40, 70, {}, {}),
        (40, 70, {"causal": True}, {"right": 0}),
        (70, 40, {"causal": True}, {"right": 0}),
        (90, 90, {"causal": True, "window": 20}, {"left": 19, "right": 0}),
        (1, 70, {"causal": True, "window": 33}, {"left": 32, "right": 0}),
        (70, 70, {"window": (5, 40)}, {"left": 5, "right": 40}),
        (70, 70, {"window": (-1, 3)}, {"right": 3}),
        (40, 40, {"softcap": 2.0, "scale": 0.3}, {"softcap": 2.0, "scale": 0.3}),
        (40, 40, {"causal": True, "sinks": torch.tensor([0.5, -3.0, 9.0])},
         {"right": 0, "sinks": torch.tensor([0.5, -3.0, 9.0])}),
    ],
    ids=str,
)  # fmt: skip
def test_masks(tokens, keys, given, mask):
    """One head of K for three of Q. The last query stands at the last key: some queries see none."""
    q, k, v = operands(tokens, keys, 3, 1, 32, 32, batch=2)
    check_batch(attention(q, k, v, config=SMALL, **given), q, k, v, **mask)


LENGTHS = [0, 1, 45, 0, 32, 7]


@pytest.mark.parametrize("key_lengths", [LENGTHS, [3, 1, 50, 0, 70, 0]], ids=["same", "more"])
@pytest.mark.parametrize("pack", [1, 2])
def test_ragged_batch(pack, key_lengths):
    """Empty sequences, a prompt of one token, and NaN behind the last one, which no sequence may read."""
    torch.manual_seed(0)
    starts, key_starts = ([0, *itertools.accumulate(each)] for each in (LENGTHS, key_lengths))
    q = torch.randn(starts[-1] + 5, 4, 32).bfloat16()
    k, v = torch.randn(2, key_starts[-1] + 5, 2, 32).bfloat16()
    k[key_starts[-1] :] = v[key_starts[-1] :] = float("nan")
    cu_seqlens, cu_seqlens_k = (torch.tensor(each, dtype=torch.int32) for each in (starts, key_starts))
    more = {} if key_lengths is LENGTHS else {"cu_seqlens_k": cu_seqlens_k}
    config = dataclasses.replace(SMALL, pack=pack)
    o = attention(q, k, v, causal=True, cu_seqlens=cu_seqlens, max_seqlen=45, config=config, **more)
    rows = [slice(*pair) for pair in itertools.pairwise(starts)]
    keys = [slice(*pair) for pair in itertools.pairwise(key_starts)]
    parts = [
        reference(Sequence(q[i].float(), k[j].float(), v[j].float()), right=0)
        for i, j in zip(rows, keys, strict=True)
    ]
    check(o[: starts[-1]], *stacked(parts, 0))


@pytest.mark.parametrize("scales", ["tensor", "head", "token"])
def test_fp8(scales):
    torch.manual_seed(0)
    n_heads, kv_heads, tokens = 4, 2, 40
    q, k, v = operands(tokens, tokens, n_heads, kv_heads, 64, 64, dtype=FP8)
    shapes = {
        "tensor": ((1,),) * 3,
        "head": ((n_heads,), (kv_heads,), (kv_heads,)),
        "token": tuple(x.shape[:3] for x in (q, k, v)),
    }[scales]
    by = [torch.rand(shape) + 0.5 for shape in shapes]
    o = attention(q, k, v, causal=True, q_scale=by[0], k_scale=by[1], v_scale=by[2], config=SMALL)
    assert o.dtype == torch.bfloat16
    wide = [x.float() * s[..., None] for x, s in zip((q, k, v), by, strict=True)]
    check_batch(o, *wide, fp8_values=scales != "token", right=0)


def gated(y, gate):
    return quantize(y * torch.sigmoid(gate), FP8_GROUP64)


EPILOGUES = {
    "static": (epiq.Quantize(FP8_STATIC, scale=0.05), 64, {}),
    "group64": (epiq.Quantize(FP8_GROUP64), 64, {"keep_output": True}),
    "per head": (epiq.Quantize(FP8_PER_TOKEN), 64, {"per_head": True}),
    "two heads": (epiq.Quantize(FP8_GROUP128), 64, {}),
    "gate": (epiq.Epilogue(gated), 64, {"inputs": {"gate": torch.linspace(-3, 3, 40 * 256).view(40, 256)}}),
    "padded": (epiq.Quantize(FP8_STATIC, scale=0.05), 96, {}),
}


@pytest.mark.parametrize("name", EPILOGUES)
def test_fused_epilogue_has_the_bits_of_the_unfused_one(name):
    epilogue, dim, more = EPILOGUES[name]
    q, k, v = operands(40, 40, 4, 2, dim, dim)
    config = dataclasses.replace(SMALL, pack=2 if name == "two heads" else 1)
    o = attention(q, k, v, causal=True, config=config)
    given = {key: x.bfloat16() for key, x in more.get("inputs", {}).items()}
    more = {**more, "inputs": given} if given else more
    fused = attention(q, k, v, causal=True, config=config, epilogue=epilogue, **more)
    y = o[0] if "per_head" in more else o[0].flatten(1)
    expected = [*epilogue.compute(y, *given.values()), *([o] if "keep_output" in more else [])]
    fused = fused if isinstance(fused, tuple) else (fused,)
    assert len(fused) == len(expected)
    assert all(same_bits(x, y) for x, y in zip(fused, expected, strict=True))


def test_a_group_of_two_heads_takes_a_tile_of_two():
    """The table's first config has one head of 64 in a tile; one with two heads follows it."""
    q, k, v = operands(3, 3, 2, 1, 64, 64)
    q8, scale = attention(q, k, v, epilogue=epiq.Quantize(FP8_GROUP128))
    expected = quantize(attention(q, k, v)[0].flatten(1), FP8_GROUP128)
    assert same_bits(q8, expected[0])
    assert same_bits(scale, expected[1])
    with pytest.raises(epiq.FusionError, match="E5: a tile of 64 columns does not hold whole groups of 128"):
        attention(q, *operands(3, 3, 2, 2, 64, 64)[1:], epilogue=epiq.Quantize(FP8_GROUP128))


def test_no_tokens_and_no_keys():
    q, k, v = operands(4, 0, 2, 1, 32, 32)
    assert attention(q[:, :0], k, v).shape == (1, 0, 2, 32)
    assert not attention(q, k, v).any()
    q8, scale = attention(q, k, v, epilogue=epiq.Quantize(FP8_GROUP64))
    assert not q8.float().any()
    assert scale.shape == (4, 1)


STARTS = torch.tensor([0, 4], dtype=torch.int32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"q": heads(4, 2, 32)}, r"must be \(batch, tokens, heads, head_dim\), got shapes \(4, 2, 32\)"),
        ({"q": heads(1, 4, 3, 32)}, "3 heads of q are no multiple of 2 heads of k"),
        ({"q": heads(1, 4, 2, 64)}, "q has head dim 64, k 32"),
        ({"q": heads(2, 4, 2, 32)}, "q has a batch of 2, k of 1"),
        ({"v": heads(1, 5, 2, 32)}, r"got \(1, 4, 2, 32\) and \(1, 5, 2, 32\)"),
        ({"q": heads(1, 4, 2, 32).half()}, "one dtype, got torch.float16 and torch.bfloat16"),
        ({"q": heads(1, 4, 32, 2).transpose(2, 3)}, "contiguous along its head dim, got strides"),
        ({"q": heads(1, 4, 2, 36)[..., :32]}, "start at multiples of 16 bytes, got strides"),
        ({"k": heads(1, 4, 1, 32).expand(1, 4, 2, 32)}, "heads of k must be apart"),
        ({"q_scale": torch.ones(1)}, "q_scale is for torch.float8_e4m3fn, got torch.bfloat16"),
        ({"sinks": torch.ones(3)}, r"one value for each of 2 heads, got \(3,\)"),
        ({"scale": -1.0}, "scale must be positive and finite, got -1.0"),
        ({"softcap": float("nan")}, "softcap must be positive and finite, or 0 for none, got nan"),
        ({"window": 0}, "window must be at least 1, got 0"),
        ({"cu_seqlens_k": STARTS}, "cu_seqlens_k is given without cu_seqlens"),
        ({"inputs": {"bias": torch.ones(1)}}, "the epilogue takes no inputs, got bias"),
    ],
)
def test_refuses(change, message):
    q, k, v = operands(4, 4, 2, 2, 32, 32)
    with pytest.raises(ValueError, match=message):
        attention(**{"q": q, "k": k, "v": v, **change})


@pytest.mark.parametrize(
    ("starts", "message"),
    [
        ([0, 3, 2], r"must rise from 0 to at most 4 tokens, got \[0, 3, 2\]"),
        ([0, 5], "at most 4 tokens"),
        ([0], r"int32 of \(sequences \+ 1,\), got torch.int32 of \(1,\)"),
    ],
)
def test_refuses_sequences(starts, message):
    q, k, v = (x[0] for x in operands(4, 4, 2, 2, 32, 32))
    with pytest.raises(ValueError, match=message):
        attention(q, k, v, cu_seqlens=torch.tensor(starts, dtype=torch.int32))


def test_what_has_no_kernel():
    with pytest.raises(UnsupportedError, match="head dim 80 of q and k has no kernel: there are 32, 64"):
        attention(*operands(4, 4, 2, 2, 80, 80))
    with pytest.raises(UnsupportedError, match=r"q of torch.float32 has no kernel"):
        attention(*operands(4, 4, 2, 2, 32, 32, dtype=torch.float32))
    with pytest.raises(
        ValueError, match="tiles have at least 16 queries, those of 1 heads, and 16 keys, got 8"
    ):
        AttentionConfig(8, 32, 4, 2)
