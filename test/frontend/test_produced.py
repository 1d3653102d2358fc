"""Matrix products joined with the row programs that read them: the bits of both apart."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from models import BF16, E4M3, assert_near_eager, bits
from rewriting import Rewritten, run_rewritten

from epiq.formats import FP8_GROUP128, FP8_PER_TOKEN, FP8_STATIC, quantize
from epiq.kernels.configs import ranked, resolve
from epiq.kernels.operands import check_operands
from epiq.kernels.product import run
from epiq.runtime.registry import lookup

M, N, K = 5, 512, 128


def seeded(*shape, dtype=BF16):
    generator = torch.Generator().manual_seed(len(shape) * 1000 + sum(shape))
    return torch.randn(*shape, generator=generator).to(dtype)


def our_product(a, b, a_scale=None, b_scale=None, bias=None):
    """What the kernel without an epilogue stores, of tiles that add up K in the same order."""
    operands = check_operands(a.reshape(-1, a.shape[-1]), b, a_scale, b_scale, False)
    config = resolve(ranked(operands, "cpu")[0], operands, 132)
    if bias is None:
        return run(operands, config, None, {}).view(*a.shape[:-1], -1)
    wide = run(dataclasses.replace(operands, rounded_to=torch.float32), config, None, {})
    return (wide + bias.float()).to(BF16).view(*a.shape[:-1], -1)


def silu_mul(y):
    gate, up = y.chunk(2, -1)
    return F.silu(gate) * up


def norm_quantize(h, w):
    return (*quantize(F.rms_norm(h, w.shape, w, 1e-5), FP8_GROUP128), h)


# What follows the product y: a function of y and of the other tensors.
CONSUMERS = {
    "quantize": (lambda y: quantize(y, FP8_GROUP128), ()),
    "static": (lambda y, s: (y.float() / s).clamp(-448, 448).to(E4M3), (torch.tensor([0.3]),)),
    "silu_mul": (lambda y: quantize(silu_mul(y), FP8_GROUP128), ()),
    "silu_mul_per_token": (lambda y: quantize(silu_mul(y), FP8_PER_TOKEN), ()),
    "residual": (lambda y, r: quantize(y + r, FP8_GROUP128), (seeded(M, N),)),
    "residual_norm": (lambda y, r, w: norm_quantize(y + r, w), (seeded(M, N), seeded(N))),
    "kept": (lambda y: (*quantize(F.relu(y), FP8_GROUP128), y), ()),
    "kept_for_the_norm": (lambda y, w: (*quantize(F.relu(y) * w, FP8_GROUP128), y.exp()), (seeded(N),)),
    "column_major": (lambda y: column_major(y), ()),
}
WHOLE = {"residual_norm": False, "silu_mul_per_token": False}


def column_major(y):
    q, scale = quantize(y, FP8_GROUP128)
    return q, scale.t().contiguous().t()


def fused(fn, *args, **kwargs) -> Rewritten:
    return run_rewritten(fn, *args, decide="fused", **kwargs)


def group_of(found: Rewritten):
    (joined,) = found.record.joined
    assert joined.key, joined.reason
    return lookup(joined.key)


def assert_same(actual, expected):
    actual = actual if isinstance(actual, tuple) else (actual,)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours.shape == theirs.shape and ours.stride() == theirs.stride()
        assert torch.equal(bits(ours), bits(theirs))


@pytest.mark.parametrize("name", CONSUMERS)
def test_a_product_and_what_reads_it_are_one_kernel(name):
    consumer, others = CONSUMERS[name]
    x, w = seeded(M, K), seeded(N, K)
    found = fused(lambda x, w, *others: consumer(F.linear(x, w), *others), x, w, *others)
    assert found.calls.count("epiq.produced.default") == 1 and "aten.mm.default" not in found.calls
    group = group_of(found)
    assert group.decisions[0].chosen.startswith("triton"), group.decisions[0].left_out
    assert (group.parts.split.tail is None) == WHOLE.get(name, True)
    y = our_product(x, w.t())
    # A norm adds up its row in an order of its own; the rest has the bits of eager torch.
    expected = (
        run_rewritten(consumer, y, *others).results if name == "residual_norm" else consumer(y, *others)
    )
    assert_same(found.results, expected)


FORMS = {
    "mm": ((), lambda a, b: torch.mm(a, b.t())),
    "addmm": ((seeded(N),), lambda a, b, bias: torch.addmm(bias, a, b.t())),
    "linear_of_3d": ((), lambda a, b: F.linear(a.view(1, M, K), b).view(M, N)),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_a_product_is_recognized(form):
    extra, product = FORMS[form]
    x, w = seeded(M, K), seeded(N, K)
    found = fused(lambda x, w, *e: quantize(product(x, w, *e), FP8_GROUP128), x, w, *extra)
    assert group_of(found).decisions[0].chosen.startswith("triton")
    y = our_product(x, w.t(), bias=extra[0] if extra else None)
    assert_same(found.results, quantize(y, FP8_GROUP128))


SCALED = {
    "tensor": ((), ()),
    "vector": ((M, 1), (1, N)),
    "block": ((1, M), (1, N // 128)),
}


@pytest.mark.parametrize("scales", SCALED)
def test_each_form_of_scales_is_recognized(scales):
    a, b = seeded(M, K, dtype=E4M3), seeded(N, K, dtype=E4M3)
    a_scale, b_scale = (torch.rand(shape) + 0.1 for shape in SCALED[scales])
    if scales == "block":
        a_scale = a_scale.t()

    def fn(a, b, a_scale, b_scale):
        y = torch._scaled_mm(a, b.t(), a_scale, b_scale, out_dtype=BF16)
        return quantize(silu_mul(y), FP8_GROUP128)

    found = fused(fn, a, b, a_scale, b_scale)
    assert group_of(found).decisions[0].chosen.startswith("triton")
    y = our_product(a, b.t(), a_scale, b_scale)
    assert_same(found.results, quantize(silu_mul(y), FP8_GROUP128))


@pytest.mark.parametrize("scales", SCALED)
def test_scaled_mm_of_functional_is_recognized(scales):
    from torch.nn.functional import ScalingType, SwizzleType, scaled_mm

    a, b = seeded(M, K, dtype=E4M3), seeded(N, K, dtype=E4M3)
    a_scale, b_scale = (torch.rand(shape) + 0.1 for shape in SCALED[scales])
    if scales == "block":
        # torch wants as many blocks along K as a multiple of 4.
        a_scale, b_scale = a_scale.t(), b_scale.t().expand(-1, 4).contiguous().t()
    kinds = {
        "tensor": (ScalingType.TensorWise, ScalingType.TensorWise),
        "vector": (ScalingType.RowWise, ScalingType.RowWise),
        "block": (ScalingType.BlockWise1x128, ScalingType.BlockWise128x128),
    }[scales]
    plain = SwizzleType.NO_SWIZZLE

    def fn(a, b, a_scale, b_scale):
        y = scaled_mm(a, b.t(), a_scale, kinds[0], b_scale, kinds[1], plain, plain, output_dtype=BF16)
        return quantize(y, FP8_GROUP128)

    found = fused(fn, a, b, a_scale, b_scale)
    assert group_of(found).decisions[0].chosen.startswith("triton")
    y = our_product(a, b.t(), a_scale, b_scale[:1] if scales == "block" else b_scale)
    assert_same(found.results, quantize(y, FP8_GROUP128))


@pytest.mark.parametrize("scaled", [False, True], ids=["mm", "scaled_mm"])
def test_gate_and_up_of_two_matrices_are_made_side_by_side(scaled):
    dtype = E4M3 if scaled else BF16
    x, gate, up = seeded(M, K, dtype=dtype), seeded(256, K, dtype=dtype), seeded(1, 256, K, dtype=dtype)[0]
    scales = (torch.rand(M, 1) + 0.1, torch.rand(1, 256) + 0.1, torch.rand(1, 256) + 0.1) if scaled else ()

    def product(x, w, *scales):
        return torch._scaled_mm(x, w.t(), *scales, out_dtype=BF16) if scales else F.linear(x, w)

    def fn(x, gate, up, a=None, g=None, u=None):
        one, other = (product(x, w, *((a, s) if scaled else ())) for w, s in ((gate, g), (up, u)))
        return quantize(F.silu(one) * other, FP8_GROUP128)

    found = fused(fn, x, gate, up, *scales)
    group = group_of(found)
    assert group.parts.tile.form == "pair" and group.decisions[0].chosen.startswith("triton")
    assert [call for call in found.calls if "mm" in call] == []
    pairs = [(scales[0], s) for s in scales[1:]] if scaled else [(), ()]
    one, other = (our_product(x, w.t(), *given) for w, given in zip((gate, up), pairs, strict=True))
    assert_same(found.results, quantize(F.silu(one) * other, FP8_GROUP128))


def test_gate_and_up_that_quantize_one_input_each_for_itself_are_made_side_by_side():
    """As linear layers do that know nothing of one another."""
    h, norm = seeded(M, K), seeded(K)
    gate, up = seeded(256, K, dtype=E4M3), seeded(1, 256, K, dtype=E4M3)[0]
    scales = torch.rand(1, 256) + 0.1

    def linear(x, w, scales):
        q, scale = quantize(x, FP8_PER_TOKEN)
        return torch._scaled_mm(q, w.t(), scale, scales, out_dtype=BF16)

    def fn(h, norm, gate, up, scales):
        x = F.rms_norm(h, norm.shape, norm, 1e-5)
        return quantize(F.silu(linear(x, gate, scales)) * linear(x, up, scales), FP8_GROUP128)

    found = fused(fn, h, norm, gate, up, scales)
    groups = [lookup(joined.key) for joined in found.record.joined if joined.key]
    assert [group.parts.tile.form for group in groups] == ["pair"]
    assert found.calls.count("epiq.row_program.default") == 1
    assert [call for call in found.calls if "aten" in call] == []
    q, scale = quantize(F.rms_norm(h, norm.shape, norm, 1e-5), FP8_PER_TOKEN)
    one, other = (our_product(q, w.t(), scale, scales) for w in (gate, up))
    assert_same(found.results, quantize(F.silu(one) * other, FP8_GROUP128))


def test_the_library_is_what_runs_where_nothing_can_be_measured():
    x, w, r = seeded(M, K), seeded(N, K), seeded(M, N)

    def fn(x, w, r):
        return quantize(F.linear(x, w) + r, FP8_GROUP128)

    found = run_rewritten(fn, x, w, r)
    (decision,) = group_of(found).decisions
    assert (decision.chosen, decision.how) == ("library", "not measured: no GPU")
    apart = run_rewritten(fn, x, w, r, decide="library")
    assert apart.record.joined == () and "aten.mm.default" in apart.calls
    assert_same(found.results, apart.results)
    assert_near_eager(found.results, fn(x, w, r))


def test_token_counts_share_a_graph_and_are_decided_by_bucket():
    w = seeded(N, K)
    first = seeded(3, K)
    torch._dynamo.mark_dynamic(first, 0)
    found = fused(lambda x: quantize(F.linear(x, w), FP8_GROUP128), first)
    with torch.no_grad():
        for count in (7, 40):
            y = our_product(seeded(count, K), w.t())
            expected = quantize(y, FP8_GROUP128)
            assert_same(found.compiled(seeded(count, K)), expected)
        q, scale = lookup(found.record.joined[0].key)([torch.empty(0, K, dtype=BF16), w.t()])
    assert q.shape == (0, N) and scale.shape == (0, N // 128)
    assert [d.tokens for d in group_of(found).decisions] == [16, 64]


def qkv(x, w):
    q, k, v = F.linear(x, w).split([256, 128, 128], -1)
    return quantize(v, FP8_STATIC, scale=0.5), q, k


REFUSED = {
    "P1: bmm multiplies 2 pairs": (
        lambda x, w: quantize(torch.bmm(x.expand(2, M, K), w.t().expand(2, K, N)), FP8_GROUP128),
        (seeded(M, K), seeded(N, K)),
    ),
    "P1: addmm with beta = 0.5": (
        lambda x, w, b: quantize(torch.addmm(b, x, w.t(), beta=0.5), FP8_GROUP128),
        (seeded(M, K), seeded(N, K), seeded(N)),
    ),
    "P1: addmm adds a tensor of shape": (
        lambda x, w, b: quantize(torch.addmm(b, x, w.t()), FP8_GROUP128),
        (seeded(M, K), seeded(N, K), seeded(M, N)),
    ),
    r"P1: b.t\(\) must be contiguous along K": (
        lambda x, w: quantize(x @ w, FP8_GROUP128),
        (seeded(M, K), seeded(K, N)),
    ),
    "P1: .* bf16, f16 or float8_e4m3fn, got torch.float32": (
        lambda x, w: quantize(F.linear(x, w), FP8_GROUP128),
        (seeded(M, K, dtype=torch.float32), seeded(N, K, dtype=torch.float32)),
    ),
    "P2: the program reads columns 384 to 512 of 512": (qkv, (seeded(M, K), seeded(N, K))),
    "P3: another input of the program is computed from mm": (
        lambda x, w: quantize((y := F.linear(x, w)) + torch.cumsum(y, 0).to(BF16), FP8_GROUP128),
        (seeded(M, K), seeded(N, K)),
    ),
    "P4: mm is read by other nodes": (
        lambda x, w: (quantize(silu_mul(y := F.linear(x, w)), FP8_GROUP128), y.sum()),
        (seeded(M, K), seeded(N, K)),
    ),
    "P5: quantize combines the whole row": (
        lambda x, w: quantize(F.linear(x, w), FP8_PER_TOKEN),
        (seeded(M, K), seeded(N, K)),
    ),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_no_group_where_a_rule_refuses(reason):
    fn, args = REFUSED[reason]
    found = fused(fn, *args)
    (joined,) = found.record.joined
    assert not joined.key
    import re

    assert re.match(reason, joined.reason), joined.reason
    assert "epiq.produced.default" not in found.calls
    apart = run_rewritten(fn, *args, decide="library").results
    flat, wanted = (torch.utils._pytree.tree_leaves(each) for each in (found.results, apart))
    assert_same(tuple(flat), tuple(wanted))
