"""Triton kernels as users write them, none of which knows of quantization."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def matmul_grouped(
    a_ptr, b_ptr, c_ptr, M, N, K, stride_am, stride_ak, stride_bk, stride_bn, stride_cm, stride_cn,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
):  # fmt: skip
    """One program a tile, tiles in groups of rows for the cache, edges masked."""
    pid = tl.program_id(0)
    num_m = tl.cdiv(M, BLOCK_M)
    num_n = tl.cdiv(N, BLOCK_N)
    in_group = GROUP_M * num_n
    first_m = (pid // in_group) * GROUP_M
    group_m = min(num_m - first_m, GROUP_M)
    pid_m = first_m + (pid % in_group) % group_m
    pid_n = (pid % in_group) // group_m
    offs_am = (pid_m * BLOCK_M + tl.arange(0, BLOCK_M)) % M
    offs_bn = (pid_n * BLOCK_N + tl.arange(0, BLOCK_N)) % N
    offs_k = tl.arange(0, BLOCK_K)
    a_ptrs = a_ptr + (offs_am[:, None] * stride_am + offs_k[None, :] * stride_ak)
    b_ptrs = b_ptr + (offs_k[:, None] * stride_bk + offs_bn[None, :] * stride_bn)
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for k in range(tl.cdiv(K, BLOCK_K)):
        a = tl.load(a_ptrs, mask=offs_k[None, :] < K - k * BLOCK_K, other=0.0)
        b = tl.load(b_ptrs, mask=offs_k[:, None] < K - k * BLOCK_K, other=0.0)
        acc = tl.dot(a, b, acc)
        a_ptrs += BLOCK_K * stride_ak
        b_ptrs += BLOCK_K * stride_bk
    c = acc.to(c_ptr.dtype.element_ty)
    offs_cm = pid_m * BLOCK_M + tl.arange(0, BLOCK_M)
    offs_cn = pid_n * BLOCK_N + tl.arange(0, BLOCK_N)
    c_ptrs = c_ptr + stride_cm * offs_cm[:, None] + stride_cn * offs_cn[None, :]
    tl.store(c_ptrs, c, mask=(offs_cm[:, None] < M) & (offs_cn[None, :] < N))


@triton.jit
def matmul_grid(
    a_ptr, b_ptr, c_ptr, K, N, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr
):
    """A 2-d grid that covers the matrices exactly; 64-bit offsets."""
    rows = (tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)).to(tl.int64)
    cols = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for k in range(0, K, BLOCK_K):
        ks = k + tl.arange(0, BLOCK_K)
        a = tl.load(a_ptr + rows[:, None] * K + ks[None, :])
        b = tl.load(b_ptr + ks[:, None] * N + cols[None, :])
        acc += tl.dot(a, b)
    tl.store(c_ptr + rows[:, None] * N + cols[None, :], acc.to(tl.bfloat16))


@triton.jit
def matmul_persistent(
    a_ptr, b_ptr, c_ptr, M, N, K, stride_am, stride_bk, stride_cm,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, PROGRAMS: tl.constexpr,
    HALVES: tl.constexpr,
):  # fmt: skip
    """A few programs that take tiles in turn; the tile is stored whole or in two halves."""
    num_n = tl.cdiv(N, BLOCK_N)
    tiles = tl.cdiv(M, BLOCK_M) * num_n
    for tile in range(tl.program_id(0), tiles, PROGRAMS):
        rows = (tile // num_n) * BLOCK_M + tl.arange(0, BLOCK_M)
        cols = (tile % num_n) * BLOCK_N + tl.arange(0, BLOCK_N)
        acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
        for k in range(0, K, BLOCK_K):
            ks = k + tl.arange(0, BLOCK_K)
            a = tl.load(a_ptr + rows[:, None] * stride_am + ks[None, :], mask=rows[:, None] < M, other=0.0)
            b = tl.load(b_ptr + ks[:, None] * stride_bk + cols[None, :], mask=cols[None, :] < N, other=0.0)
            acc = tl.dot(a, b, acc)
        if HALVES:
            left, right = tl.split(tl.permute(tl.reshape(acc, (BLOCK_M, 2, BLOCK_N // 2)), (0, 2, 1)))
            half = (tile % num_n) * BLOCK_N + tl.arange(0, BLOCK_N // 2)
            mask = rows[:, None] < M
            tl.store(
                c_ptr + rows[:, None] * stride_cm + half[None, :],
                left.to(tl.bfloat16),
                mask=mask & (half < N)[None, :],
            )
            half += BLOCK_N // 2
            tl.store(
                c_ptr + rows[:, None] * stride_cm + half[None, :],
                right.to(tl.bfloat16),
                mask=mask & (half < N)[None, :],
            )
        else:
            mask = (rows < M)[:, None] & (cols < N)[None, :]
            tl.store(c_ptr + rows[:, None] * stride_cm + cols[None, :], acc.to(tl.bfloat16), mask=mask)


@triton.jit
def matmul_descriptor(
    a_ptr, b_ptr, c_ptr, M, N, K,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, PROGRAMS: tl.constexpr,
):  # fmt: skip
    """Tensor descriptors made in the kernel; `b` is (N, K)."""
    a_desc = tl.make_tensor_descriptor(a_ptr, [M, K], [K, 1], [BLOCK_M, BLOCK_K])
    b_desc = tl.make_tensor_descriptor(b_ptr, [N, K], [K, 1], [BLOCK_N, BLOCK_K])
    c_desc = tl.make_tensor_descriptor(c_ptr, [M, N], [N, 1], [BLOCK_M, BLOCK_N])
    num_n = tl.cdiv(N, BLOCK_N)
    for tile in range(tl.program_id(0), tl.cdiv(M, BLOCK_M) * num_n, PROGRAMS):
        row, col = (tile // num_n) * BLOCK_M, (tile % num_n) * BLOCK_N
        acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
        for k in range(0, K, BLOCK_K):
            acc = tl.dot(a_desc.load([row, k]), b_desc.load([col, k]).T, acc)
        c_desc.store([row, col], acc.to(tl.bfloat16))


@triton.jit
def matmul_host_descriptor(
    a_desc, b_desc, c_desc, M, N, K, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr
):
    """Tensor descriptors from the host; `b` is (N, K)."""
    num_n = tl.cdiv(N, BLOCK_N)
    row, col = (tl.program_id(0) // num_n) * BLOCK_M, (tl.program_id(0) % num_n) * BLOCK_N
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for k in range(0, K, BLOCK_K):
        acc = tl.dot(a_desc.load([row, k]), b_desc.load([col, k]).T, acc)
    c_desc.store([row, col], acc.to(tl.bfloat16))


@triton.jit
def silu_mul(x_ptr, out_ptr, n_cols, stride_x, stride_out, BLOCK: tl.constexpr):
    """One row a program; gate and up are the halves of a row of `x`."""
    row = tl.program_id(0).to(tl.int64)
    cols = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = cols < n_cols
    gate = tl.load(x_ptr + row * stride_x + cols, mask=mask, other=0.0).to(tl.float32)
    up = tl.load(x_ptr + row * stride_x + n_cols + cols, mask=mask, other=0.0)
    y = (gate * tl.sigmoid(gate)).to(tl.bfloat16) * up
    out_ptr += row * stride_out
    tl.store(out_ptr + cols, y, mask=mask)


@triton.jit
def double_row(x_ptr, out_ptr, stride_x, stride_out, BLOCK: tl.constexpr):
    """One whole row a program."""
    row, cols = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    tl.store(out_ptr + row * stride_out + cols, tl.load(x_ptr + row * stride_x + cols) * 2.0)


@triton.jit
def gate_and_up(
    x_ptr, w_ptr, gate_ptr, up_ptr, M, N, K, stride_gate, stride_up,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Two accumulators: x times the left and the right half of w, stored to two tensors."""
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    cols = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    gate = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    up = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for k in range(0, K, BLOCK_K):
        ks = k + tl.arange(0, BLOCK_K)
        x = tl.load(x_ptr + rows[:, None] * K + ks[None, :], mask=rows[:, None] < M, other=0.0)
        w_ptrs = w_ptr + ks[:, None] * (2 * N) + cols[None, :]
        gate = tl.dot(x, tl.load(w_ptrs, mask=cols[None, :] < N, other=0.0), gate)
        up = tl.dot(x, tl.load(w_ptrs + N, mask=cols[None, :] < N, other=0.0), up)
    mask = (rows[:, None] < M) & (cols[None, :] < N)
    gate_ptrs = gate_ptr + rows[:, None] * stride_gate + cols[None, :]
    up_ptrs = up_ptr + rows[:, None] * stride_up + cols[None, :]
    tl.store(gate_ptrs, gate.to(gate_ptr.dtype.element_ty), mask=mask)
    tl.store(up_ptrs, up.to(up_ptr.dtype.element_ty), mask=mask)


@triton.jit
def double_flat(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    """Elements without rows."""
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    tl.store(out_ptr + offsets, tl.load(x_ptr + offsets, mask=mask) * 2.0, mask=mask)


@triton.jit
def attention(
    q_ptr, k_ptr, v_ptr, o_ptr, scale, stride_qb, stride_qh, stride_qs, stride_kb, stride_kh, stride_ks,
    stride_ob, stride_oh, stride_os, heads, S, BLOCK: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """Causal attention; the output's strides are arguments, so it may be (B, S, H, D) or (B, H, S, D)."""
    start = tl.program_id(0) * BLOCK
    batch = (tl.program_id(1) // heads).to(tl.int64)
    head = (tl.program_id(1) % heads).to(tl.int64)
    rows, dims = start + tl.arange(0, BLOCK), tl.arange(0, D)
    q_ptr += batch * stride_qb + head * stride_qh
    k_ptr += batch * stride_kb + head * stride_kh
    v_ptr += batch * stride_kb + head * stride_kh
    o_ptr += batch * stride_ob + head * stride_oh
    q = tl.load(q_ptr + rows[:, None] * stride_qs + dims[None, :], mask=rows[:, None] < S, other=0.0)
    top = tl.full((BLOCK,), float("-inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    acc = tl.zeros((BLOCK, D), dtype=tl.float32)
    for other in range(0, start + BLOCK, BLOCK):
        cols = other + tl.arange(0, BLOCK)
        inside = cols[:, None] < S
        k = tl.load(k_ptr + cols[:, None] * stride_ks + dims[None, :], mask=inside, other=0.0)
        v = tl.load(v_ptr + cols[:, None] * stride_ks + dims[None, :], mask=inside, other=0.0)
        s = tl.dot(q, tl.trans(k)) * scale
        s = tl.where((rows[:, None] >= cols[None, :]) & (cols[None, :] < S), s, -1e6)
        new_top = tl.maximum(top, tl.max(s, 1))
        p = tl.exp(s - new_top[:, None])
        factor = tl.exp(top - new_top)
        total = total * factor + tl.sum(p, 1)
        acc = acc * factor[:, None] + tl.dot(p.to(v.dtype), v)
        top = new_top
    o = (acc / total[:, None]).to(tl.bfloat16)
    tl.store(o_ptr + rows[:, None] * stride_os + dims[None, :], o, mask=rows[:, None] < S)
