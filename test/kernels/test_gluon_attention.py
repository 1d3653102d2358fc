"""The Gluon attention's logic without a GPU: tiles, edges, masks, barriers, epilogues."""

from __future__ import annotations

import pytest
import torch
from gluon_attention_cases import Packed, is_close, prefill, reference
from gluon_on_cpu import run_attention_on_cpu
from products import same_bits

import epiq
from epiq.errors import UnsupportedError
from epiq.formats import FP8_GROUP64, FP8_GROUP128, FP8_STATIC, quantize
from epiq.fuse.errors import FusionError
from epiq.kernels.gluon_attention_call import Tiles, call, tiles_of
from epiq.kernels.gluon_attention_operands import Prefill

IDENTITY = epiq.Epilogue(lambda y: y)
# Small blocks of keys and more tiles than programs, so that all that goes round comes round again.
TWO = Tiles(2, 32, 2, 240)
PROGRAMS = 3


def gluon(
    operands: Prefill, tiles: Tiles = TWO, epilogue: epiq.Epilogue = IDENTITY, **inputs: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    y = torch.zeros(operands.tokens, operands.heads * operands.head_dim, dtype=operands.q.dtype)
    results = tuple(x.clone() for x in epilogue.compute(y, *inputs.values()))
    _, programs, arguments, constants = call(operands, tiles, epilogue, inputs, results, PROGRAMS)
    run_attention_on_cpu(programs, arguments, constants)
    counter = arguments[3]
    assert int(counter) == 0, "the counter is not zero for the next launch"
    return results


MASKS = {
    "full": {},
    "causal": {"right": 0},
    "window": {"left": 40, "right": 0},
    "both sides": {"left": 9, "right": 20},
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize(("queries", "keys"), [(200, 200), (70, 150), (150, 70)], ids=str)
def test_masks(mask, queries, keys):
    """Tiles cut at the end, masks that are not aligned to blocks, queries that see no key."""
    operands = prefill((1, queries, keys), (2, 1), 64, **MASKS[mask])
    (y,) = gluon(operands)
    is_close(y, reference(operands), operands)


@pytest.mark.parametrize("groups", [1, 2, 3])
@pytest.mark.parametrize("pack", [1, 2])
def test_tiles(groups, pack):
    """Groups of warps, and heads that share a tile; several batches and heads of keys."""
    operands = prefill((2, 100, 100), (4, 2), 64, right=0)
    (y,) = gluon(operands, Tiles(groups, 64, 2, 160, pack))
    is_close(y, reference(operands), operands)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_head_dim_128_of_the_table(dtype):
    operands = prefill((1, 130, 260), (2, 2), 128, dtype=dtype, right=0)
    (y,) = gluon(operands, tiles_of(operands))
    is_close(y, reference(operands), operands)


@pytest.mark.parametrize("mask", ["full", "causal", "window"])
def test_packed_sequences(mask):
    """Empty ones, one token, ends within blocks; rows of nobody are NaN and are not read into results."""
    lengths = Packed([1, 0, 150, 33, 0, 64], [40, 0, 150, 70, 20, 64])
    operands = prefill(lengths, (2, 1), 64, spare=50, **MASKS[mask])
    (y,) = gluon(operands)
    is_close(y[:248], reference(operands)[:248], operands)
    assert bool((y[248:] == 0.0).all()), "rows of no sequence are written"


def test_queries_without_keys_give_zeros():
    operands = prefill(Packed([5, 3], [0, 7]), (1, 1), 64, spare=40)
    (y,) = gluon(operands)
    assert bool((y[:5] == 0.0).all())
    is_close(y[:8], reference(operands)[:8], operands)


def test_nan_of_a_neighbour_stays_there():
    operands = prefill(Packed([30, 30], [30, 30]), (1, 1), 64)
    operands.v[:, 30:] = torch.nan
    operands.k[:, 30:] = torch.inf
    (y,) = gluon(operands)
    is_close(y[:30], reference(operands)[:30], operands)
    assert bool(y[30:].isnan().all())


def test_softcap_and_sinks():
    operands = prefill(
        (1, 90, 90), (4, 2), 64, right=0, softcap=1.5, sinks=torch.tensor([0.5, -1.0, 3.0, 0.0])
    )
    (y,) = gluon(operands, Tiles(2, 32, 2, 240, 2))
    is_close(y, reference(operands), operands)


def test_strides_of_other_layouts():
    """Heads before tokens in memory, as scaled_dot_product_attention has them; k and v of one tensor."""
    q = torch.randn(2, 2, 90, 64).bfloat16().transpose(1, 2)
    k, v = torch.randn(2, 90, 2, 2, 64).bfloat16().unbind(2)
    operands = Prefill(q, k, v, 0.125, right=0)
    (y,) = gluon(operands)
    is_close(y, reference(operands), operands)


def columns_first(y):
    q, scale = quantize(y, FP8_GROUP64)
    return q.t().contiguous().t(), scale.t().contiguous().t()


def with_output(y):
    return *quantize(y, FP8_GROUP64), y


def gated(y, gate):
    return quantize(y * torch.sigmoid(gate), FP8_GROUP64)


EPILOGUES = {
    "group64": epiq.Quantize(FP8_GROUP64),
    "static": epiq.Quantize(FP8_STATIC, scale=0.01),
    "columns first": epiq.Epilogue(columns_first, outputs=("q", "scale")),
    "output kept": epiq.Epilogue(with_output, outputs=("q", "scale", "y")),
    "elementwise": epiq.Epilogue(lambda y: torch.relu(y) * 2.0),
}


@pytest.mark.parametrize("name", EPILOGUES)
def test_fused_has_the_bits_of_the_unfused(name):
    epilogue = EPILOGUES[name]
    operands = prefill(Packed([70, 0, 33], [70, 0, 40]), (2, 1), 64, right=0)
    (y,) = gluon(operands)
    expected = epilogue.compute(y)
    for actual, other in zip(gluon(operands, TWO, epilogue), expected, strict=True):
        assert actual.stride() == other.stride()
        assert same_bits(actual, other)


@pytest.mark.parametrize(("head_dim", "heads", "pack"), [(128, (2, 1), 1), (64, (4, 2), 2)])
def test_group_128(head_dim, heads, pack):
    """Of one head, or of two in a tile."""
    operands = prefill((1, 70, 70), heads, head_dim, right=0)
    tiles = Tiles(2, 32, 2, 240, pack)
    (y,) = gluon(operands, tiles)
    q, scale = gluon(operands, tiles, epiq.Quantize(FP8_GROUP128))
    expected_q, expected_scale = quantize(y, FP8_GROUP128)
    assert same_bits(scale, expected_scale)
    assert same_bits(q, expected_q)


def test_a_group_wider_than_a_tile_is_refused():
    operands = prefill((1, 70, 70), (2, 1), 64)
    with pytest.raises(FusionError, match="E5"):
        gluon(operands, TWO, epiq.Quantize(FP8_GROUP128))


def operands_with(**change: object) -> Prefill:
    given = {"q": torch.zeros(1, 8, 4, 64), "k": torch.zeros(1, 8, 2, 64), "v": torch.zeros(1, 8, 2, 64)}
    given = {name: x.bfloat16() for name, x in given.items()}
    return Prefill(**{"softmax_scale": 0.1, **given, **change})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"q": torch.zeros(8, 4, 64)}, ValueError, r"q must be \(batch, tokens, heads, head_dim\)"),
        ({"q": torch.zeros(1, 8, 4, 64)}, UnsupportedError, "got q of torch.float32 on cpu"),
        ({"q": torch.zeros(1, 8, 4, 96).bfloat16()}, UnsupportedError, "64 or 128, got 96 for q, 96 for q"),
        ({"q": torch.zeros(1, 8, 3, 64).bfloat16()}, ValueError, "do not go together"),
        (
            {"k": torch.zeros(1, 0, 2, 64).bfloat16()},
            UnsupportedError,
            r"k of shape \(1, 0, 2, 64\) is empty",
        ),
        ({"v": torch.zeros(1, 8, 2, 128).bfloat16()[..., ::2]}, UnsupportedError, "contiguous values"),
        ({"cu_q": torch.zeros(3, dtype=torch.int32)}, ValueError, "got no cu_k"),
        ({"cu_q": torch.zeros(3), "cu_k": torch.zeros(3)}, ValueError, "got torch.float32"),
        ({"softmax_scale": -1.0}, UnsupportedError, "must be positive, got -1.0"),
        ({"left": -1}, ValueError, "left must be 0 or more, or None, got -1"),
        ({"softcap": 0.0}, ValueError, "softcap must be positive, got 0.0"),
        ({"sinks": torch.zeros(3)}, ValueError, r"sinks must be a contiguous \(4,\), got \(3,\)"),
    ],
)
def test_refuses(change, error, message):
    with pytest.raises(error, match=message):
        operands_with(**change)


def test_refuses_tiles():
    with pytest.raises(ValueError, match="1, 2 or 3 groups of warps, got 4"):
        Tiles(4, 128, 2, 240)
    with pytest.raises(ValueError, match="4 heads of a tile do not divide the 2 that share keys"):
        gluon(operands_with(), Tiles(2, 32, 2, 240, 4))
