"""Products joined with row programs on a GPU: each kernel that decisions choose among, and the choice."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from rewriting import run_rewritten

from epiq.formats import FP8_GROUP128, dequantize, quantize
from epiq.runtime.registry import lookup

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
BF16, E4M3 = torch.bfloat16, torch.float8_e4m3fn
K, N = 1024, 2048


def silu_mul(x, w, *scales):
    gate, up = product(x, w, scales).chunk(2, -1)
    return quantize(F.silu(gate) * up, FP8_GROUP128)


def pair(x, w, *scales):
    halves = [(half, scales[:1] + tuple(s for s in scales[1:])) for half in w.chunk(2)]
    one, other = (product(x, half.contiguous(), given) for half, given in halves)
    return quantize(F.silu(one) * other, FP8_GROUP128)


def norm(x, w, *scales):
    h = product(x, w, scales) + 1
    return quantize(F.rms_norm(h, (N,), None, 1e-5), FP8_GROUP128)


def product(x, w, scales):
    if not scales:
        return F.linear(x, w)
    return torch._scaled_mm(x, w.t(), *scales, out_dtype=BF16, use_fast_accum=True)


def given(scaled, tokens):
    torch.manual_seed(tokens)
    dtype = E4M3 if scaled else BF16
    x = torch.randn(tokens, K, device="cuda").to(dtype)
    w = torch.randn(N, K, device="cuda").to(dtype)
    scales = [torch.full((), 0.1, device="cuda") for _ in range(2)] if scaled else []
    return x, w, *scales


@pytest.mark.parametrize("tokens", [1, 77, 512])
@pytest.mark.parametrize("scaled", [False, True], ids=["mm", "scaled_mm"])
@pytest.mark.parametrize("fn", [silu_mul, pair, norm])
def test_each_kernel_computes_what_the_library_does(fn, scaled, tokens):
    """In FP8 a product of ours and one of cuBLAS round apart, which moves few values by a step."""
    args = given(scaled, tokens)
    found = run_rewritten(fn, *args, decide="library")
    expected = dequantize(*found.results, FP8_GROUP128, torch.float32)
    group = lookup(next(j.key for j in run_rewritten(fn, *args).record.joined if j.key))
    shapes = group.parts.producer
    inputs = [args[0], *(each.t() for each in (args[1].chunk(2) if shapes.num_results == 2 else args[1:2]))]
    inputs += list(args[2:])
    failed = {}
    for alternative in group.decider.alternatives[1:]:
        try:
            outputs = alternative.run(_in_order(group, inputs))
        except Exception as error:
            failed[alternative.name] = f"{type(error).__name__}: {error}"
            continue
        actual = dequantize(*outputs, FP8_GROUP128, torch.float32)
        assert float((actual - expected).norm() / expected.norm()) < 0.02, alternative.name
    assert len(failed) < len(group.decider.alternatives) - 1, failed


def _in_order(group, inputs):
    """The tensors by the shapes that were traced."""
    left = list(inputs)
    ordered = []
    for stand_in in group.parts.stand_ins:
        match = next(x for x in left if x.shape == stand_in.shape and x.dtype == stand_in.dtype)
        left = [x for x in left if x is not match]
        ordered.append(match)
    return ordered


def test_a_decision_is_measured_once_and_captured():
    args = given(True, 256)
    found = run_rewritten(silu_mul, *args)
    (joined,) = found.record.joined
    (decision,) = lookup(joined.key).decisions
    assert decision.how in ("measured", "measured before") and "library" in decision.times_us
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad(), torch.cuda.graph(graph):
        captured = found.compiled(*args)
    graph.replay()
    assert all(torch.equal(a.float(), b.float()) for a, b in zip(captured, found.results, strict=True))
