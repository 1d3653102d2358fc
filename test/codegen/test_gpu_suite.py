"""Fused kernels on a GPU: fused and unfused give the same bits, and eager's up to the order of its sums.

The programs are those of examples/bench. `pytest -m gpu test` runs this and every other test that needs a
GPU.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest
import torch

import epiq.formats as formats
from epiq.codegen import Target
from epiq.formats import quantize

BENCH = Path(__file__).parents[2] / "examples" / "bench"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(Target.current() is None, reason="needs a CUDA device of sm_90 or sm_100"),
]
WIDTHS = (256, 4096, 5120, 7168)
TOKENS = (3, 64, 1000)


@pytest.fixture(scope="module")
def bench():
    """The benchmark's module, for its programs and bounds."""
    sys.path.insert(0, str(BENCH))
    import row_programs

    yield row_programs
    sys.path.remove(str(BENCH))


@pytest.fixture(autouse=True)
def fresh_dynamo():
    torch._dynamo.reset()


@pytest.fixture(autouse=True, scope="module")
def inference():
    with torch.no_grad():
        yield


def with_any_tokens(inputs):
    """Marks the tokens of row inputs as a dimension that changes, so that one compilation takes all."""
    for x in inputs:
        if x.dim() == 2:
            torch._dynamo.mark_dynamic(x, 0)
    return inputs


def compiled(fn, *, fuse=True, **options):
    # Tuning may choose another number of warps, and with it another order of a sum.
    fixed = {"epiq.strict": True, "epiq.autotune": "off"}
    options = {**fixed, "epiq.fail_on_unfused": fuse, "epiq.fuse": fuse, **options}
    return torch.compile(fn, backend="epiq", fullgraph=True, options=options)


INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32}


def assert_bits(got, want):
    """Equal bytes; NaNs may differ in sign (NUMERICS.md, N5)."""
    for mine, theirs in zip(got, want, strict=True):
        assert mine.shape == theirs.shape and mine.dtype == theirs.dtype
        nan = theirs.float().isnan()
        assert torch.equal(mine.float().isnan(), nan)
        integer = INTEGERS[mine.element_size()]
        bits = [one.contiguous().view(integer).masked_fill(nan, 0) for one in (mine, theirs)]
        assert torch.equal(*bits)


PROGRAMS = (
    "add_rms_norm_group",
    "add_rms_norm_group_columns",
    "add_rms_norm_static",
    "add_rms_norm_token",
    "silu_mul_group",
    "silu_mul_group_columns",
)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_fused_is_unfused_and_eager_is_near(bench, name, width):
    """One compilation for many numbers of tokens, and one for a single token."""
    program = bench.PROGRAMS[name]
    fused, unfused = compiled(program.fn), compiled(program.fn, fuse=False)
    for seed, tokens in enumerate((*TOKENS, 1) if width == 4096 else TOKENS):
        inputs = program.inputs(tokens, width, "cuda", seed)
        if tokens > 1:
            with_any_tokens(inputs)
        got, eager = fused(*inputs), program.fn(*inputs)
        found = bench.compare(got, eager)
        # Of few bytes, a single flipped one is more than the share that many are held to.
        few = tokens * width < 100_000
        assert bench.within_bounds(found) or (few and found["scale_error"] <= 2.0**-7), found
        assert_bits(got, unfused(*inputs))


FORMATS = (
    formats.FP8_GROUP128,
    dataclasses.replace(formats.FP8_GROUP128, scale_layout="column_major"),
    formats.FP8_PER_TOKEN,
    formats.FP8_STATIC,
)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: f"{fmt.name}-{fmt.scale_layout}")
def test_plain_quantization_is_the_reference_bit_for_bit(fmt, dtype):
    """No sum, hence no order of sums: relu and quantize are exact, special values included."""
    scale = torch.full((), 0.02, device="cuda") if fmt.static else None

    def fn(x):
        return quantize(torch.relu(x), fmt, scale=scale)[: 1 if fmt.static else 2]

    fused = compiled(fn)
    for tokens in (2, 37, 512):
        x = torch.randn(tokens, 1024, device="cuda").to(dtype)
        x[0] = 0.0
        x[1, 7], x[1, 300] = float("nan"), float("inf")
        with_any_tokens((x,))
        assert_bits(fused(x), fn(x))


def test_strided_and_empty_inputs(bench):
    program = bench.PROGRAMS["add_rms_norm_group"]
    x, r, w = program.inputs(32, 8192, "cuda", 0)
    x, r, w = x[:, :4096], r[:, 4096:], w[:4096]
    assert not x.is_contiguous()
    fused = compiled(program.fn)
    assert_bits(fused(x, r, w), compiled(program.fn, fuse=False)(x.contiguous(), r.contiguous(), w))
    empty = fused(x[:0], r[:0], w)
    assert [tuple(out.shape) for out in empty] == [(0, 4096), (0, 4096), (0, 32)]


def test_graph_replays_follow_their_inputs(bench):
    program = bench.PROGRAMS["add_rms_norm_group_columns"]
    inputs = program.inputs(128, 4096, "cuda", 0)
    fused = compiled(program.fn)
    fused(*inputs)
    from measure import Graph

    graph = Graph(lambda: fused(*inputs))
    for kept, new in zip(inputs, program.inputs(128, 4096, "cuda", 1), strict=True):
        kept.copy_(new)
    graph.poison()
    graph.replay()
    torch.cuda.synchronize()
    assert_bits(graph.outputs, fused(*inputs))


def test_cuda_graph_trees(bench):
    """mode="reduce-overhead" lets Inductor make the graphs."""
    program = bench.PROGRAMS["silu_mul_group"]
    fused = torch.compile(program.fn, backend="epiq", mode="reduce-overhead", fullgraph=True)
    for seed in range(4):
        inputs = program.inputs(64, 2048, "cuda", seed)
        torch.compiler.cudagraph_mark_step_begin()
        assert bench.within_bounds(bench.compare(fused(*inputs), program.fn(*inputs)))


def test_other_streams(bench):
    program = bench.PROGRAMS["silu_mul_group"]
    fused = compiled(program.fn)
    inputs = program.inputs(256, 4096, "cuda", 0)
    want = fused(*inputs)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        got = fused(*inputs)
    stream.synchronize()
    assert_bits(got, want)


def test_many_rows_need_64_bit_offsets(bench):
    """More than 2^31 elements: a 32-bit row offset would wrap."""
    rows, width = 2**19 + 3, 4096
    if torch.cuda.mem_get_info()[0] < 24 << 30:
        pytest.skip("needs 24 GiB of free GPU memory")
    gate_up = torch.zeros(rows, 2 * width, dtype=torch.bfloat16, device="cuda")
    gate_up[-3:] = torch.randn(3, 2 * width, device="cuda").bfloat16()
    program = bench.PROGRAMS["silu_mul_group"]
    q, scale = compiled(program.fn)(gate_up)
    want_q, want_scale = compiled(program.fn)(gate_up[-3:].clone())
    assert_bits((q[-3:], scale[-3:]), (want_q, want_scale))
