"""Prefill attention on Hopper as a warp-specialized Gluon kernel: softmax(q @ k.T * scale) @ v, an epilogue.

A producer warp takes tiles from a counter, those with the most keys first, and loads them by TMA. Groups of
four consumer warps have 64 rows of a tile each, and go through the blocks of its keys from the last to the
first, so that the block on the diagonal, which needs a mask, comes before anything overlaps. After it, the
scores of a block and the sum over the block before are issued together, and the tensor cores work on the sum
during the softmax of the scores.

The rows of a tile are tokens, or, with PACK, tokens by heads that share keys. Query i of a sequence sees keys
i + keys - queries - left to i + keys - queries + right, without a bound where one is None: the last query
stands at the last key.

EPILOGUE is a Gluon function (gluon_epilogue.py writes it) of the tile as stored, 64 / PACK tokens by the
columns of PACK heads: (y, other, row, block, M, N, extras), y rounded, row and block its place among all
tokens and among the heads side by side; rows from M on belong to others.

A trap of ptxas: an accumulator in flight over a loop's back edge, or touched between its product and the wait
for it, makes ptxas serialize every wgmma (C7514).
"""

# Kernels are written in Gluon's language, which has no types to annotate.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, ignore-errors

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    warpgroup_mma,
    warpgroup_mma_wait,
)

from epiq.kernels.gluon_attention_tiles import AHEAD, key_blocks, next_stage, produce, tile_heard

ROWS = gl.constexpr(64)
LOG2_E = gl.constexpr(1.4426950408889634)


@gluon.jit
def _clear_rows(buf, count):
    """Zeros in the rows of a block from `count` on, which are another sequence's or nobody's: 0 * NaN is NaN.

    Each group of warps does it, to the same end.
    """
    ACROSS: gl.constexpr = buf.shape[1] // 8
    LAYOUT: gl.constexpr = gl.BlockedLayout([1, 8], [32 // ACROSS, ACROSS], [4, 1], [1, 0])
    STEP: gl.constexpr = 16
    for i in gl.static_range(buf.shape[0] // STEP):
        part = buf.slice(i * STEP, STEP, 0)
        rows = i * STEP + gl.arange(0, STEP, gl.SliceLayout(1, LAYOUT))
        values = part.load(LAYOUT)
        part.store(gl.where(gl.expand_dims(rows < count, 1), values, gl.zeros_like(values)))
    fence_async_shared()


@gluon.jit
def _capped(s, scale, softcap):
    """softcap * tanh(s * scale / softcap), in units of which 2 is the base."""
    if softcap is not None:
        s = (softcap - 2.0 * softcap / (1.0 + gl.exp2(s * (2.0 * LOG2_E * scale / softcap)))) * LOG2_E
    return s


@gluon.jit
def _masked(s, key, begin, end, left):
    """Scores, -inf for keys that a row does not see; key: the block's first one."""
    keys = gl.expand_dims(key + gl.arange(0, s.shape[1], gl.SliceLayout(0, s.type.layout)), 0)
    seen = keys < gl.expand_dims(end, 1)
    if left is not None:
        seen = seen & (keys >= gl.expand_dims(begin, 1))
    return gl.where(seen, s, float("-inf"))


@gluon.jit
def _finite(top):
    """What is subtracted from scores: their maximum, or 0 where a query has seen no key."""
    return gl.where(top == float("-inf"), 0.0, top)


@gluon.jit
def _weights(s, to_base_2, base):
    """2 ** (s * to_base_2 - base), with one rounding whatever the kernel is compiled with."""
    return gl.exp2(gl.fma(s, to_base_2, -gl.expand_dims(base, 1)))


@gluon.jit
def _computed_here(total):
    """`total`, by a store that nothing is ordered across, and that never happens: weights are not negative.

    Without it ptxas waits for the sum over values first, which it may, and the softmax runs after it alone.
    """
    return gl.inline_asm_elementwise(
        """{
        .reg .pred never;
        .reg .b32 nowhere;
        mov.b32 nowhere, 0;
        setp.lt.f32 never, $1, 0f00000000;
        @never st.shared.b32 [nowhere], $1;
        mov.b32 $0, $1;
        }""", "=r,r", [total], dtype=gl.float32, is_pure=False, pack=1,
    )  # fmt: skip


@gluon.jit
def _attend(
    q, kv_bufs, bars, lengths, window, scale, softcap, stage, phase, count, block, len_q, len_k,
    OUT: gl.constexpr, GROUP: gl.constexpr, GROUPS: gl.constexpr, PACK: gl.constexpr, STAGES: gl.constexpr,
    OVERLAP: gl.constexpr,
):  # fmt: skip
    """For the 64 rows of a group: the sum over values, the sum of weights, the maximum of the scores."""
    k_bufs, v_bufs = kv_bufs
    q_full, q_empty, k_full, k_empty, v_full, v_empty = bars
    left, right = window
    cu_q = lengths[0]
    TOKENS: gl.constexpr = ROWS // PACK
    BLOCK_N: gl.constexpr = k_bufs.shape[1]
    HEAD_DIM: gl.constexpr = k_bufs.shape[2]
    SCORES: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BLOCK_N, 16])
    SUM: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, HEAD_DIM, 16])
    WEIGHTS: gl.constexpr = gl.DotOperandLayout(0, SUM, 2)
    first = block * (TOKENS * GROUPS)
    last, num_blocks = key_blocks(first, len_q, len_k, left, right, TOKENS * GROUPS, BLOCK_N)
    # The keys that each row sees, and those that all rows see: other blocks need a mask.
    middle = first + GROUP * TOKENS + len_k - len_q
    rows = middle + gl.arange(0, ROWS, gl.SliceLayout(1, SCORES)) // PACK
    begin, end = rows, gl.full([ROWS], 0, gl.int32, gl.SliceLayout(1, SCORES)) + len_k
    all_begin, all_end = 0, len_k
    if left is not None:
        begin = rows - left
        all_begin = middle + TOKENS - 1 - left
    if right is not None:
        end = gl.minimum(end, rows + right + 1)
        all_end = gl.minimum(all_end, middle + right + 1)

    zeros = gl.zeros([ROWS, BLOCK_N], gl.float32, SCORES)
    to_base_2 = LOG2_E * scale
    if softcap is not None:
        to_base_2 = 1.0
    key = last * BLOCK_N
    mbarrier.wait(q_full.index(GROUP), count & 1)
    mbarrier.wait(k_full.index(stage), phase)
    s = warpgroup_mma(q, k_bufs.index(stage).permute((1, 0)), zeros, use_acc=False, is_async=True)
    s = warpgroup_mma_wait(0, [s])
    mbarrier.arrive(k_empty.index(stage), count=1)
    if cu_q is not None:  # noqa: SIM102 (the first is known when the kernel is compiled)
        if key + BLOCK_N > len_k:
            mbarrier.wait(v_full.index(stage), phase)
            _clear_rows(v_bufs.index(stage), len_k - key)
    s = _masked(_capped(s, scale, softcap), key, begin, end, left)
    top = gl.max(s, 1) * to_base_2
    p = _weights(s, to_base_2, _finite(top))
    total = gl.sum(p, 1)
    weights = gl.convert_layout(p.to(OUT), WEIGHTS)
    acc = gl.zeros([ROWS, HEAD_DIM], gl.float32, SUM)
    for _ in range(1, num_blocks):
        v_stage, v_phase = stage, phase
        stage, phase = next_stage(stage, phase, STAGES)
        key -= BLOCK_N
        mbarrier.wait(k_full.index(stage), phase)
        s = warpgroup_mma(q, k_bufs.index(stage).permute((1, 0)), zeros, use_acc=False, is_async=True)
        mbarrier.wait(v_full.index(v_stage), v_phase)
        acc = warpgroup_mma(weights, v_bufs.index(v_stage), acc, is_async=True)
        s = warpgroup_mma_wait(1, [s])
        mbarrier.arrive(k_empty.index(stage), count=1)
        s = _capped(s, scale, softcap)
        if (key < all_begin) | (key + BLOCK_N > all_end):
            s = _masked(s, key, begin, end, left)
        new_top = gl.maximum(top, gl.max(s, 1) * to_base_2)
        base = _finite(new_top)
        p = _weights(s, to_base_2, base)
        fade = gl.exp2(top - base)
        total = total * fade + gl.sum(p, 1)
        top = new_top
        if OVERLAP:
            total = _computed_here(total)
        acc = warpgroup_mma_wait(0, [acc])
        mbarrier.arrive(v_empty.index(v_stage), count=1)
        weights = gl.convert_layout(p.to(OUT), WEIGHTS)
        acc = acc * gl.expand_dims(gl.convert_layout(fade, gl.SliceLayout(1, SUM)), 1)
    mbarrier.arrive(q_empty.index(GROUP), count=1)
    mbarrier.wait(v_full.index(stage), phase)
    acc = warpgroup_mma(weights, v_bufs.index(stage), acc, is_async=True)
    acc = warpgroup_mma_wait(0, [acc])
    mbarrier.arrive(v_empty.index(stage), count=1)
    stage, phase = next_stage(stage, phase, STAGES)
    return acc, total, top, stage, phase


@gluon.jit
def _consume(
    GROUP: gl.constexpr, q_bufs, kv_bufs, bars, news, extras, lengths, window, scale, softcap, sinks,
    EPILOGUE: gl.constexpr, OUT: gl.constexpr, LANES: gl.constexpr, GROUPS: gl.constexpr,
    PACK: gl.constexpr, STAGES: gl.constexpr, OVERLAP: gl.constexpr,
):  # fmt: skip
    """A group of consumer warps: its 64 rows of each tile, and the epilogue."""
    q = q_bufs.index(GROUP)
    TOKENS: gl.constexpr = ROWS // PACK
    COLUMNS: gl.constexpr = PACK * q.shape[1]
    stage, phase, count = 0, 0, 0
    more, block, heads, start_q, len_q, len_k = tile_heard(news, lengths, count, LANES)
    while more:
        acc, total, top, stage, phase = _attend(
            q, kv_bufs, bars, lengths, window, scale, softcap, stage, phase, count, block, len_q, len_k,
            OUT, GROUP, GROUPS, PACK, STAGES, OVERLAP,
        )  # fmt: skip
        if sinks is not None:
            of_row = heads * PACK + gl.arange(0, ROWS, total.type.layout) % PACK
            total += gl.exp2(gl.load(sinks + of_row).to(gl.float32) * LOG2_E - _finite(top))
        share = gl.where(total == 0.0, 0.0, 1.0 / total)
        y = (acc * gl.expand_dims(gl.convert_layout(share, gl.SliceLayout(1, acc.type.layout)), 1)).to(OUT)
        if PACK > 1:
            y = gl.reshape(y, [TOKENS, COLUMNS])
        row, column, end = start_q + (block * GROUPS + GROUP) * TOKENS, heads, start_q + len_q
        # Where the next tile lies is on its way while the epilogue computes.
        count += 1
        more, block, heads, start_q, len_q, len_k = tile_heard(news, lengths, count, LANES)
        EPILOGUE(y, y, row, column, end, LANES * COLUMNS, extras)


@gluon.jit
def attention(
    q_desc, k_desc, v_desc, counter, cu_q, cu_k, sinks, extras, batches, len_q, len_k, left, right, scale,
    softcap, section, EPILOGUE: gl.constexpr, OUT: gl.constexpr, FLAT: gl.constexpr, LANES: gl.constexpr,
    SHARE: gl.constexpr, GROUPS: gl.constexpr, STAGES: gl.constexpr, OVERLAP: gl.constexpr,
    REGISTERS: gl.constexpr,
):  # fmt: skip
    """Programs that take tiles of 64 * GROUPS rows in turn; num_warps is 4.

    q_desc, k_desc, v_desc: (batch, token, head, head_dim), all tokens in one batch where sequences are
    packed. Blocks are of 64 / PACK tokens and PACK heads of q, of BLOCK_N tokens of k and v. cu_q, cu_k:
    where packed sequences start, one more than there are, or None; then each has len_q and len_k tokens.
    counter: an int32 zero. sinks: a score for each head that takes part in the softmax and adds nothing, or
    None. section: heads, by PACK, whose tiles are mixed. OUT: the dtype of q, k and v, to which weights and
    results are rounded. FLAT: the layout of a block as rows by head_dim. LANES: heads of a sequence, by PACK.
    SHARE: heads of q to one of k and v. OVERLAP: whether the softmax is computed before the sum over the last
    block is waited for. REGISTERS: of a consumer's thread.
    """
    TOKENS: gl.constexpr = q_desc.block_type.shape[1]
    PACK: gl.constexpr = q_desc.block_type.shape[2]
    BLOCK_N: gl.constexpr = k_desc.block_type.shape[1]
    HEAD_DIM: gl.constexpr = q_desc.block_type.shape[3]
    dtype: gl.constexpr = q_desc.dtype
    q_bufs = gl.allocate_shared_memory(dtype, [GROUPS, 1, TOKENS, PACK, HEAD_DIM], q_desc.layout)
    k_bufs = gl.allocate_shared_memory(dtype, [STAGES, 1, BLOCK_N, 1, HEAD_DIM], k_desc.layout)
    v_bufs = gl.allocate_shared_memory(dtype, [STAGES, 1, BLOCK_N, 1, HEAD_DIM], v_desc.layout)
    q_rows = q_bufs._reinterpret(dtype, [GROUPS, ROWS, HEAD_DIM], FLAT)
    k_rows = k_bufs._reinterpret(dtype, [STAGES, BLOCK_N, HEAD_DIM], FLAT)
    v_rows = v_bufs._reinterpret(dtype, [STAGES, BLOCK_N, HEAD_DIM], FLAT)
    q_full = gl.allocate_shared_memory(gl.int64, [GROUPS, 1], mbarrier.MBarrierLayout())
    q_empty = gl.allocate_shared_memory(gl.int64, [GROUPS, 1], mbarrier.MBarrierLayout())
    k_full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    k_empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    v_full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    v_empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    told = gl.allocate_shared_memory(gl.int64, [AHEAD, 1], mbarrier.MBarrierLayout())
    heard = gl.allocate_shared_memory(gl.int64, [AHEAD, 1], mbarrier.MBarrierLayout())
    board = gl.allocate_shared_memory(gl.int64, [AHEAD, 1], gl.SwizzledSharedLayout(1, 1, 1, [0]))
    for i in gl.static_range(GROUPS):
        mbarrier.init(q_full.index(i), count=1)
        mbarrier.init(q_empty.index(i), count=1)
    for i in gl.static_range(STAGES):
        mbarrier.init(k_full.index(i), count=1)
        mbarrier.init(k_empty.index(i), count=GROUPS)
        mbarrier.init(v_full.index(i), count=1)
        mbarrier.init(v_empty.index(i), count=GROUPS)
    for i in gl.static_range(AHEAD):
        mbarrier.init(told.index(i), count=1)
        mbarrier.init(heard.index(i), count=GROUPS)
    fence_async_shared()
    bars = (q_full, q_empty, k_full, k_empty, v_full, v_empty)
    descs, bufs, kv_rows = (q_desc, k_desc, v_desc), (q_bufs, k_bufs, v_bufs), (k_rows, v_rows)
    news, lengths, window = (board, told, heard), (cu_q, cu_k, len_q, len_k), (left, right)
    # A function is no value in Gluon, so what the partitions are given cannot be named once.
    # fmt: off
    if GROUPS == 3:
        gl.warp_specialize([
            (_consume, (
                0, q_rows, kv_rows, bars, news, extras, lengths, window, scale, softcap, sinks,
                EPILOGUE, OUT, LANES, GROUPS, PACK, STAGES, OVERLAP,
            )),
            (_consume, (
                1, q_rows, kv_rows, bars, news, extras, lengths, window, scale, softcap, sinks,
                EPILOGUE, OUT, LANES, GROUPS, PACK, STAGES, OVERLAP,
            )),
            (_consume, (
                2, q_rows, kv_rows, bars, news, extras, lengths, window, scale, softcap, sinks,
                EPILOGUE, OUT, LANES, GROUPS, PACK, STAGES, OVERLAP,
            )),
            (produce, (
                descs, bufs, bars, news, counter, lengths, window, batches, section, LANES, SHARE, GROUPS,
                STAGES,
            )),
        ], [4, 4, 1], [REGISTERS, REGISTERS, 24])
    elif GROUPS == 2:
        gl.warp_specialize([
            (_consume, (
                0, q_rows, kv_rows, bars, news, extras, lengths, window, scale, softcap, sinks,
                EPILOGUE, OUT, LANES, GROUPS, PACK, STAGES, OVERLAP,
            )),
            (_consume, (
                1, q_rows, kv_rows, bars, news, extras, lengths, window, scale, softcap, sinks,
                EPILOGUE, OUT, LANES, GROUPS, PACK, STAGES, OVERLAP,
            )),
            (produce, (
                descs, bufs, bars, news, counter, lengths, window, batches, section, LANES, SHARE, GROUPS,
                STAGES,
            )),
        ], [4, 1], [REGISTERS, 24])
    else:
        gl.warp_specialize([
            (_consume, (
                0, q_rows, kv_rows, bars, news, extras, lengths, window, scale, softcap, sinks,
                EPILOGUE, OUT, LANES, GROUPS, PACK, STAGES, OVERLAP,
            )),
            (produce, (
                descs, bufs, bars, news, counter, lengths, window, batches, section, LANES, SHARE, GROUPS,
                STAGES,
            )),
        ], [1], [24])
