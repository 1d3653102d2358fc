"""Attention kernels that quantize operands inside, each in a style of its own, none written for epiq."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def attention_per_token(
    q_ptr, k_ptr, v_ptr, o_ptr, stride_z, stride_h, stride_m, kv_stride_z, kv_stride_h, kv_stride_n,
    H, M, N, sm_scale, D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Q gets an FP8 scale for each token, K and V come in FP8; ragged lengths are masked."""
    start = tl.program_id(0) * BM
    z = tl.program_id(1) // H
    h = tl.program_id(1) % H
    rows = start + tl.arange(0, BM)
    cols = tl.arange(0, D)
    q_base = q_ptr + z * stride_z + h * stride_h
    q = tl.load(q_base + rows[:, None] * stride_m + cols[None, :], mask=rows[:, None] < M, other=0.0)
    qf = q.to(tl.float32)
    q_scale = tl.maximum(tl.max(tl.abs(qf), 1) / 448.0, 1e-8)
    q8 = (qf / q_scale[:, None]).to(tl.float8e4nv)
    acc = tl.zeros((BM, D), dtype=tl.float32)
    total = tl.zeros((BM,), dtype=tl.float32)
    top = tl.full((BM,), -1e30, dtype=tl.float32)
    kv_base = z * kv_stride_z + h * kv_stride_h
    for n in range(0, N, BN):
        keys = n + tl.arange(0, BN)
        k = tl.load(k_ptr + kv_base + keys[None, :] * kv_stride_n + cols[:, None], mask=keys[None, :] < N)
        v = tl.load(
            v_ptr + kv_base + keys[:, None] * kv_stride_n + cols[None, :], mask=keys[:, None] < N, other=0.0
        )
        s = tl.dot(q8, k) * q_scale[:, None] * sm_scale
        s = tl.where(keys[None, :] < N, s, -1e30)
        new_top = tl.maximum(top, tl.max(s, 1))
        p = tl.exp2((s - new_top[:, None]) * 1.4426950408889634)
        decay = tl.exp2((top - new_top) * 1.4426950408889634)
        total = total * decay + tl.sum(p, 1)
        acc = acc * decay[:, None] + tl.dot(p.to(tl.float8e4nv), v)
        top = new_top
    out = o_ptr + z * stride_z + h * stride_h + rows[:, None] * stride_m + cols[None, :]
    tl.store(out, (acc / total[:, None]).to(tl.bfloat16), mask=rows[:, None] < M)


@triton.jit
def attention_static(
    q_ptr, k_ptr, o_ptr, q_scale_ptr, stride_m, M, N, D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """FP8 Q with a calibrated scale, read from memory; the clamp is the kernel's own. Scores only."""
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    keys = tl.program_id(1) * BN + tl.arange(0, BN)
    cols = tl.arange(0, D)
    q = tl.load(q_ptr + rows[:, None] * stride_m + cols[None, :], mask=(rows < M)[:, None], other=0.0)
    q_scale = tl.load(q_scale_ptr)
    q8 = tl.clamp(q.to(tl.float32) * (1.0 / q_scale), -448.0, 448.0).to(tl.float8e4nv)
    k = tl.load(k_ptr + keys[None, :] * D + cols[:, None], mask=keys[None, :] < N, other=0.0)
    s = tl.dot(q8, k) * q_scale
    tl.store(o_ptr + rows[:, None] * N + keys[None, :], s, mask=(rows[:, None] < M) & (keys[None, :] < N))


@triton.jit
def attention_int8_tokens(
    q_ptr, k_ptr, o_ptr, sm_scale, M, N, D: tl.constexpr, BLOCK_D: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """INT8 Q per token, rounded half away from zero, the softmax scale folded in; D is no power of two."""
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    keys = tl.program_id(1) * BN + tl.arange(0, BN)
    cols = tl.arange(0, BLOCK_D)
    inside = (rows[:, None] < M) & (cols[None, :] < D)
    q = tl.load(q_ptr + rows[:, None] * D + cols[None, :], mask=inside, other=0.0).to(tl.float32)
    q *= sm_scale * 1.4426950408889634
    q_scale = tl.max(tl.abs(q), 1)[:, None] / 127.0 + 1e-7
    x = q / q_scale
    x += 0.5 * tl.where(x >= 0, 1, -1)
    q8 = x.to(tl.int8)
    k_mask = (keys[None, :] < N) & (cols[:, None] < D)
    k = tl.load(k_ptr + keys[None, :] * D + cols[:, None], mask=k_mask, other=0)
    s = tl.dot(q8, k).to(tl.float32) * q_scale
    tl.store(o_ptr + rows[:, None] * N + keys[None, :], s, mask=(rows[:, None] < M) & (keys[None, :] < N))


@triton.jit
def attention_k_in_loop(
    q_ptr, k_ptr, o_ptr, q_scale_ptr, M, N, D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """K is quantized per token within the loop, by each program again; pointers move on."""
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    cols = tl.arange(0, D)
    q8 = tl.load(q_ptr + rows[:, None] * D + cols[None, :], mask=rows[:, None] < M, other=0.0)
    q_scale = tl.load(q_scale_ptr + rows, mask=rows < M, other=0.0)
    keys = tl.arange(0, BN)
    k_ptrs = k_ptr + keys[None, :] * D + cols[:, None]
    best = tl.full((BM,), -1e30, dtype=tl.float32)
    for n in range(0, N, BN):
        kT = tl.load(k_ptrs, mask=(n + keys)[None, :] < N, other=0.0).to(tl.float32)
        k_scale = tl.maximum(tl.max(tl.abs(kT), 0), 1e-6) / 448.0
        k8 = (kT / k_scale[None, :]).to(tl.float8e4nv)
        s = tl.dot(q8, k8) * (q_scale[:, None] * k_scale[None, :])
        s = tl.where((n + keys)[None, :] < N, s, -1e30)
        best = tl.maximum(best, tl.max(s, 1))
        k_ptrs += BN * D
    tl.store(o_ptr + rows, best, mask=rows < M)


@triton.jit
def attention_groups(
    q_ptr, k_ptr, o_ptr, M, N, D: tl.constexpr, G: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """FP8 Q with a scale for each G columns, the tile taken apart by reshapes; dequantized for the dot."""
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    keys = tl.program_id(1) * BN + tl.arange(0, BN)
    cols = tl.arange(0, D)
    q = tl.load(q_ptr + rows[:, None] * D + cols[None, :], mask=rows[:, None] < M, other=0.0)
    groups = tl.reshape(q.to(tl.float32), (BM, D // G, G))
    scale = tl.maximum(tl.max(tl.abs(groups), 2) / 448.0, 1e-9)
    q8 = (groups / scale[:, :, None]).to(tl.float8e4nv)
    back = tl.reshape(q8.to(tl.float32) * scale[:, :, None], (BM, D)).to(tl.bfloat16)
    k = tl.load(k_ptr + keys[None, :] * D + cols[:, None], mask=keys[None, :] < N, other=0.0)
    s = tl.dot(back, k)
    tl.store(o_ptr + rows[:, None] * N + keys[None, :], s, mask=(rows[:, None] < M) & (keys[None, :] < N))


@triton.jit
def attention_block_pointers(
    q_ptr, k_ptr, o_ptr, M, N, D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """FP8 Q per token through block pointers, which check bounds."""
    start = tl.program_id(0) * BM
    q_block = tl.make_block_ptr(q_ptr, (M, D), (D, 1), (start, 0), (BM, D), (1, 0))
    k_block = tl.make_block_ptr(k_ptr, (D, N), (1, D), (0, 0), (D, BN), (0, 1))
    o_block = tl.make_block_ptr(o_ptr, (M, N), (N, 1), (start, 0), (BM, BN), (1, 0))
    q = tl.load(q_block, boundary_check=(0,), padding_option="zero").to(tl.float32)
    scale = tl.max(tl.abs(q), 1, keep_dims=True) * (1.0 / 448.0)
    scale = tl.where(scale > 1e-10, scale, 1e-10)
    q8 = (q / scale).to(tl.float8e4nv)
    for _ in range(0, N, BN):
        k = tl.load(k_block, boundary_check=(1,), padding_option="zero")
        tl.store(o_block, tl.dot(q8, k) * scale, boundary_check=(0, 1))
        k_block = tl.advance(k_block, (0, BN))
        o_block = tl.advance(o_block, (0, BN))


@triton.jit
def attention_device_descriptor(
    q_ptr, k_ptr, o_ptr, M, N, D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """FP8 Q per token through a descriptor made in the kernel."""
    start = tl.program_id(0) * BM
    q_desc = tl.make_tensor_descriptor(q_ptr, [M, D], [D, 1], [BM, D])
    q = q_desc.load([start, 0]).to(tl.float32)
    scale = tl.maximum(tl.max(tl.abs(q), 1), 1e-12) / 448.0
    q8 = (q / scale[:, None]).to(tl.float8e4nv)
    rows = start + tl.arange(0, BM)
    cols = tl.arange(0, D)
    for n in range(0, N, BN):
        keys = n + tl.arange(0, BN)
        k = tl.load(k_ptr + keys[None, :] * D + cols[:, None], mask=keys[None, :] < N, other=0.0)
        s = tl.dot(q8, k) * scale[:, None]
        tl.store(o_ptr + rows[:, None] * N + keys[None, :], s, mask=(rows[:, None] < M) & (keys[None, :] < N))


@triton.jit
def attention_host_descriptor(
    q_desc, k_ptr, o_ptr, M, N, D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """FP8 Q per token through a descriptor that the caller makes."""
    start = tl.program_id(0) * BM
    q = q_desc.load([start, 0]).to(tl.float32)
    scale = tl.maximum(tl.max(tl.abs(q), 1), 1e-12) / 448.0
    q8 = (q / scale[:, None]).to(tl.float8e4nv)
    rows = start + tl.arange(0, BM)
    cols = tl.arange(0, D)
    for n in range(0, N, BN):
        keys = n + tl.arange(0, BN)
        k = tl.load(k_ptr + keys[None, :] * D + cols[:, None], mask=keys[None, :] < N, other=0.0)
        s = tl.dot(q8, k) * scale[:, None]
        tl.store(o_ptr + rows[:, None] * N + keys[None, :], s, mask=(rows[:, None] < M) & (keys[None, :] < N))


@triton.jit
def attention_per_block(
    q_ptr, k_ptr, o_ptr, stride_h, stride_m, sm_scale, M, N,
    D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """INT8 Q with one scale for the tile, as SageAttention has it, the softmax scale folded in."""
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    keys = tl.program_id(1) * BN + tl.arange(0, BN)
    h = tl.program_id(2)
    cols = tl.arange(0, D)
    q_ptrs = q_ptr + h * stride_h + rows[:, None] * stride_m + cols[None, :]
    q = tl.load(q_ptrs, mask=rows[:, None] < M, other=0.0).to(tl.float32)
    q *= sm_scale * 1.4426950408889634
    scale = tl.max(tl.abs(q)) / 127.0 + 1e-7
    x = q / scale
    x += 0.5 * tl.where(x >= 0, 1, -1)
    k = tl.load(k_ptr + h * N * D + keys[None, :] * D + cols[:, None], mask=keys[None, :] < N, other=0)
    s = tl.dot(x.to(tl.int8), k).to(tl.float32) * scale
    out = o_ptr + h * M * N + rows[:, None] * N + keys[None, :]
    tl.store(out, s, mask=(rows[:, None] < M) & (keys[None, :] < N))
