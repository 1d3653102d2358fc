"""Attention over keys in one piece a sequence, with masks in tensors: in the executor, against f32."""

from __future__ import annotations

import pytest
import torch
from attention_reference import check

from epiq.attention.configs import Config
from epiq.attention.operands import Mask, Options
from epiq.attention.outputs import output_of
from epiq.attention.paged import run_first
from epiq.attention.paged_operands import check_cached

BATCH, HEADS, KV_HEADS, DIM, KEYS = 2, 4, 2, 64, 70
BF16 = torch.bfloat16
LEAST = torch.finfo(BF16).min


def operands(queries):
    """Heads outside of tokens in memory, as torch has them."""
    torch.manual_seed(0)
    shapes = (HEADS, queries), (KV_HEADS, KEYS), (KV_HEADS, KEYS)
    return [torch.randn(BATCH, heads, tokens, DIM).to(BF16).transpose(1, 2) for heads, tokens in shapes]


def attend(q, k, v, mask, splits=1, softcap=0.0):
    given = check_cached(q, k, v, mask, Options(Mask(), DIM**-0.5, softcap, None))
    output = output_of(
        None, None, per_head=False, keep_output=False, shape=tuple(q.shape), dtype=BF16, device=q.device
    )
    run_first(given, Config(16, 32, 4, 2, splits=splits), output)
    return output.given()


def reference(q, k, v, mask, softcap=0.0):
    """As torch computes it: a row that sees nothing is zero, one of nothing but LEAST a mean."""
    k, v = (x.float().repeat_interleave(HEADS // KV_HEADS, 2) for x in (k, v))
    scores = torch.einsum("bqhd,bkhd->bhqk", q.float(), k) * DIM**-0.5
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    p = torch.softmax(scores, -1).nan_to_num()
    return torch.einsum("bhqk,bkhd->bqhd", p, v), torch.einsum("bhqk,bkhd->bqhd", p, v.abs())


def seen(queries):
    found = torch.rand(BATCH, 1, queries, KEYS) > 0.4
    found[0, ..., :40] = False
    found[1, :, 0] = False
    return found


def added(queries):
    found = torch.randn(1, HEADS, queries, KEYS).to(BF16)
    found[:, 0], found[:, 1], found[:, 2, :, 5:] = LEAST, float("-inf"), LEAST
    return found


@pytest.mark.parametrize("splits", [1, 2])
@pytest.mark.parametrize(
    ("queries", "mask"),
    [
        (1, None),
        (1, seen),
        (3, seen),
        (1, added),
        (3, added),
        (20, lambda n: torch.ones(n, KEYS, dtype=torch.bool).tril(KEYS - n)),
        (3, lambda n: torch.linspace(-3.0, 3.0, KEYS)),
    ],
    ids=["no mask", "seen", "seen by each", "added", "added to each", "causal", "f32"],
)
def test_masks(queries, mask, splits):
    q, k, v = operands(queries)
    given = mask and mask(queries)
    check(attend(q, k, v, given, splits), *reference(q, k, v, given))


def test_softcap_comes_before_the_mask():
    q, k, v = operands(2)
    mask = added(2)
    check(attend(q, k, v, mask, softcap=1.5), *reference(q, k, v, mask, softcap=1.5))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bias": torch.zeros(3, 1, 1, KEYS)}, r"a mask of shape \(3, 1, 1, 70\) does not broadcast"),
        ({"bias": torch.zeros(1, KEYS).int()}, "a mask must be bool, bf16, f16 or f32, got torch.int32"),
        ({"q": torch.zeros(1, 1, HEADS, DIM).to(BF16)}, r"got shapes \(1, 1, 4, 64\)"),
        ({"k": torch.zeros(BATCH, KEYS, 1, 32).to(BF16)}, r"k and v \(sequences, keys, KV heads"),
    ],
)
def test_refuses(change, message):
    given = dict(zip("qkv", operands(1), strict=True))
    with pytest.raises(ValueError, match=message):
        check_cached(**{"bias": None, **given, **change}, options=Options(Mask(), 1.0, 0.0, None))
