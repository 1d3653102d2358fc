"""Attention of a few queries over a cache: one kernel for a part of the keys, one to combine parts.

Keys and values lie in pages of PAGE tokens; row i of the block table names the pages of sequence i, in
order. Where PAGE is 0 a sequence is one page, in its place, of `seq_k` keys. All PACK query heads (GROUP of
them real) that share a head of keys are rows of one tile, so that each key is read once. The keys of a
sequence are cut into SPLITS parts for as many programs; each stores the mean over its part in f32 and its
weight, and `combine` makes the output of them: that is where `epiq.fuse` puts an epilogue. DIRECT, with one
part, the first kernel stores the output itself.

The kernels trust the block table: a page number outside the cache reads outside it. The executor reports
such a read; a GPU may not.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import triton
import triton.language as tl

from epiq.attention.softmax import LOG2_E, capped, key_range, mean, seen_keys, softmax_step


@triton.jit
def _slots(table, start, end, stride_page, stride_token, PAGE: tl.constexpr, BLOCK_N: tl.constexpr):
    """Where the tokens start .. start + BLOCK_N of a sequence lie in the cache, or in its part of it."""
    if PAGE == 0:
        slots = start.to(tl.int64) * stride_token + tl.arange(0, BLOCK_N) * stride_token
    elif PAGE % BLOCK_N == 0:
        page = tl.load(table + start // PAGE).to(tl.int64)
        slots = page * stride_page + (start % PAGE + tl.arange(0, BLOCK_N)) * stride_token
    else:
        cols = start + tl.arange(0, BLOCK_N)
        pages = tl.load(table + cols // PAGE, mask=cols < end, other=0).to(tl.int64)
        slots = pages * stride_page + cols % PAGE * stride_token
    return slots


@triton.jit
def _rows_of(ptr, slots, inside, first, D: tl.constexpr, COLS: tl.constexpr):
    """Columns first .. first + COLS of the tokens at `slots`; zeros past the last of D, and outside."""
    dims = first + tl.arange(0, COLS)
    wanted = inside[:, None]
    if (first + COLS) > D:
        wanted = wanted & (dims < D)[None, :]
    return tl.load(ptr + slots[:, None] + dims[None, :], mask=wanted, other=0.0)


@triton.jit
def _added(bias_rows, cols, inside, stride_bk, BIAS: tl.constexpr):
    """What a mask adds to the scores, in base 2, of the keys `cols`: a bool one 0 or -inf.

    bias_rows: where the mask's rows start, one for each row of scores, or one for all.
    """
    places = bias_rows[:, None] + (cols.to(tl.int64) * stride_bk)[None, :]
    if BIAS == "seen":
        seen = tl.load(places, mask=inside[None, :], other=0) != 0
        added = tl.where(seen, 0.0, float("-inf"))
    else:
        added = tl.load(places, mask=inside[None, :], other=0.0).to(tl.float32)
        # The least number of a dtype is not -inf: a row of nothing else is the mean of all values.
        added = tl.where(added == float("-inf"), added, tl.maximum(added * LOG2_E, -3e38))
    return added


@triton.jit
def _attend(
    acc, top, total, q, q_tail, k_ptr, v_ptr, table, k_scale, v_scale, bias_rows, stride_kp, stride_kt,
    stride_vp, stride_vt, stride_ksp, stride_kst, stride_vsp, stride_vst, stride_bk, factor, softcap, rows,
    len_k, left, right, begin, end, LEFT: tl.constexpr, RIGHT: tl.constexpr, SOFTCAP: tl.constexpr,
    K_SCALE: tl.constexpr, V_SCALE: tl.constexpr, PAGE: tl.constexpr, D: tl.constexpr, D_TAIL: tl.constexpr,
    D_V: tl.constexpr, BLOCK_V: tl.constexpr, BLOCK_N: tl.constexpr, VALUES: tl.constexpr,
    BIAS: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """The running softmax over the keys begin..end; VALUES is the dtype that values are multiplied in."""
    for start in tl.range(begin, end, BLOCK_N):
        cols = start + tl.arange(0, BLOCK_N)
        inside = cols < end
        slots = _slots(table, start, end, stride_kp, stride_kt, PAGE, BLOCK_N)
        k = _rows_of(k_ptr, slots, inside, 0, D + D_TAIL, D)
        scores = tl.dot(q, k.to(q.dtype).T)
        if D_TAIL:
            k_tail = _rows_of(k_ptr, slots, inside, D, D + D_TAIL, D_TAIL)
            scores = tl.dot(q_tail, k_tail.to(q.dtype).T, scores)
        if K_SCALE == "token":
            places = _slots(table, start, end, stride_ksp, stride_kst, PAGE, BLOCK_N)
            scores = scores * tl.load(k_scale + places, mask=inside, other=0.0)[None, :]
        if SOFTCAP:
            scores = capped(scores, factor, softcap)
        if BIAS != "none":
            added = tl.broadcast_to(_added(bias_rows, cols, inside, stride_bk, BIAS), scores.shape)
            base_2 = tl.full(factor.shape, LOG2_E, tl.float32) if SOFTCAP else factor * LOG2_E
            scores = tl.fma(scores, tl.broadcast_to(base_2[:, None], scores.shape), added)
        if MASKED:
            seen = seen_keys(rows, cols, len_k, left, right, LEFT, RIGHT) & inside[None, :]
            scores = tl.where(seen, scores, float("-inf"))
        if BIAS != "none":
            power = tl.full(factor.shape, 1.0, tl.float32)
        else:
            power = tl.full(factor.shape, LOG2_E, tl.float32) if SOFTCAP else factor * LOG2_E
        p, correction, top, total = softmax_step(scores, power, top, total, 0.0, MASKED)
        slots = _slots(table, start, end, stride_vp, stride_vt, PAGE, BLOCK_N)
        v = _rows_of(v_ptr, slots, inside, 0, D_V, BLOCK_V)
        if V_SCALE == "token":
            places = _slots(table, start, end, stride_vsp, stride_vst, PAGE, BLOCK_N)
            v = v.to(tl.float32) * tl.load(v_scale + places, mask=inside, other=0.0)[:, None]
        acc = tl.dot(p.to(VALUES), v.to(VALUES), acc * correction[:, None])
    return acc, top, total


@triton.jit
def attention_part(
    q_ptr, k_ptr, v_ptr, o_ptr, partials, weights, q_scale, k_scale, v_scale, sinks, table, lengths, cu_q,
    bias, softmax_scale, softcap, left, right, seq_q, seq_k, num_tokens, stride_table, stride_qs, stride_qt,
    stride_qh,
    stride_kp, stride_kt, stride_kh, stride_vp, stride_vt, stride_vh, stride_ot, stride_qst,
    stride_qsh, stride_ksp, stride_kst, stride_ksh, stride_vsp, stride_vst, stride_vsh, stride_bs,
    stride_bh, stride_bq, stride_bk,
    HEADS: tl.constexpr, GROUP: tl.constexpr, PACK: tl.constexpr, PACKS: tl.constexpr, SPLITS: tl.constexpr,
    DIRECT: tl.constexpr, LEFT: tl.constexpr, RIGHT: tl.constexpr, SOFTCAP: tl.constexpr,
    SINKS: tl.constexpr, VARLEN: tl.constexpr, Q_SCALE: tl.constexpr, K_SCALE: tl.constexpr,
    V_SCALE: tl.constexpr, VALUES: tl.constexpr, PAGE: tl.constexpr, D: tl.constexpr, D_TAIL: tl.constexpr,
    D_V: tl.constexpr, BLOCK_V: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    BIAS: tl.constexpr, ONE_BIAS: tl.constexpr,
):  # fmt: skip
    """The grid is (heads of keys * PACKS * SPLITS, sequences, tiles of a sequence).

    table: (sequences, pages). lengths: (sequences,), of the keys; without pages, all have `seq_k`. bias:
    (sequences, HEADS, seq_q, seq_k), BIAS "seen": bool, or "added" to scaled scores; "none" without.
    ONE_BIAS: it is the same for all rows of a tile. Queries are `seq_q` a sequence or, VARLEN, those from
    `cu_q[i]` to `cu_q[i + 1]`; the last one stands at the last key. q_ptr, o_ptr: tokens at stride_qt and
    stride_ot, sequences of q at stride_qs. partials: (SPLITS, num_tokens, HEADS, D_V), f32, means. weights:
    (2, SPLITS, num_tokens, HEADS), f32, the largest score in base 2 and the sum of exponentials relative to
    it; two, as the logarithm of the sum would be nothing beside a large score.
    """
    split = tl.program_id(0) % SPLITS
    pack = tl.program_id(0) // SPLITS % PACKS
    kv_head = tl.program_id(0) // (SPLITS * PACKS)
    head = kv_head * GROUP + pack * PACK
    sequence = tl.program_id(1)
    row = tl.program_id(2) * (BLOCK_M // PACK)
    len_k = tl.load(lengths + sequence) if PAGE > 0 else seq_k
    if VARLEN:
        first_token = tl.load(cu_q + sequence)
        len_q = tl.load(cu_q + sequence + 1) - first_token
    else:
        first_token, len_q = sequence * seq_q, seq_q
    if row < len_q:
        queries = tl.arange(0, BLOCK_M) // PACK
        heads = tl.arange(0, BLOCK_M) % PACK
        is_query = (row + queries < len_q) & (pack * PACK + heads < GROUP)
        tokens = (first_token + row + queries).to(tl.int64)
        at = row + len_k - len_q
        q_rows = (row + queries).to(tl.int64) * stride_qt + (head + heads) * stride_qh
        q_rows += first_token.to(tl.int64) * stride_qt if VARLEN else sequence.to(tl.int64) * stride_qs
        q = _rows_of(q_ptr, q_rows, is_query, 0, D + D_TAIL, D)
        q_tail = _rows_of(q_ptr, q_rows, is_query, D, D + D_TAIL, D_TAIL) if D_TAIL else q
        factor = tl.zeros((BLOCK_M,), dtype=tl.float32) + softmax_scale
        if Q_SCALE != "none":
            places = q_scale + tokens * stride_qst + (head + heads) * stride_qsh
            factor = factor * tl.load(places, mask=is_query, other=1.0)
        if K_SCALE == "head":
            factor = factor * tl.load(k_scale + kv_head * stride_ksh)
        top = tl.full((BLOCK_M,), float("-inf"), tl.float32)
        total = tl.zeros((BLOCK_M,), tl.float32)
        if SINKS and DIRECT:
            top = tl.load(sinks + head + heads, mask=is_query, other=0.0).to(tl.float32) * LOG2_E
            total = tl.full((BLOCK_M,), 1.0, tl.float32)
        acc = tl.zeros((BLOCK_M, BLOCK_V), tl.float32)
        begin, _, whole_end, end = key_range(
            at, at + BLOCK_M // PACK - 1, len_k, left, right, LEFT, RIGHT, BLOCK_N
        )
        if SPLITS > 1:
            part = tl.cdiv(tl.cdiv(tl.maximum(end - begin, 0), BLOCK_N), SPLITS) * BLOCK_N
            begin += split * part
            end = tl.minimum(end, begin + part)
        # A window is short: all of it is masked. So is what a tensor may mask anywhere.
        whole_end = begin if LEFT or BIAS != "none" else tl.maximum(tl.minimum(whole_end, end), begin)
        k_ptr += kv_head * stride_kh
        v_ptr += kv_head * stride_vh
        if PAGE > 0:
            table += sequence.to(tl.int64) * stride_table
        else:
            k_ptr += sequence.to(tl.int64) * stride_kp
            v_ptr += sequence.to(tl.int64) * stride_vp
        bias_rows = tl.zeros((1,), tl.int64)
        if BIAS != "none":
            bias_row = tl.minimum(row + queries, len_q - 1).to(tl.int64) * stride_bq
            bias_row += tl.minimum(head + heads, HEADS - 1).to(tl.int64) * stride_bh
            if ONE_BIAS:
                bias_row = tl.zeros((1,), tl.int64)
            bias_rows = bias + sequence.to(tl.int64) * stride_bs + bias_row
        k_scales = k_scale + kv_head * stride_ksh if K_SCALE == "token" else k_scale
        v_scales = v_scale + kv_head * stride_vsh if V_SCALE == "token" else v_scale
        if not LEFT and BIAS == "none":
            acc, top, total = _attend(
                acc, top, total, q, q_tail, k_ptr, v_ptr, table, k_scales, v_scales, bias_rows, stride_kp,
                stride_kt, stride_vp, stride_vt, stride_ksp, stride_kst, stride_vsp, stride_vst, stride_bk,
                factor, softcap, at + queries, len_k, left, right, begin, whole_end, LEFT, RIGHT, SOFTCAP,
                K_SCALE, V_SCALE, PAGE, D, D_TAIL, D_V, BLOCK_V, BLOCK_N, VALUES, BIAS, False,
            )  # fmt: skip
        acc, top, total = _attend(
            acc, top, total, q, q_tail, k_ptr, v_ptr, table, k_scales, v_scales, bias_rows, stride_kp,
            stride_kt, stride_vp, stride_vt, stride_ksp, stride_kst, stride_vsp, stride_vst, stride_bk,
            factor, softcap, at + queries, len_k, left, right, whole_end, end, LEFT, RIGHT, SOFTCAP,
            K_SCALE, V_SCALE, PAGE, D, D_TAIL, D_V, BLOCK_V, BLOCK_N, VALUES, BIAS, True,
        )  # fmt: skip
        by_head = tl.load(v_scale + kv_head * stride_vsh) if V_SCALE == "head" else 1.0
        o = mean(acc, total, by_head)
        if DIRECT:
            tl.static_assert(D_V == BLOCK_V, "heads of a tile lie side by side")
            ROWS: tl.constexpr = BLOCK_M // PACK
            rows = row + tl.arange(0, ROWS)
            cols = tl.arange(0, PACK * D_V)
            inside = (rows < len_q)[:, None]
            if GROUP % PACK != 0:
                inside = inside & (cols < (GROUP - pack * PACK) * D_V)[None, :]
            o_rows = (first_token + rows).to(tl.int64)[:, None] * stride_ot
            o = tl.reshape(o.to(o_ptr.dtype.element_ty), (ROWS, PACK * D_V))
            tl.store(o_ptr + o_rows + head * D_V + cols[None, :], o, mask=inside)
        else:
            places = (split * num_tokens + tokens) * HEADS + head + heads
            tl.store(weights + places, top, mask=is_query)
            tl.store(weights + num_tokens * SPLITS * HEADS + places, total, mask=is_query)
            dims = tl.arange(0, BLOCK_V)
            # A part without keys has no weight, and what it would store is not read.
            inside = (is_query & (total > 0.0))[:, None] & (dims < D_V)[None, :]
            tl.store(partials + places[:, None] * D_V + dims[None, :], o, mask=inside)


@triton.jit
def combine(
    partials, weights, sinks, o_ptr, num_tokens, stride_ot,
    HEADS: tl.constexpr, SPLITS: tl.constexpr, BLOCK_S: tl.constexpr, SINKS: tl.constexpr,
    D_V: tl.constexpr, BLOCK_V: tl.constexpr, BLOCK_H: tl.constexpr,
):  # fmt: skip
    """BLOCK_H heads of one token a program; the grid is (num_tokens, parts of the heads)."""
    token = tl.program_id(0).to(tl.int64)
    head = 0 if BLOCK_H >= HEADS else tl.program_id(1) * BLOCK_H
    heads = head + tl.arange(0, BLOCK_H)
    dims = tl.arange(0, BLOCK_V)
    splits = tl.arange(0, BLOCK_S)
    places = token * HEADS + heads
    step = num_tokens * HEADS
    is_part = (splits < SPLITS)[:, None] & (heads < HEADS)[None, :]
    all_places = splits.to(tl.int64)[:, None] * step + places[None, :]
    top = tl.max(tl.load(weights + all_places, mask=is_part, other=float("-inf")), 0)
    if SINKS:
        sink = tl.load(sinks + heads, mask=heads < HEADS, other=0.0).to(tl.float32) * LOG2_E
        top = tl.maximum(top, sink)
    level = tl.where(top == float("-inf"), 0.0, top)
    total = tl.zeros((BLOCK_H,), tl.float32)
    if SINKS:
        total += tl.exp2(sink - level)
    acc = tl.zeros((BLOCK_H, BLOCK_V), tl.float32)
    # Unrolled, loads of several parts are under way at once.
    for split in tl.range(0, SPLITS, loop_unroll_factor=8):
        highest = tl.load(weights + places + split * step, mask=heads < HEADS, other=float("-inf"))
        # What has no weight was never stored.
        has_keys = highest > float("-inf")
        sums = weights + (SPLITS + split) * step
        weight = tl.exp2(highest - level)
        size = tl.load(sums + places, mask=has_keys, other=0.0)
        total = tl.fma(weight, size, total)
        factor = weight * size
        wanted = has_keys[:, None] & (dims < D_V)[None, :]
        rows = (places + split * step)[:, None] * D_V
        part = tl.load(partials + rows + dims[None, :], mask=wanted, other=0.0)
        acc = tl.fma(part, tl.broadcast_to(factor[:, None], part.shape), acc)
    o = tl.reshape(mean(acc, total, 1.0).to(o_ptr.dtype.element_ty), (BLOCK_H * BLOCK_V,))
    tl.static_assert(D_V == BLOCK_V or BLOCK_H == 1, "heads of a tile lie side by side")
    cols = tl.arange(0, BLOCK_H * BLOCK_V)
    o_ptrs = o_ptr + token * stride_ot + head * D_V + cols
    if HEADS % BLOCK_H != 0 or D_V != BLOCK_V:
        tl.store(o_ptrs, o, mask=cols < (HEADS - head) * D_V if BLOCK_H > 1 else cols < D_V)
    else:
        tl.store(o_ptrs, o)
