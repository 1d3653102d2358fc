"""Matrix products as plain Triton kernels that store their result, c = (a @ b.T) * scales.

They know of no epilogue: `epiq.fuse` adds it where the result would be stored. `a` is (M, K), `b` is
(N, K), both with K contiguous, read through tensor descriptors, which give zeros beyond the edges. In
the gate_up form `b` is (2, N / 2, K): a tile of c holds BLOCK_N / 2 columns of the gate, then the same
columns of the other half, so that columns of c alternate between the halves in blocks of BLOCK_N / 2. Where
gate and up lie APART, `b` is (1, N / 2, K), the gate, and up_desc and up_scale are those of the other half;
else these are None.

SCALES says what multiplies the product: "none"; "tensor", one number each; "vector", one a row of `a` and
one a row of `b`; "block", `a` in groups of 1 x 128 and `b` in blocks of 128 x 128, where each 128-deep
partial product is scaled in f32 before it is added. BLOCK_K is then 128. FP8 products without block scales
are summed as fast as the tensor cores can, which on Hopper keeps about 14 bits between products.
"""

# Kernels are written in Triton's language, which has no types to annotate.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _tile_place(tile, M, N, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, GROUP_M: tl.constexpr):
    """The first row and column of a tile. Tiles run down GROUP_M rows of tiles, so that what is read again
    is still in the L2 cache."""
    num_m = tl.cdiv(M, BLOCK_M)
    in_group = GROUP_M * tl.cdiv(N, BLOCK_N)
    first_m = tile // in_group * GROUP_M
    group_m = min(num_m - first_m, GROUP_M)
    return (first_m + tile % in_group % group_m) * BLOCK_M, tile % in_group // group_m * BLOCK_N


@triton.jit
def _load_b(b_desc, half, col, k, GATE_UP: tl.constexpr, ROWS: tl.constexpr, BLOCK_K: tl.constexpr):
    """ROWS rows of `b` from its row `col`, (ROWS, BLOCK_K); in the gate_up form those of one half, or, where
    the descriptor's block has both, of one and the other."""
    return tl.reshape(b_desc.load([half, col, k] if GATE_UP else [col, k]), (ROWS, BLOCK_K))


@triton.jit
def _rows_of_b(col, N, GATE_UP: tl.constexpr, BLOCK_N: tl.constexpr):
    """Which row of `b`, (N, K), each column of a tile comes from; past the end at most the last one."""
    cols = tl.arange(0, BLOCK_N)
    if GATE_UP:
        half: tl.constexpr = BLOCK_N // 2
        rows = tl.minimum(col // 2 + cols % half, N // 2 - 1) + cols // half * (N // 2)
    else:
        rows = tl.minimum(col + cols, N - 1)
    return rows


@triton.jit
def _column_scales(
    b_scale, up_scale, col, N, GATE_UP: tl.constexpr, APART: tl.constexpr, BLOCK_N: tl.constexpr
):
    """The scale of each column of a tile, where each has one."""
    rows = _rows_of_b(col, N, GATE_UP, BLOCK_N)
    if APART:
        is_up = rows >= N // 2
        gate = tl.load(b_scale + rows, mask=~is_up, other=0.0)
        scales = tl.where(is_up, tl.load(up_scale + rows - N // 2, mask=is_up, other=0.0), gate)
    else:
        scales = tl.load(b_scale + rows)
    return scales


@triton.jit
def _side_by_side(gate, up, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """Two tiles of half the width as one, the gate's columns first."""
    return tl.reshape(tl.permute(tl.join(gate, up), (0, 2, 1)), (BLOCK_M, BLOCK_N))


@triton.jit
def _product(
    a_desc, b_desc, up_desc, row, col, k_start, k_end, GATE_UP: tl.constexpr, APART: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """The f32 sum over k_start..k_end for one tile."""
    first = col // 2 if GATE_UP else col
    if APART:
        N_EACH: tl.constexpr = BLOCK_N // 2
        gate = tl.zeros((BLOCK_M, N_EACH), dtype=tl.float32)
        up = tl.zeros((BLOCK_M, N_EACH), dtype=tl.float32)
        for k in range(k_start, k_end, BLOCK_K):
            a = a_desc.load([row, k])
            gate = tl.dot(a, _load_b(b_desc, 0, first, k, GATE_UP, N_EACH, BLOCK_K).T, gate)
            up = tl.dot(a, _load_b(up_desc, 0, first, k, GATE_UP, N_EACH, BLOCK_K).T, up)
        acc = _side_by_side(gate, up, BLOCK_M, BLOCK_N)
    else:
        acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
        for k in range(k_start, k_end, BLOCK_K):
            b = _load_b(b_desc, 0, first, k, GATE_UP, BLOCK_N, BLOCK_K)
            acc = tl.dot(a_desc.load([row, k]), b.T, acc)
    return acc


@triton.jit
def _add_scaled(acc, partial, by_row):
    """acc + partial * by_row, rounded once, whatever is allowed to contract."""
    factor, partial = tl.broadcast(by_row[:, None], partial)
    return tl.fma(partial, factor, acc)


@triton.jit
def _block_scaled_product(
    a_desc, b_desc, up_desc, a_scale, b_scale, up_scale, stride_am, stride_ak, stride_bn, stride_bk,
    row, col, half, M, k_start, k_end, GATE_UP: tl.constexpr, APART: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """As `_product`, with block scales; at most 128 columns, so that they share a scale.

    In the gate_up form BLOCK_N / 2 of the gate and as many of the other half, which starts at row `half` of
    `b`: two products of half the width, since one partial product of the whole width, besides the sum, is
    more than the registers hold.
    """
    # Rows past the end have zeros in `a`, whatever scales them.
    rows = tl.minimum(row + tl.arange(0, BLOCK_M), M - 1).to(tl.int64)
    a_scales = a_scale + rows * stride_am
    if GATE_UP:
        N_EACH: tl.constexpr = BLOCK_N // 2
        first = col // 2
        gate_scales = b_scale + first // 128 * stride_bn
        if APART:
            up_scales = up_scale + first // 128 * stride_bn
        else:
            up_scales = b_scale + (half + first) // 128 * stride_bn
        gate = tl.zeros((BLOCK_M, N_EACH), dtype=tl.float32)
        up = tl.zeros((BLOCK_M, N_EACH), dtype=tl.float32)
        for k in range(k_start, k_end, BLOCK_K):
            a = a_desc.load([row, k])
            by_row = tl.load(a_scales + k // 128 * stride_ak)
            b = _load_b(b_desc, 0, first, k, GATE_UP, N_EACH, BLOCK_K)
            gate = _add_scaled(gate, tl.dot(a, b.T), by_row * tl.load(gate_scales + k // 128 * stride_bk))
            if APART:
                b = _load_b(up_desc, 0, first, k, GATE_UP, N_EACH, BLOCK_K)
            else:
                b = _load_b(b_desc, 1, first, k, GATE_UP, N_EACH, BLOCK_K)
            up = _add_scaled(up, tl.dot(a, b.T), by_row * tl.load(up_scales + k // 128 * stride_bk))
        acc = _side_by_side(gate, up, BLOCK_M, BLOCK_N)
    else:
        scales = b_scale + col // 128 * stride_bn
        acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
        for k in range(k_start, k_end, BLOCK_K):
            a = a_desc.load([row, k])
            b = _load_b(b_desc, 0, col, k, GATE_UP, BLOCK_N, BLOCK_K)
            by_row = tl.load(a_scales + k // 128 * stride_ak)
            acc = _add_scaled(acc, tl.dot(a, b.T), by_row * tl.load(scales + k // 128 * stride_bk))
    return acc


@triton.jit
def _sum(
    a_desc, b_desc, up_desc, a_scale, b_scale, up_scale, stride_am, stride_ak, stride_bn, stride_bk,
    row, col, M, N, k_start, k_end, SCALES: tl.constexpr, GATE_UP: tl.constexpr, APART: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    if SCALES == "block":
        acc = _block_scaled_product(
            a_desc, b_desc, up_desc, a_scale, b_scale, up_scale, stride_am, stride_ak, stride_bn, stride_bk,
            row, col, N // 2, M, k_start, k_end, GATE_UP, APART, BLOCK_M, BLOCK_N, BLOCK_K,
        )  # fmt: skip
    else:
        acc = _product(
            a_desc, b_desc, up_desc, row, col, k_start, k_end, GATE_UP, APART, BLOCK_M, BLOCK_N, BLOCK_K
        )
    return acc


@triton.jit
def _scaled(
    acc, a_scale, b_scale, up_scale, row, col, M, N, SCALES: tl.constexpr, GATE_UP: tl.constexpr,
    APART: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """The product times what does not vary along K."""
    if SCALES == "tensor":
        if APART:
            is_up = tl.arange(0, BLOCK_N) >= BLOCK_N // 2
            by_half = tl.where(is_up, tl.load(up_scale), tl.load(b_scale))
            acc = acc * (tl.load(a_scale) * by_half)[None, :]
        else:
            acc = acc * (tl.load(a_scale) * tl.load(b_scale))
    elif SCALES == "vector":
        by_row = tl.load(a_scale + tl.minimum(row + tl.arange(0, BLOCK_M), M - 1))
        by_col = _column_scales(b_scale, up_scale, col, N, GATE_UP, APART, BLOCK_N)
        acc = acc * by_row[:, None] * by_col[None, :]
    return acc


@triton.jit
def _store(c_ptr, stride_cm, acc, row, col, M, N, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    rows = row + tl.arange(0, BLOCK_M)
    cols = col + tl.arange(0, BLOCK_N)
    c_ptrs = c_ptr + rows[:, None].to(tl.int64) * stride_cm + cols[None, :]
    tl.store(c_ptrs, acc.to(c_ptr.dtype.element_ty), mask=(rows < M)[:, None] & (cols < N)[None, :])


@triton.jit
def matmul(
    a_desc, b_desc, up_desc, c_ptr, a_scale, b_scale, up_scale, M, N, K,
    stride_cm, stride_am, stride_ak, stride_bn, stride_bk,
    PROGRAMS: tl.constexpr, SCALES: tl.constexpr, GATE_UP: tl.constexpr, APART: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
):  # fmt: skip
    """PROGRAMS programs that take tiles in turn, or, where that is 0, one program a tile.

    stride_cm: between rows of c. The other strides are those of block scales, of `a` between rows and
    between groups along K, of `b` between blocks along N and along K.
    """
    if PROGRAMS:
        num_tiles = tl.cdiv(M, BLOCK_M) * tl.cdiv(N, BLOCK_N)
        # Flattened, the loop loads for the next tile while it finishes this one.
        for tile in tl.range(tl.program_id(0), num_tiles, PROGRAMS, flatten=SCALES != "block"):
            row, col = _tile_place(tile, M, N, BLOCK_M, BLOCK_N, GROUP_M)
            acc = _sum(
                a_desc, b_desc, up_desc, a_scale, b_scale, up_scale,
                stride_am, stride_ak, stride_bn, stride_bk, row, col, M, N, 0, K,
                SCALES, GATE_UP, APART, BLOCK_M, BLOCK_N, BLOCK_K,
            )  # fmt: skip
            acc = _scaled(
                acc, a_scale, b_scale, up_scale, row, col, M, N, SCALES, GATE_UP, APART, BLOCK_M, BLOCK_N
            )
            _store(c_ptr, stride_cm, acc, row, col, M, N, BLOCK_M, BLOCK_N)
    else:
        row, col = _tile_place(tl.program_id(0), M, N, BLOCK_M, BLOCK_N, GROUP_M)
        acc = _sum(
            a_desc, b_desc, up_desc, a_scale, b_scale, up_scale, stride_am, stride_ak, stride_bn, stride_bk,
            row, col, M, N, 0, K, SCALES, GATE_UP, APART, BLOCK_M, BLOCK_N, BLOCK_K,
        )  # fmt: skip
        acc = _scaled(
            acc, a_scale, b_scale, up_scale, row, col, M, N, SCALES, GATE_UP, APART, BLOCK_M, BLOCK_N
        )
        _store(c_ptr, stride_cm, acc, row, col, M, N, BLOCK_M, BLOCK_N)


@triton.jit
def matmul_split_k(
    a_desc, b_desc, up_desc, c_ptr, a_scale, b_scale, up_scale, partials, tickets, M, N, K,
    stride_cm, stride_am, stride_ak, stride_bn, stride_bk,
    SPLIT_K: tl.constexpr, SCALES: tl.constexpr, GATE_UP: tl.constexpr, APART: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
):  # fmt: skip
    """SPLIT_K programs a tile, each with a part of K; the last to finish adds the parts and stores.

    The parts are added in their order, whoever is last, so the result does not vary from run to run.
    partials: f32, SPLIT_K x BLOCK_M x BLOCK_N a tile. tickets: int32, one a tile, 0 before and after.
    """
    tile = tl.program_id(0)
    part = tl.program_id(1)
    row, col = _tile_place(tile, M, N, BLOCK_M, BLOCK_N, GROUP_M)
    depth = tl.cdiv(tl.cdiv(K, BLOCK_K), SPLIT_K) * BLOCK_K
    acc = _sum(
        a_desc, b_desc, up_desc, a_scale, b_scale, up_scale, stride_am, stride_ak, stride_bn, stride_bk,
        row, col, M, N, part * depth, min((part + 1) * depth, K), SCALES, GATE_UP, APART,
        BLOCK_M, BLOCK_N, BLOCK_K,
    )  # fmt: skip
    size: tl.constexpr = BLOCK_M * BLOCK_N
    inside = tl.arange(0, BLOCK_M)[:, None] * BLOCK_N + tl.arange(0, BLOCK_N)[None, :]
    first = partials + tile.to(tl.int64) * SPLIT_K * size + inside
    wanted = (row + tl.arange(0, BLOCK_M) < M)[:, None]
    tl.store(first + part * size, acc, mask=wanted)
    # All threads have stored before one of them takes the ticket, which publishes what they stored.
    tl.debug_barrier()
    if tl.atomic_add(tickets + tile, 1, sem="acq_rel") == SPLIT_K - 1:
        total = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
        for other in range(SPLIT_K):
            # Past the L1 cache, which need not have what other programs stored.
            total += tl.load(first + other * size, mask=wanted, other=0.0, cache_modifier=".cg")
        total = _scaled(
            total, a_scale, b_scale, up_scale, row, col, M, N, SCALES, GATE_UP, APART, BLOCK_M, BLOCK_N
        )
        _store(c_ptr, stride_cm, total, row, col, M, N, BLOCK_M, BLOCK_N)
        tl.store(tickets + tile, 0)
