"""Which tiles a program of gluon_attention.py computes, and the producer warp that loads them.

A tile is a block of queries of a lane; a lane is a head of a sequence, or several that share keys. Producer
and consumers go through the same blocks of keys, which both find out by themselves; what the counter gave is
announced on a board in shared memory.
"""

# Kernels are written in Gluon's language, which has no types to annotate.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, ignore-errors

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import mbarrier, tma

# Tiles that the producer may be ahead of the consumers.
AHEAD = gl.constexpr(2)


@gluon.jit
def next_stage(stage, phase, STAGES: gl.constexpr):
    stage += 1
    wraps = stage == STAGES
    return gl.where(wraps, 0, stage), gl.where(wraps, phase ^ 1, phase)


@gluon.jit
def sequence(batch, cu_q, cu_k, len_q, len_k):
    """Of a sequence: its first query and key among all, and how many it has of each."""
    start_q, start_k = batch * len_q, batch * len_k
    if cu_q is not None:
        start_q, start_k = gl.load(cu_q + batch), gl.load(cu_k + batch)
        len_q, len_k = gl.load(cu_q + batch + 1) - start_q, gl.load(cu_k + batch + 1) - start_k
    return start_q, start_k, len_q, len_k


@gluon.jit
def key_blocks(token, len_q, len_k, left, right, BLOCK_M: gl.constexpr, BLOCK_N: gl.constexpr):
    """The last block of keys that the BLOCK_M queries from `token` on see, and the number of blocks.

    It is one at least, so that a tile that sees nothing comes to its end as all do.
    """
    shift = len_k - len_q
    end = len_k
    if right is not None:
        end = gl.minimum(end, gl.minimum(token + BLOCK_M, len_q) + shift + right)
    last = gl.maximum(gl.cdiv(end, BLOCK_N) - 1, 0)
    first = 0
    if left is not None:
        first = gl.minimum(gl.maximum(token + shift - left, 0) // BLOCK_N, last)
    return last, last - first + 1


@gluon.jit
def _tile_place(tile, num_m, lanes, section):
    """The block of queries of a tile and its lane, heads of a sequence.

    Tiles go by sections of lanes, whose keys and values stay in the L2 cache; within a section the last
    queries, which see the most keys, come first.
    """
    first = tile // (section * num_m) * section
    width = gl.minimum(section, lanes - first)
    rest = tile - first * num_m
    return num_m - 1 - rest // width, first + rest % width


@gluon.jit
def _announce(news, count, code):
    """Tells the consumers of a tile."""
    LAYOUT: gl.constexpr = gl.BlockedLayout([1], [32], [1], [0])
    board, told, heard = news
    slot = count % AHEAD
    mbarrier.wait(heard.index(slot), (count // AHEAD & 1) ^ 1)
    board.index(slot).store(gl.full([1], code, gl.int64, LAYOUT))
    mbarrier.arrive(told.index(slot), count=1)


@gluon.jit
def _hear(news, count):
    """What the producer announced."""
    LAYOUT: gl.constexpr = gl.BlockedLayout([1], [32], [4], [0])
    board, told, heard = news
    slot = count % AHEAD
    mbarrier.wait(told.index(slot), count // AHEAD & 1)
    code = gl.sum(board.index(slot).load(LAYOUT), 0)
    mbarrier.arrive(heard.index(slot), count=1)
    return code


@gluon.jit
def _load_tile(
    descs, bufs, bars, lengths, window, stage, phase, count, block, lane,
    LANES: gl.constexpr, SHARE: gl.constexpr, GROUPS: gl.constexpr, STAGES: gl.constexpr,
):  # fmt: skip
    """Loads a tile's queries, and its keys and values block by block."""
    q_desc, k_desc, v_desc = descs
    q_bufs, k_bufs, v_bufs = bufs
    q_full, q_empty, k_full, k_empty, v_full, v_empty = bars
    cu_q, cu_k, len_q, len_k = lengths
    left, right = window
    TOKENS: gl.constexpr = q_desc.block_type.shape[1]
    PACK: gl.constexpr = q_desc.block_type.shape[2]
    BLOCK_N: gl.constexpr = k_desc.block_type.shape[1]
    batch, head = lane // LANES, lane % LANES * PACK
    start_q, start_k, len_q, len_k = sequence(batch, cu_q, cu_k, len_q, len_k)
    token = block * (TOKENS * GROUPS)
    last, num_blocks = key_blocks(token, len_q, len_k, left, right, TOKENS * GROUPS, BLOCK_N)
    # Packed sequences lie one behind the other, others are an axis of the descriptors.
    if cu_q is None:
        start_q, start_k = 0, 0
    else:
        batch = 0
    for group in gl.static_range(GROUPS):
        mbarrier.wait(q_empty.index(group), (count & 1) ^ 1)
        mbarrier.expect(q_full.index(group), q_desc.block_type.nbytes)
        place = [batch, start_q + token + group * TOKENS, head, 0]
        tma.async_copy_global_to_shared(q_desc, place, q_full.index(group), q_bufs.index(group))
    for i in range(num_blocks):
        place = [batch, start_k + (last - i) * BLOCK_N, head // SHARE, 0]
        mbarrier.wait(k_empty.index(stage), phase ^ 1)
        mbarrier.expect(k_full.index(stage), k_desc.block_type.nbytes)
        tma.async_copy_global_to_shared(k_desc, place, k_full.index(stage), k_bufs.index(stage))
        mbarrier.wait(v_empty.index(stage), phase ^ 1)
        mbarrier.expect(v_full.index(stage), v_desc.block_type.nbytes)
        tma.async_copy_global_to_shared(v_desc, place, v_full.index(stage), v_bufs.index(stage))
        stage, phase = next_stage(stage, phase, STAGES)
    return stage, phase


@gluon.jit
def produce(
    descs, bufs, bars, news, counter, lengths, window, batches, section,
    LANES: gl.constexpr, SHARE: gl.constexpr, GROUPS: gl.constexpr, STAGES: gl.constexpr,
):  # fmt: skip
    """The producer warp. Every tile asks the counter for the next one; the last one to ask resets it."""
    q_desc = descs[0]
    cu_q, cu_k, len_q, len_k = lengths
    TOKENS: gl.constexpr = q_desc.block_type.shape[1]
    # Sequences of one length are walked over together.
    walks, lanes = 1, batches * LANES
    if cu_q is not None:
        walks, lanes = batches, LANES
    programs = gl.num_programs(0)
    stage, phase, count, before = 0, 0, 0, 0
    tile = gl.program_id(0)
    for walk in range(walks):
        queries = sequence(walk, cu_q, cu_k, len_q, len_k)[2]
        num_m = gl.cdiv(queries, TOKENS * GROUPS)
        while tile < before + num_m * lanes:
            block, lane = _tile_place(tile - before, num_m, lanes, section)
            lane += walk * LANES
            _announce(news, count, (lane.to(gl.int64) << 32) | block)
            tile = gl.atomic_add(counter, 1, sem="relaxed") + programs
            stage, phase = _load_tile(
                descs, bufs, bars, lengths, window, stage, phase, count, block, lane,
                LANES, SHARE, GROUPS, STAGES,
            )  # fmt: skip
            count += 1
        before += num_m * lanes
    if tile == before + programs - 1:
        gl.store(counter, 0)
    _announce(news, count, -1)


@gluon.jit
def tile_heard(news, lengths, count, LANES: gl.constexpr):
    """Whether there is a next tile; its block and its heads, where its sequence starts and how long it is."""
    cu_q, cu_k, len_q, len_k = lengths
    code = _hear(news, count)
    lane = (gl.maximum(code, 0) >> 32).to(gl.int32)
    start_q, _, len_q, len_k = sequence(lane // LANES, cu_q, cu_k, len_q, len_k)
    return code >= 0, code.to(gl.int32), lane % LANES, start_q, len_q, len_k
