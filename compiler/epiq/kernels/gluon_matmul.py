"""Matrix products on Hopper as a warp-specialized Gluon kernel: c = (a @ b.T) * scales, with an epilogue.

A producer warp fills a ring of stages by TMA; one or two groups of four consumer warps multiply, each 64 rows
of `a` with the same 256 rows of `b`. So loads run on while an epilogue computes, and one group's products
run while the other waits, scales or stores, none of which Triton's own pipelining does on Hopper.

Operands and scales are those of triton_matmul.py. A tile has 256 columns as two halves of 128: neighbouring
columns, or, in the gate_up form, those of the gate and the same ones of the other half of `b`, or of up_desc
and up_scale where gate and up lie APART; else these are those of `b`.

EPILOGUE is a Gluon function (gluon_epilogue.py writes it) of a half tile, or of both halves in the gate_up
form: (y, other, row, block, M, N, extras), y a (64, 128) tile, rounded, at row `row` and column 128 * block,
extras the epilogue's tensors and strides.

Two traps, of ptxas and of LLVM: an accumulator that is in flight over a loop's back edge makes ptxas
serialize every wgmma (C7514), so each product is waited for where it was issued; and LLVM would sink the
FMAs of a partial product past the next product, which doubles the live accumulators.
"""

# Kernels are written in Gluon's language, which has no types to annotate.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, ignore-errors

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_wait,
)

ROWS = gl.constexpr(64)
HALF = gl.constexpr(128)


@gluon.jit
def _tile_place(tile, M, N, BLOCK_M: gl.constexpr, GROUP_M: gl.constexpr):
    """The first row and column of a tile. Tiles run down GROUP_M rows of tiles, so that what is read again
    is still in the L2 cache."""
    num_m = gl.cdiv(M, BLOCK_M)
    in_group = GROUP_M * gl.cdiv(N, 2 * HALF)
    first_m = tile // in_group * GROUP_M
    group_m = gl.minimum(num_m - first_m, GROUP_M)
    return (first_m + tile % in_group % group_m) * BLOCK_M, tile % in_group // group_m * (2 * HALF)


@gluon.jit
def _rows_of_b(col, N, GATE_UP: gl.constexpr, APART: gl.constexpr):
    """The rows of `b`, or of the gate and of the other half, that the halves of a tile begin with."""
    left, right = col, col + HALF
    if APART:
        left, right = col // 2, col // 2
    elif GATE_UP:
        left, right = col // 2, N // 2 + col // 2
    return left, right


@gluon.jit
def _next(stage, phase, STAGES: gl.constexpr):
    stage += 1
    wraps = stage == STAGES
    return gl.where(wraps, 0, stage), gl.where(wraps, phase ^ 1, phase)


@gluon.jit
def _produce(
    a_desc, b_desc, up_desc, a_bufs, b_halves, full, empty, M, N, K, num_tiles,
    GATE_UP: gl.constexpr, APART: gl.constexpr, GROUPS: gl.constexpr, STAGES: gl.constexpr,
    PROGRAMS: gl.constexpr, GROUP_M: gl.constexpr,
):  # fmt: skip
    """The producer warp: loads the operands of each tile, a stage ahead of the consumers or more."""
    BLOCK_M: gl.constexpr = ROWS * GROUPS
    BLOCK_K: gl.constexpr = a_desc.block_type.shape[1]
    BYTES: gl.constexpr = (BLOCK_M + 2 * HALF) * 128
    stage, phase = 0, 0
    for i in range(num_tiles):
        row, col = _tile_place(gl.program_id(0) + i * PROGRAMS, M, N, BLOCK_M, GROUP_M)
        left, right = _rows_of_b(col, N, GATE_UP, APART)
        for k in range(0, K, BLOCK_K):
            mbarrier.wait(empty.index(stage), phase ^ 1)
            ready = full.index(stage)
            mbarrier.expect(ready, BYTES)
            for group in gl.static_range(GROUPS):
                target = a_bufs.index(stage * GROUPS + group)
                tma.async_copy_global_to_shared(a_desc, [row + group * ROWS, k], ready, target)
            tma.async_copy_global_to_shared(b_desc, [left, k], ready, b_halves.index(2 * stage))
            tma.async_copy_global_to_shared(up_desc, [right, k], ready, b_halves.index(2 * stage + 1))
            stage, phase = _next(stage, phase, STAGES)


@gluon.jit
def _add_scaled(acc, partial, by_row):
    """acc + partial * by_row. Volatile, which keeps it between the products that it is written between."""
    factor, partial = gl.broadcast(gl.expand_dims(by_row, 1), partial)
    return gl.inline_asm_elementwise(
        "fma.rn.f32 $0, $1, $2, $3;", "=f,f,f,f", [partial, factor, acc], dtype=gl.float32,
        is_pure=False, pack=1,
    )  # fmt: skip


@gluon.jit
def _take_turn(turn, count, GROUP: gl.constexpr, GROUPS: gl.constexpr):
    """Waits until the other group has issued its product; the first group starts."""
    if GROUPS == 2:
        mbarrier.wait(turn.index(GROUP), (count & 1) ^ (1 - GROUP))


@gluon.jit
def _pass_turn(turn, GROUP: gl.constexpr, GROUPS: gl.constexpr):
    if GROUPS == 2:
        mbarrier.arrive(turn.index(1 - GROUP), count=1)


@gluon.jit
def _sum(
    a_bufs, b_bufs, full, empty, stage, phase, K,
    GROUP: gl.constexpr, GROUPS: gl.constexpr, STAGES: gl.constexpr, WIDE: gl.constexpr,
):  # fmt: skip
    """The f32 sum over K for 64 x 256."""
    acc = gl.zeros([ROWS, 2 * HALF], gl.float32, WIDE)
    BLOCK_K: gl.constexpr = a_bufs.shape[2]
    for _ in range(0, K, BLOCK_K):
        mbarrier.wait(full.index(stage), phase)
        b = b_bufs.index(stage).permute((1, 0))
        acc = warpgroup_mma(a_bufs.index(stage * GROUPS + GROUP), b, acc, is_async=True)
        acc = warpgroup_mma_wait(0, [acc])
        mbarrier.arrive(empty.index(stage), count=1)
        stage, phase = _next(stage, phase, STAGES)
    return acc, stage, phase


@gluon.jit
def _places(
    tile, GROUP: gl.constexpr, M, N, GATE_UP: gl.constexpr, APART: gl.constexpr, GROUPS: gl.constexpr,
    GROUP_M: gl.constexpr,
):  # fmt: skip
    """Of a group's part of a tile: the row, the column, the rows of `b` that its two halves begin with."""
    row, col = _tile_place(tile, M, N, ROWS * GROUPS, GROUP_M)
    left_row, right_row = _rows_of_b(col, N, GATE_UP, APART)
    return row + GROUP * ROWS, col, left_row, right_row


@gluon.jit
def _scale_pointers(
    a_scale, b_scale, up_scale, stride_am, stride_bn, row, left_row, right_row, M, N, LAYOUT: gl.constexpr
):
    """Where the block scales of a part of a tile begin: those of its rows, of the left and the right half."""
    rows = gl.minimum(row + gl.arange(0, ROWS, gl.SliceLayout(1, LAYOUT)), M - 1)
    last = (N - 1) // 128
    left_scales = b_scale + gl.minimum(left_row // 128, last) * stride_bn
    right_scales = up_scale + gl.minimum(right_row // 128, last) * stride_bn
    return a_scale + rows.to(gl.int64) * stride_am, left_scales, right_scales


@gluon.jit
def _block_scaled_sum(
    a_bufs, b_halves, full, empty, turn, stage, phase, count, a_scales, left_scales, right_scales,
    by_row, by_left, by_right, stride_ak, stride_bk, K,
    GROUP: gl.constexpr, GROUPS: gl.constexpr, STAGES: gl.constexpr, LAYOUT: gl.constexpr,
):  # fmt: skip
    """The sum for two halves, each 128-deep partial product of which is scaled before it is added.

    The groups take turns at the tensor cores: one adds its partial product while the other's is computed.
    by_row, by_left, by_right: the first scales, loaded ahead as all are.
    """
    left = gl.zeros([ROWS, HALF], gl.float32, LAYOUT)
    right = gl.zeros([ROWS, HALF], gl.float32, LAYOUT)
    partial = gl.zeros([ROWS, HALF], gl.float32, LAYOUT)
    # False, which only the run knows: with a constant ptxas would give the partial product other registers.
    never = K < 0
    last = gl.cdiv(K, 128) - 1
    for k in range(last + 1):
        ahead = gl.minimum(k + 1, last)
        next_row = gl.load(a_scales + ahead * stride_ak)
        next_left = gl.load(left_scales + ahead * stride_bk)
        next_right = gl.load(right_scales + ahead * stride_bk)
        mbarrier.wait(full.index(stage), phase)
        a = a_bufs.index(stage * GROUPS + GROUP)

        _take_turn(turn, count, GROUP, GROUPS)
        b = b_halves.index(2 * stage).permute((1, 0))
        partial = warpgroup_mma(a, b, partial, use_acc=never, is_async=True)
        _pass_turn(turn, GROUP, GROUPS)
        partial = warpgroup_mma_wait(0, [partial])
        left = _add_scaled(left, partial, by_row * by_left)

        _take_turn(turn, count + 1, GROUP, GROUPS)
        b = b_halves.index(2 * stage + 1).permute((1, 0))
        partial = warpgroup_mma(a, b, partial, use_acc=never, is_async=True)
        _pass_turn(turn, GROUP, GROUPS)
        partial = warpgroup_mma_wait(0, [partial])
        mbarrier.arrive(empty.index(stage), count=1)
        right = _add_scaled(right, partial, by_row * by_right)

        count += 2
        by_row, by_left, by_right = next_row, next_left, next_right
        stage, phase = _next(stage, phase, STAGES)
    return left, right, stage, phase, count


@gluon.jit
def _halves(acc, LAYOUT: gl.constexpr):
    """The left and right columns; each thread has both, so that nothing moves."""
    pair = gl.permute(gl.reshape(acc, [ROWS, 2, HALF]), (0, 2, 1))
    left, right = gl.split(pair)
    left = gl.convert_layout(left, LAYOUT, assert_trivial=True)
    return left, gl.convert_layout(right, LAYOUT, assert_trivial=True)


@gluon.jit
def _scaled(
    left, right, a_scale, b_scale, up_scale, row, left_row, right_row, M, N, SCALES: gl.constexpr,
    APART: gl.constexpr,
):  # fmt: skip
    """The product times what does not vary along K. left_row, right_row: of `b`, for the first columns."""
    if SCALES == "tensor":
        by_tensor = gl.load(a_scale)
        left, right = left * (by_tensor * gl.load(b_scale)), right * (by_tensor * gl.load(up_scale))
    elif SCALES == "vector":
        layout: gl.constexpr = left.type.layout
        rows = row + gl.arange(0, ROWS, gl.SliceLayout(1, layout))
        cols = gl.arange(0, HALF, gl.SliceLayout(0, layout))
        by_row = gl.expand_dims(gl.load(a_scale + gl.minimum(rows, M - 1)), 1)
        last = N // 2 - 1 if APART else N - 1
        by_left = gl.load(b_scale + gl.minimum(left_row + cols, last))
        by_right = gl.load(up_scale + gl.minimum(right_row + cols, last))
        left = left * by_row * gl.expand_dims(by_left, 0)
        right = right * by_row * gl.expand_dims(by_right, 0)
    return left, right


@gluon.jit
def _consume(
    GROUP: gl.constexpr, a_bufs, b_bufs, b_halves, full, empty, turn, a_scale, b_scale, up_scale, extras,
    M, N, K, stride_am, stride_ak, stride_bn, stride_bk, num_tiles, EPILOGUE: gl.constexpr, OUT: gl.constexpr,
    SCALES: gl.constexpr, GATE_UP: gl.constexpr, APART: gl.constexpr, GROUPS: gl.constexpr,
    STAGES: gl.constexpr, PROGRAMS: gl.constexpr, GROUP_M: gl.constexpr,
):  # fmt: skip
    """A group of consumer warps: its 64 rows of each tile, and the epilogue."""
    DEPTH: gl.constexpr = 256 // a_bufs.dtype.primitive_bitwidth
    LAYOUT: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, HALF, DEPTH])
    WIDE: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, 2 * HALF, DEPTH])
    stage, phase, count = 0, 0, 0
    row, col, left_row, right_row = _places(gl.program_id(0), GROUP, M, N, GATE_UP, APART, GROUPS, GROUP_M)
    if SCALES == "block":
        a_at, left_at, right_at = _scale_pointers(
            a_scale, b_scale, up_scale, stride_am, stride_bn, row, left_row, right_row, M, N, LAYOUT
        )
        by_row, by_left, by_right = gl.load(a_at), gl.load(left_at), gl.load(right_at)
    for i in range(num_tiles):
        ahead = gl.program_id(0) + gl.minimum(i + 1, num_tiles - 1) * PROGRAMS
        next_row, next_col, next_left, next_right = _places(
            ahead, GROUP, M, N, GATE_UP, APART, GROUPS, GROUP_M
        )
        if SCALES == "block":
            left, right, stage, phase, count = _block_scaled_sum(
                a_bufs, b_halves, full, empty, turn, stage, phase, count, a_at, left_at, right_at,
                by_row, by_left, by_right, stride_ak, stride_bk, K, GROUP, GROUPS, STAGES, LAYOUT,
            )  # fmt: skip
            # The next tile's first scales are on their way while the epilogue computes.
            a_at, left_at, right_at = _scale_pointers(
                a_scale,
                b_scale,
                up_scale,
                stride_am,
                stride_bn,
                next_row,
                next_left,
                next_right,
                M,
                N,
                LAYOUT,
            )
            by_row, by_left, by_right = gl.load(a_at), gl.load(left_at), gl.load(right_at)
        else:
            acc, stage, phase = _sum(
                a_bufs, b_bufs, full, empty, stage, phase, K, GROUP, GROUPS, STAGES, WIDE
            )
            left, right = _halves(acc, LAYOUT)
            left, right = _scaled(
                left, right, a_scale, b_scale, up_scale, row, left_row, right_row, M, N, SCALES, APART
            )
        left, right = left.to(OUT), right.to(OUT)
        if GATE_UP:
            EPILOGUE(left, right, row, col // (2 * HALF), M, N, extras)
        else:
            EPILOGUE(left, left, row, col // HALF, M, N, extras)
            EPILOGUE(right, right, row, col // HALF + 1, M, N, extras)
        row, col, left_row, right_row = next_row, next_col, next_left, next_right


@gluon.jit
def matmul(
    a_desc, b_desc, up_desc, a_scale, b_scale, up_scale, extras, M, N, K,
    stride_am, stride_ak, stride_bn, stride_bk,
    EPILOGUE: gl.constexpr, OUT: gl.constexpr, SCALES: gl.constexpr, GATE_UP: gl.constexpr,
    APART: gl.constexpr, GROUPS: gl.constexpr, STAGES: gl.constexpr, PROGRAMS: gl.constexpr,
    GROUP_M: gl.constexpr,
):  # fmt: skip
    """PROGRAMS programs that take tiles of (64 * GROUPS) x 256 in turn; num_warps is 4.

    a_desc: blocks of 64 rows, b_desc: of 128, both 128 bytes deep. Other arguments: as in triton_matmul.py.
    OUT: what the product is rounded to before the epilogue.
    """
    BLOCK_M: gl.constexpr = ROWS * GROUPS
    BLOCK_K: gl.constexpr = a_desc.block_type.shape[1]
    a_bufs = gl.allocate_shared_memory(a_desc.dtype, [STAGES * GROUPS, ROWS, BLOCK_K], a_desc.layout)
    b_bufs = gl.allocate_shared_memory(b_desc.dtype, [STAGES, 2 * HALF, BLOCK_K], b_desc.layout)
    b_halves = b_bufs._reinterpret(b_desc.dtype, [2 * STAGES, HALF, BLOCK_K], b_desc.layout)
    full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    turn = gl.allocate_shared_memory(gl.int64, [2, 1], mbarrier.MBarrierLayout())
    for i in gl.static_range(STAGES):
        mbarrier.init(full.index(i), count=1)
        mbarrier.init(empty.index(i), count=GROUPS)
    for i in gl.static_range(2):
        mbarrier.init(turn.index(i), count=1)
    fence_async_shared()
    total = gl.cdiv(M, BLOCK_M) * gl.cdiv(N, 2 * HALF)
    num_tiles = gl.cdiv(total - gl.program_id(0), PROGRAMS)
    # A function is no value in Gluon, so the arguments cannot be named once.
    # fmt: off
    if GROUPS == 2:
        gl.warp_specialize([
            (_consume, (
                0, a_bufs, b_bufs, b_halves, full, empty, turn, a_scale, b_scale, up_scale, extras, M, N, K,
                stride_am, stride_ak, stride_bn, stride_bk, num_tiles, EPILOGUE, OUT, SCALES, GATE_UP, APART,
                GROUPS, STAGES, PROGRAMS, GROUP_M,
            )),
            (_consume, (
                1, a_bufs, b_bufs, b_halves, full, empty, turn, a_scale, b_scale, up_scale, extras, M, N, K,
                stride_am, stride_ak, stride_bn, stride_bk, num_tiles, EPILOGUE, OUT, SCALES, GATE_UP, APART,
                GROUPS, STAGES, PROGRAMS, GROUP_M,
            )),
            (_produce, (
                a_desc, b_desc, up_desc, a_bufs, b_halves, full, empty, M, N, K, num_tiles, GATE_UP, APART,
                GROUPS, STAGES, PROGRAMS, GROUP_M,
            )),
        ], [4, 1], [240, 24])
    else:
        gl.warp_specialize([
            (_consume, (
                0, a_bufs, b_bufs, b_halves, full, empty, turn, a_scale, b_scale, up_scale, extras, M, N, K,
                stride_am, stride_ak, stride_bn, stride_bk, num_tiles, EPILOGUE, OUT, SCALES, GATE_UP, APART,
                GROUPS, STAGES, PROGRAMS, GROUP_M,
            )),
            (_produce, (
                a_desc, b_desc, up_desc, a_bufs, b_halves, full, empty, M, N, K, num_tiles, GATE_UP, APART,
                GROUPS, STAGES, PROGRAMS, GROUP_M,
            )),
        ], [1], [24])
