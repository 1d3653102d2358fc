"""Rotary embedding, quantization and cache write become one kernel that writes the cache in place."""

from __future__ import annotations

from functools import partial

import pytest
import rope_models
import torch
from rewriting import run_rewritten
from rope_models import E4M3, STYLES, norm_rope_inputs, rope_inputs
from torch._inductor.utils import run_and_get_code

from epiq.frontend import capture


def compiled(style: str):
    torch._dynamo.reset()
    return torch.compile(partial(rope_models.rope_cache, style), backend="epiq")


def assert_same(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """Nothing is rounded elsewhere than in eager, so that nothing differs at all."""
    assert torch.equal(found.view(torch.uint8), wanted.view(torch.uint8))


@pytest.mark.parametrize(("style", "cache_dtype"), [("chunks", torch.bfloat16), ("pairs", E4M3)])
def test_one_kernel_writes_the_cache_in_place(style, cache_dtype):
    """A second call finds what the first wrote; another number of tokens compiles again, or not."""
    fast = compiled(style)
    caches = rope_inputs(5, cache_dtype)[3:5]
    expected = [cache.clone() for cache in caches]
    for num_tokens in (5, 7, 1):
        given = rope_inputs(num_tokens, cache_dtype)
        with torch.no_grad():
            wanted = rope_models.rope_cache(style, *given[:3], *expected, *given[5:])
            found = fast(*given[:3], *caches, *given[5:])
        assert_same(found, wanted)
        for cache, other in zip(caches, expected, strict=True):
            assert_same(cache, other)


def check_rewritten(model, given):
    """One program computes all of it, and its bits are those of eager; Inductor takes no part."""
    eager = [x.clone() for x in given]
    with torch.no_grad():
        wanted = model(*eager)
    found = run_rewritten(model, *given)
    (program,) = found.record.used
    assert len(program.segment_widths) == 3
    assert all(remark.startswith("fused") for remark in found.remarks), found.remarks
    results = [(x,) if isinstance(x, torch.Tensor) else x for x in (found.results, wanted)]
    for mine, theirs in zip((*results[0], *given[3:5]), (*results[1], *eager[3:5]), strict=True):
        assert_same(mine, theirs)


@pytest.mark.parametrize("cache_dtype", [torch.bfloat16, E4M3], ids=["bf16", "e4m3"])
@pytest.mark.parametrize("style", STYLES)
def test_bits_are_those_of_eager(style, cache_dtype):
    """Also with a slot that counts from the end."""
    given = rope_inputs(6, cache_dtype)
    given[5][2] -= rope_models.BLOCKS * rope_models.BLOCK_SIZE
    check_rewritten(partial(rope_models.rope_cache, style), given)


@pytest.mark.parametrize("dims", [32, 16], ids=["whole", "partial"])
@pytest.mark.parametrize("style", STYLES)
def test_heads_normalized_before_and_scaled_after(style, dims):
    """Qwen3's norm of each head, rotary dims that are part of a head, scales of tokens and heads for q."""
    check_rewritten(partial(rope_models.norm_rope_cache, style), norm_rope_inputs(6, dims))


@pytest.mark.parametrize("style", STYLES)
def test_everything_is_in_one_program(style):
    (record,) = capture(partial(rope_models.rope_cache, style), *rope_inputs(5))
    (program,) = record.used
    assert len(program.segment_widths) == 3
    assert len(program.buffers) == 2
    assert not record.refused


def test_no_tokens_leave_the_cache_alone():
    fast = compiled("chunks")
    given = rope_inputs(0)
    before = given[3].clone()
    with torch.no_grad():
        found = fast(*given)
    assert found.shape == (0, rope_models.HEADS, rope_models.HEAD_DIM)
    assert torch.equal(given[3], before)


def test_a_later_reader_of_the_old_cache_gets_the_old_cache():
    """What is read beside the write is read before it, whatever is in place."""

    def model(*given):
        before = given[3] * 1.0
        q = rope_models.rope_cache("chunks", *given)
        return q, before, given[3] * 1.0

    torch._dynamo.reset()
    given = rope_inputs(6)
    eager = [x.clone() for x in given]
    with torch.no_grad():
        wanted = model(*eager)
        found = torch.compile(model, backend="epiq")(*given)
    for a, b in zip((*found, given[3]), (*wanted, eager[3]), strict=True):
        assert_same(a, b)


@pytest.mark.parametrize("how", ["unbind", "index"])
def test_keys_and_values_in_one_tensor(how):
    """Both are parts of one base, which no op of torch copies or writes."""
    model, given = partial(rope_models.in_one, "chunks", how), rope_models.in_one_inputs(6)
    eager = [x.clone() for x in given]
    with torch.no_grad():
        wanted = model(*eager)
    found = run_rewritten(model, *given)
    assert len(found.record.used) == 1
    assert found.calls == ["auto_functionalized_v2"]
    assert_same(found.results, wanted)
    assert_same(given[3], eager[3])


def test_parts_of_a_cache_are_written_in_place():
    """Also of one that does not start where its memory does, and read in between."""

    def model(*given):
        between = given[3][0, 0].float()
        q = rope_models.in_one("chunks", "unbind", *given)
        return q, between, given[3][0, 0].float(), given[3][1, 1].float()

    torch._dynamo.reset()
    given = rope_models.in_one_inputs(6)
    given[3] = torch.stack((torch.zeros_like(given[3]), given[3].flip(1)))[1]
    eager = [x.clone() for x in given]
    with torch.no_grad():
        wanted = model(*eager)
        found, (code,) = run_and_get_code(torch.compile(model, backend="epiq"), *given)
    for a, b in zip((*found, given[3]), (*wanted, eager[3]), strict=True):
        assert_same(a, b)
    shape = ", ".join(map(str, given[3].shape))
    assert "row_program_update" in code
    # A copy would be allocated in one of these shapes.
    assert f"empty_strided_cpu(({shape})" not in code
    assert f"empty_strided_cpu(({given[3].numel()}, )" not in code


@pytest.mark.parametrize(("read", "rule"), [(0, "L10"), (1, "E6")])
def test_a_cache_that_is_read_as_well(read, rule):
    """Its first part is written; rows of a table are read from that, or from the other: these come first."""

    def model(*given):
        table = given[3][read].view(-1, rope_models.HEAD_DIM)
        return rope_models.rope_cache("chunks", *given[:2], table, given[3][0], *given[4:])

    given = rope_inputs(6)
    given[3] = torch.stack(given[3:5])
    eager = [x.clone() for x in given]
    with torch.no_grad():
        wanted = model(*eager)
    found = run_rewritten(model, *given)
    assert rule in str((found.remarks, found.record.refused))
    assert_same(found.results, wanted)
    assert_same(given[3], eager[3])
    assert_same(given[4], eager[4])
