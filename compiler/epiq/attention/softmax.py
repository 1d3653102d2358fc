"""What the attention kernels share: which keys a query sees, and one step of the running softmax.

Scores are kept in base 2: exp(x) is exp2(x * log2(e)), and the factor log2(e) is part of what multiplies
the dot products anyway. Sums that a later fusion must not change are written as `tl.fma`.
"""

# Kernels are written in Triton's language, which has no types to annotate.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
# With FP8 probabilities the largest is 2^8, not 1: e4m3 then keeps more of the small ones. The sum of the
# row carries the same factor, so it cancels.
FP8_SHIFT = tl.constexpr(8.0)


@triton.jit
def key_range(
    first, last, len_k, left, right, LEFT: tl.constexpr, RIGHT: tl.constexpr, BLOCK_N: tl.constexpr
):
    """Where the keys of the queries first..last lie, in steps of BLOCK_N: begin, whole_begin, whole_end, end.

    Keys before `whole_begin` and from `whole_end` on are seen by some of the queries only. All but `end` are
    multiples of BLOCK_N, and none is before the one that precedes it.
    """
    begin = 0
    whole_begin = 0
    end = len_k
    whole_end = len_k // BLOCK_N * BLOCK_N
    if LEFT:
        begin = tl.maximum(first - left, 0) // BLOCK_N * BLOCK_N
        whole_begin = tl.cdiv(tl.maximum(last - left, 0), BLOCK_N) * BLOCK_N
    if RIGHT:
        end = tl.minimum(len_k, last + right + 1)
        whole_end = tl.maximum(tl.minimum(len_k, first + right + 1), 0) // BLOCK_N * BLOCK_N
    whole_begin = tl.minimum(whole_begin, tl.cdiv(tl.maximum(end, begin), BLOCK_N) * BLOCK_N)
    whole_end = tl.maximum(whole_end, whole_begin)
    return begin, whole_begin, whole_end, end


@triton.jit
def seen_keys(rows, cols, len_k, left, right, LEFT: tl.constexpr, RIGHT: tl.constexpr):
    """Which keys the queries see: those from `left` before the query to `right` after it.

    rows: where each query stands among the keys. cols: the keys.
    """
    seen = (cols < len_k)[None, :]
    if RIGHT:
        seen = seen & (cols[None, :] <= rows[:, None] + right)
    if LEFT:
        seen = seen & (cols[None, :] >= rows[:, None] - left)
    return seen


@triton.jit
def capped(scores, factor, softcap):
    """softcap * tanh(scores * factor / softcap); tanh(x) is 1 - 2 / (1 + exp(2 x))."""
    power = tl.exp2(scores * (factor * (2.0 * LOG2_E / softcap))[:, None])
    return tl.fma(-2.0 * softcap, 1.0 / (1.0 + power), softcap)


@triton.jit
def softmax_step(scores, factor, top, total, SHIFT: tl.constexpr, MASKED: tl.constexpr):
    """The probabilities of one more block of scores, and the running maximum and sum with it.

    Args: scores: (rows, keys) f32, -inf where masked. factor: (rows,), positive; scores times it are in
      base 2. top, total: of the blocks so far, in base 2.
    Returns: probabilities, 2^SHIFT times too large; what multiplies earlier results; top; total.
    """
    new_top = tl.maximum(top, tl.max(scores, 1) * factor)
    # A row without keys so far has no maximum to subtract.
    level = tl.where(new_top == float("-inf"), 0.0, new_top) if MASKED else new_top
    factors = tl.broadcast_to(factor[:, None], scores.shape)
    shifts = tl.broadcast_to((SHIFT - level)[:, None], scores.shape)
    probabilities = tl.exp2(tl.fma(scores, factors, shifts))
    correction = tl.exp2(top - level)
    return probabilities, correction, new_top, tl.fma(total, correction, tl.sum(probabilities, 1))


@triton.jit
def mean(acc, total, v_scale):
    """The weighted mean of the values; zero for a query that sees no key."""
    return acc * (v_scale / tl.where(total == 0.0, 1.0, total))[:, None]
