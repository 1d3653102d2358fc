"""Attention over whole sequences as a plain Triton kernel that stores its result.

It knows of no epilogue: `epiq.fuse` adds it where the result would be stored. Q is (batch, tokens, heads,
D), K and V have fewer heads, each for GROUP of Q's; all are read through tensor descriptors, which give
zeros beyond their edges. Sequences are the batch, or, VARLEN, pieces of one row of tokens that start at
`cu_q[i]` and `cu_k[i]`. A tile has BLOCK_M queries: BLOCK_M / PACK tokens of PACK neighbouring heads, which
share their keys. Stored, it is BLOCK_M / PACK rows of PACK * D_V columns.

A head dim that is no power of two is D + D_TAIL, the sum of two (192 = 128 + 64), with descriptors of its
own for the tail; D_V columns of V lie in BLOCK_V, the next power of two.

Q_SCALE, K_SCALE and V_SCALE say what the FP8 operands are multiplied by: "none", "head" (one number a
head, or the same for all), "token" (one a token and head).
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import triton
import triton.language as tl

from epiq.attention.softmax import FP8_SHIFT, LOG2_E, capped, key_range, mean, seen_keys, softmax_step


@triton.jit
def _load(desc, batch, row, head, col, ROWS: tl.constexpr, HEADS: tl.constexpr, COLS: tl.constexpr):
    """ROWS rows, those of a token's HEADS heads next to each other."""
    return tl.reshape(desc.load([batch, row, head, col]), (ROWS * HEADS, COLS))


@triton.jit
def _query_factor(
    q_scale, k_scale, softmax_scale, token, head, kv_head, last_token, stride_qst, stride_qsh, stride_ksh,
    Q_SCALE: tl.constexpr, K_SCALE: tl.constexpr, BLOCK_M: tl.constexpr, PACK: tl.constexpr,
):  # fmt: skip
    """What multiplies the dot products of each query: the softmax scale and what scales of Q and K do not
    vary with the key."""
    queries = tl.arange(0, BLOCK_M)
    factor = tl.zeros((BLOCK_M,), dtype=tl.float32) + softmax_scale
    if Q_SCALE != "none":
        tokens = tl.minimum(token + queries // PACK, last_token)
        places = tokens.to(tl.int64) * stride_qst + (head + queries % PACK) * stride_qsh
        factor = factor * tl.load(q_scale + places)
    if K_SCALE == "head":
        factor = factor * tl.load(k_scale + kv_head * stride_ksh)
    return factor


@triton.jit
def _attend(
    acc, top, total, q, q_tail, k_desc, k_tail_desc, v_desc, k_scale, v_scale, stride_kst, stride_vst,
    factor, softcap, rows, batch, first_key, kv_head, first_kv_token, len_k, left, right, begin, end,
    LEFT: tl.constexpr, RIGHT: tl.constexpr, SOFTCAP: tl.constexpr, K_SCALE: tl.constexpr,
    V_SCALE: tl.constexpr, D: tl.constexpr, D_TAIL: tl.constexpr, BLOCK_V: tl.constexpr,
    BLOCK_N: tl.constexpr, SHIFT: tl.constexpr, VARLEN: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """The running softmax over the keys begin..end."""
    for start in tl.range(begin, end, BLOCK_N):
        cols = start + tl.arange(0, BLOCK_N)
        k = _load(k_desc, batch, first_key + start, kv_head, 0, BLOCK_N, 1, D)
        scores = tl.dot(q, k.T)
        if D_TAIL:
            k_tail = _load(k_tail_desc, batch, first_key + start, kv_head, D, BLOCK_N, 1, D_TAIL)
            scores = tl.dot(q_tail, k_tail.T, scores)
        if K_SCALE == "token":
            inside = cols < len_k
            by_key = tl.load(k_scale + (first_kv_token + cols).to(tl.int64) * stride_kst, inside, other=0.0)
            scores = scores * by_key[None, :]
        if SOFTCAP:
            scores = capped(scores, factor, softcap)
        if MASKED:
            seen = seen_keys(rows, cols, len_k, left, right, LEFT, RIGHT)
            scores = tl.where(seen, scores, float("-inf"))
        power = tl.full(factor.shape, LOG2_E, tl.float32) if SOFTCAP else factor * LOG2_E
        p, correction, top, total = softmax_step(scores, power, top, total, SHIFT, MASKED)
        acc = acc * correction[:, None]
        v = _load(v_desc, batch, first_key + start, kv_head, 0, BLOCK_N, 1, BLOCK_V)
        if V_SCALE == "token":
            inside = cols < len_k
            by_key = tl.load(v_scale + (first_kv_token + cols).to(tl.int64) * stride_vst, inside, other=0.0)
            v = (v.to(tl.float32) * by_key[:, None]).to(tl.bfloat16)
        if MASKED and VARLEN:
            # What follows the sequence may be NaN, which a probability of zero does not hide.
            v = tl.where((cols < len_k)[:, None], v.to(tl.float32), 0.0).to(v.dtype)
        acc = tl.dot(p.to(v.dtype), v, acc)
    return acc, top, total


@triton.jit
def attention(
    q_desc, q_tail_desc, k_desc, k_tail_desc, v_desc, o_ptr, q_scale, k_scale, v_scale, sinks, cu_q, cu_k,
    softmax_scale, softcap, left, right, seq_q, seq_k, stride_ot, stride_qst, stride_qsh, stride_kst,
    stride_ksh, stride_vst, stride_vsh,
    HEADS: tl.constexpr, GROUP: tl.constexpr, PACK: tl.constexpr, LEFT: tl.constexpr, RIGHT: tl.constexpr,
    SOFTCAP: tl.constexpr, SINKS: tl.constexpr, VARLEN: tl.constexpr, Q_SCALE: tl.constexpr,
    K_SCALE: tl.constexpr, V_SCALE: tl.constexpr, D: tl.constexpr, D_TAIL: tl.constexpr, D_V: tl.constexpr,
    BLOCK_V: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """One tile a program; the grid is (HEADS / PACK * sequences, tiles of a sequence).

    stride_ot: between tokens of the output, whose heads lie side by side. left, right: how many keys before
    and after its own place a query sees, where LEFT and RIGHT say that there is such a limit; the last query
    stands at the last key. seq_q, seq_k: tokens of a sequence, without VARLEN.
    """
    head = tl.program_id(0) % (HEADS // PACK) * PACK
    kv_head = head // GROUP
    sequence = tl.program_id(0) // (HEADS // PACK)
    # The tiles with the most keys come first, so that short ones fill the end of the launch.
    row = (tl.num_programs(1) - 1 - tl.program_id(1)) * (BLOCK_M // PACK)
    if VARLEN:
        first_query = tl.load(cu_q + sequence)
        first_key = tl.load(cu_k + sequence)
        len_q = tl.load(cu_q + sequence + 1) - first_query
        len_k = tl.load(cu_k + sequence + 1) - first_key
        first_token, first_kv_token, batch = first_query, first_key, 0
    else:
        first_query, first_key, len_q, len_k = 0, 0, seq_q, seq_k
        first_token, first_kv_token, batch = sequence * seq_q, sequence * seq_k, sequence
    if row < len_q:
        queries = tl.arange(0, BLOCK_M) // PACK
        at = row + len_k - len_q
        q = _load(q_desc, batch, first_query + row, head, 0, BLOCK_M // PACK, PACK, D)
        q_tail = q
        if D_TAIL:
            q_tail = _load(q_tail_desc, batch, first_query + row, head, D, BLOCK_M // PACK, PACK, D_TAIL)
        factor = _query_factor(
            q_scale, k_scale, softmax_scale, first_token + row, head, kv_head, first_token + len_q - 1,
            stride_qst, stride_qsh, stride_ksh, Q_SCALE, K_SCALE, BLOCK_M, PACK,
        )  # fmt: skip
        SHIFT: tl.constexpr = FP8_SHIFT if v_desc.dtype.is_fp8() and V_SCALE != "token" else 0.0
        top = tl.full((BLOCK_M,), float("-inf"), tl.float32)
        total = tl.zeros((BLOCK_M,), tl.float32)
        if SINKS:
            sink = tl.load(sinks + head + tl.arange(0, BLOCK_M) % PACK).to(tl.float32)
            top = sink * LOG2_E
            total += tl.exp2(tl.full((1,), SHIFT, tl.float32))
        acc = tl.zeros((BLOCK_M, BLOCK_V), tl.float32)
        k_scales = k_scale + kv_head * stride_ksh if K_SCALE == "token" else k_scale
        v_scales = v_scale + kv_head * stride_vsh if V_SCALE == "token" else v_scale
        begin, whole_begin, whole_end, end = key_range(
            at, at + BLOCK_M // PACK - 1, len_k, left, right, LEFT, RIGHT, BLOCK_N
        )
        if LEFT:
            acc, top, total = _attend(
                acc, top, total, q, q_tail, k_desc, k_tail_desc, v_desc, k_scales, v_scales, stride_kst,
                stride_vst, factor, softcap, at + queries, batch, first_key, kv_head, first_kv_token, len_k,
                left, right, begin, whole_begin, LEFT, RIGHT, SOFTCAP, K_SCALE, V_SCALE, D, D_TAIL, BLOCK_V,
                BLOCK_N, SHIFT, VARLEN, True,
            )  # fmt: skip
        acc, top, total = _attend(
            acc, top, total, q, q_tail, k_desc, k_tail_desc, v_desc, k_scales, v_scales, stride_kst,
            stride_vst, factor, softcap, at + queries, batch, first_key, kv_head, first_kv_token, len_k,
            left, right, whole_begin, whole_end, LEFT, RIGHT, SOFTCAP, K_SCALE, V_SCALE, D, D_TAIL, BLOCK_V,
            BLOCK_N, SHIFT, VARLEN, False,
        )  # fmt: skip
        acc, top, total = _attend(
            acc, top, total, q, q_tail, k_desc, k_tail_desc, v_desc, k_scales, v_scales, stride_kst,
            stride_vst, factor, softcap, at + queries, batch, first_key, kv_head, first_kv_token, len_k,
            left, right, whole_end, end, LEFT, RIGHT, SOFTCAP, K_SCALE, V_SCALE, D, D_TAIL, BLOCK_V,
            BLOCK_N, SHIFT, VARLEN, True,
        )  # fmt: skip
        by_head = tl.load(v_scale + kv_head * stride_vsh) if V_SCALE == "head" else 1.0
        o = mean(acc, total, by_head).to(o_ptr.dtype.element_ty)
        _store(o, o_ptr, stride_ot, first_token, row, head, len_q, PACK, D_V, BLOCK_M, BLOCK_V)


@triton.jit
def _store(
    o, o_ptr, stride_ot, first_token, row, head, len_q,
    PACK: tl.constexpr, D_V: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    """A tile as rows of tokens."""
    ROWS: tl.constexpr = BLOCK_M // PACK
    rows = row + tl.arange(0, ROWS)
    cols = tl.arange(0, PACK * BLOCK_V)
    o_ptrs = o_ptr + (first_token + rows).to(tl.int64)[:, None] * stride_ot + head * D_V + cols[None, :]
    inside = (rows < len_q)[:, None]
    if D_V != BLOCK_V:
        inside = inside & (cols < D_V)[None, :]
    tl.store(o_ptrs, tl.reshape(o, (ROWS, PACK * BLOCK_V)), mask=inside)
