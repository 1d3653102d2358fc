"""Attention over a paged cache in the executor: against f32, and fused against unfused."""

from __future__ import annotations

import pytest
import torch
from attention_reference import FP8, check, paged, reference, same_bits, stacked

import epiq
from epiq.attention.operands import Mask, Options
from epiq.attention.paged import config_of, plans
from epiq.attention.paged_operands import check_paged
from epiq.executor import ExecutionError
from epiq.formats import FP8_GROUP64, FP8_GROUP128, FP8_PER_TOKEN, FP8_STATIC
from epiq.kernels import AttentionConfig, paged_attention

LENGTHS = [0, 1, 70, 17]


def small(splits=1, combine_heads=2):
    return AttentionConfig(16, 32, 4, 2, splits=splits, combine_heads=combine_heads)


@pytest.mark.parametrize(
    ("shape", "page", "queries", "splits"),
    [
        ((4, 2, 64, 64), 16, 1, 1),
        ((4, 2, 64, 64), 64, 1, 2),
        ((5, 1, 96, 96), 16, 1, 2),
        ((6, 2, 192, 128), 24, 1, 1),
        ((2, 2, 32, 32), 16, 3, 1),
        ((20, 1, 32, 32), 128, 2, 3),
    ],
    ids=str,
)
def test_decode(shape, page, queries, splits):
    """Pages in random order, lengths of 0 and 1, groups of 1 to 20 heads, several queries at the end."""
    case = paged(LENGTHS, *shape, page=page, queries=queries)
    o = paged_attention(*case.arguments, config=small(splits))
    expected, size = stacked([reference(part, right=0) for part in case.sequences], -1)
    check(o.view(expected.shape), expected, size)
    assert not o[0].any()


@pytest.mark.parametrize("splits", [1, 2])
@pytest.mark.parametrize(
    ("given", "mask"),
    [
        ({"window": 20, "softcap": 5.0}, {"left": 19, "right": 0, "softcap": 5.0}),
        ({"sinks": torch.tensor([2.0, -1.0])}, {"right": 0, "sinks": torch.tensor([2.0, -1.0])}),
    ],
    ids=["window and softcap", "sinks"],
)
def test_masks(splits, given, mask):
    case = paged(LENGTHS, 2, 1, 32, 32, queries=2)
    o = paged_attention(*case.arguments, config=small(splits), **given)
    check(o, *stacked([reference(part, **mask) for part in case.sequences], -1))


@pytest.mark.parametrize(
    ("dtype", "scales"), [(torch.float16, "head"), (torch.bfloat16, "token"), (FP8, "head")], ids=str
)
def test_fp8_cache(dtype, scales):
    case = paged(LENGTHS, 4, 2, 64, 64, dtype=dtype, cache=FP8, scales=scales)
    o = paged_attention(*case.arguments, config=small(), **case.scales)
    expected, size = stacked([reference(part) for part in case.sequences], 0)
    check(o, expected, size)
    assert o.dtype == (torch.bfloat16 if dtype == FP8 else dtype)


def test_queries_by_cu_seqlens():
    """A prompt beside sequences that go on by a token, one of them with none to go on with."""
    case = paged([40, 0, 70, 17], 2, 1, 32, 32, queries=4)
    counts = [4, 0, 1, 2]
    q = torch.cat([case.q[i, 4 - n :] for i, n in enumerate(counts)])
    starts = torch.tensor([0, 4, 4, 5, 7], dtype=torch.int32)
    o = paged_attention(q, *case.arguments[1:], cu_seqlens=starts, max_seqlen=4, config=small())
    parts = [reference(part, right=0) for part in case.sequences]
    parts = [(o[4 - n :], size[4 - n :]) for (o, size), n in zip(parts, counts, strict=True)]
    check(o, *stacked(parts, 0))


@pytest.mark.parametrize("splits", [1, 3])
@pytest.mark.parametrize(
    ("fmt", "more"),
    [
        (FP8_STATIC, {}),
        (FP8_GROUP64, {"keep_output": True}),
        (FP8_GROUP128, {}),
        (FP8_PER_TOKEN, {"per_head": True}),
        (FP8_PER_TOKEN, {}),
    ],
    ids=["static", "group64", "group128", "per head", "per token"],
)
def test_fused_epilogue_has_the_bits_of_the_unfused_one(splits, fmt, more):
    """A whole row of heads is in one tile where parts are combined, so that it can share a scale."""
    case = paged([33, 0, 5], 4, 2, 64, 64)
    epilogue = epiq.Quantize(fmt, scale=0.05) if fmt.static else epiq.Quantize(fmt)
    o = paged_attention(*case.arguments, config=small(splits))
    fused = paged_attention(*case.arguments, config=small(splits), epilogue=epilogue, **more)
    expected = [
        *epilogue.compute(o if "per_head" in more else o.flatten(1)),
        *([o] if "keep_output" in more else []),
    ]
    fused = fused if isinstance(fused, tuple) else (fused,)
    assert all(same_bits(x, y) for x, y in zip(fused, expected, strict=True))


def test_splits_fill_the_multiprocessors():
    """One long sequence is split; many are not, nor are short ones."""

    def splits(sequences, pages):
        q, cache = torch.empty(sequences, 32, 128), torch.empty(1, 16, 8, 128)
        tensors = [x.to(device="meta", dtype=torch.bfloat16) for x in (q, cache, cache)]
        table, lens = (
            torch.empty(s, dtype=torch.int32, device="meta") for s in ((sequences, pages), (sequences,))
        )
        options = Options(Mask(), 1.0, 0.0, None)
        given = check_paged(*tensors, table, lens, None, None, None, None, None, options)
        return next(plans(given, config_of(given))).splits

    assert [splits(1, 1024), splits(1, 64), splits(32, 128), splits(128, 128), splits(1, 8)] == [
        32,
        4,
        1,
        1,
        1,
    ]


def test_a_page_outside_the_cache_is_caught():
    case = paged([40], 2, 1, 32, 32)
    case.table[0, 1] = 1000
    with pytest.raises(ExecutionError, match=r"tt\.load: .* out of bounds"):
        paged_attention(*case.arguments, config=small())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"q": torch.zeros(3, 2, 32).bfloat16()}, "q has 3 sequences, seq_lens 2"),
        ({"q": torch.zeros(2, 32).bfloat16()}, r"q must be .*, got shape \(2, 32\)"),
        ({"block_table": torch.zeros(3, 1, dtype=torch.int32)}, "block_table has 3 sequences, seq_lens 2"),
        (
            {"block_table": torch.zeros(2, 1)},
            "block_table must be int32 of 2 dimensions, .* got torch.float32",
        ),
        (
            {"v_cache": torch.zeros(4, 8, 1, 32).bfloat16()},
            r"got shapes \(4, 16, 1, 32\) and \(4, 8, 1, 32\)",
        ),
        ({"k_cache": torch.zeros(4, 16, 1, 64).bfloat16()}, "q has head dim 32, k 64"),
        ({"k_scale": torch.ones(1)}, "k_scale is for torch.float8_e4m3fn, got torch.bfloat16"),
        ({"cu_seqlens": torch.tensor([0, 2], dtype=torch.int32)}, "cu_seqlens has 1 sequences, seq_lens 2"),
    ],
)
def test_refuses(change, message):
    given = {
        "q": torch.zeros(2, 2, 32).bfloat16(),
        "k_cache": torch.zeros(4, 16, 1, 32).bfloat16(),
        "v_cache": torch.zeros(4, 16, 1, 32).bfloat16(),
        "block_table": torch.zeros(2, 1, dtype=torch.int32),
        "seq_lens": torch.zeros(2, dtype=torch.int32),
    }
    with pytest.raises(ValueError, match=message):
        paged_attention(**{**given, **change})
