"""Arithmetic, casts, reductions, scans, shapes and dots."""

import triton
import triton.language as tl
from case import case
from triton.language.extra import libdevice

BLOCK = {"B": 128}


@case("x:*fp32 y:*fp32 n:i32", BLOCK)
@triton.jit
def float_math(x, y, n, B: tl.constexpr):
    offsets = tl.arange(0, B)
    v = tl.load(x + offsets)
    v = tl.exp(v) + tl.exp2(v) + tl.log(v) + tl.log2(v) + tl.sin(v) + tl.cos(v)
    v += tl.sqrt(v) + tl.rsqrt(v) + tl.abs(v) + tl.floor(v) + tl.ceil(v) + tl.erf(v)
    v += tl.sqrt_rn(v) + tl.div_rn(v, 3.0) + tl.fdiv(v, 2.0) + tl.fma(v, v, v)
    v = tl.clamp(v, -1.0, 1.0) + tl.sigmoid(v) + tl.softmax(v)
    v = tl.maximum(v, 0.0) + tl.minimum(v, 1.0, propagate_nan=tl.PropagateNan.ALL)
    v = tl.clamp(v, -3.0, 3.0, propagate_nan=tl.PropagateNan.ALL) % 2.0
    v = tl.where(v != v, float("-inf"), tl.where(v > 3.0, float("nan"), -v / 7.0))
    tl.store(y + offsets, v, offsets < n)


@case("x:*fp64 y:*fp64 n:i32", BLOCK)
@triton.jit
def double_math(x, y, n, B: tl.constexpr):
    offsets = tl.arange(0, B)
    v = tl.load(x + offsets, offsets < n, other=0.0)
    tl.store(y + offsets, v / 3.0 + tl.sqrt(v) * 1e-300 + tl.abs(v))


@case("x:*i32 u:*u32 w:*u64 b:*i1 n:i32", BLOCK)
@triton.jit
def integer_math(x, u, w, b, n, B: tl.constexpr):
    offsets = tl.arange(0, B)
    v = tl.load(x + offsets)
    a = tl.load(u + offsets)
    c = tl.load(w + offsets)
    v = (v // 3) * (v % 5) - (v << 2) + (v >> 1) ^ (v & 7) | ~v
    a = (a // 3) * (a % 5) - (a << 2) + (a >> 1) ^ tl.umulhi(a, a)
    c = tl.umulhi(c, c) + a.to(tl.uint64)
    v = tl.maximum(v, tl.minimum(v, 3)) + tl.abs(v) + tl.cdiv(v, 7)
    a = tl.maximum(a, tl.minimum(a, 3))
    tl.store(x + offsets, v)
    tl.store(u + offsets, a)
    tl.store(w + offsets, c)
    tl.store(b + offsets, (v > 0) & (a < 7) | (c == 3))


@case("x:*fp32 h:*fp16 b:*bf16 i:*i8 d:*fp64", BLOCK)
@triton.jit
def casts(x, h, b, i, d, B: tl.constexpr):
    offsets = tl.arange(0, B)
    v = tl.load(x + offsets)
    tl.store(h + offsets, v.to(tl.float16))
    tl.store(h + offsets, v.to(tl.float16, fp_downcast_rounding="rtz"))
    tl.store(b + offsets, v.to(tl.bfloat16))
    tl.store(b + offsets, v.to(tl.bfloat16, fp_downcast_rounding="rtz"))
    tl.store(i + offsets, v.to(tl.int8))
    tl.store(i + offsets, v.to(tl.uint8))
    tl.store(d + offsets, v.to(tl.float64))
    tl.store(x + offsets, tl.load(b + offsets).to(tl.float32) + tl.load(h + offsets))
    tl.store(x + offsets, tl.load(i + offsets).to(tl.float32) + offsets.to(tl.uint32).to(tl.float32))
    tl.store(x + offsets, (v > 0).to(tl.float32))
    tl.store(x + offsets, offsets.to(tl.int64).to(tl.float32))


@case("x:*fp32 q:*fp8e4nv r:*fp8e5 b:*bf16", BLOCK)
@triton.jit
def fp8_casts(x, q, r, b, B: tl.constexpr):
    offsets = tl.arange(0, B)
    v = tl.load(x + offsets)
    tl.store(q + offsets, v.to(tl.float8e4nv))
    tl.store(r + offsets, v.to(tl.float8e5))
    tl.store(r + offsets, v.to(tl.float8e5, fp_downcast_rounding="rtz"))
    tl.store(b + offsets, tl.load(q + offsets).to(tl.bfloat16))
    tl.store(x + offsets, tl.load(r + offsets).to(tl.float32))
    tl.store(b + offsets, tl.load(q + offsets).to(tl.uint8, bitcast=True).to(tl.bfloat16))


@triton.jit
def _argmax_pair(v0, i0, v1, i1):
    take = (v0 > v1) | ((v0 == v1) & (i0 < i1))
    return tl.where(take, v0, v1), tl.where(take, i0, i1)


@triton.jit
def _welford(m0, s0, w0, m1, s1, w1):
    delta = m1 - m0
    w = w0 + w1
    ratio = tl.where(w == 0.0, 0.0, w1 / w)
    return m0 + delta * ratio, s0 + s1 + delta * delta * w0 * ratio, w


@case("x:*fp32 y:*fp32 i:*i32", {"M": 32, "N": 64})
@triton.jit
def reductions(x, y, i, M: tl.constexpr, N: tl.constexpr):
    rows = tl.arange(0, M)
    cols = tl.arange(0, N)
    v = tl.load(x + rows[:, None] * N + cols[None, :])
    tl.store(y + rows, tl.sum(v, axis=1))
    tl.store(y + rows[:, None], tl.max(v, axis=1, keep_dims=True))
    tl.store(y + cols, tl.min(v, axis=0))
    tl.store(i + rows, tl.argmax(v, axis=1))
    tl.store(i + cols, tl.argmin(v, axis=0, tie_break_left=False))
    tl.store(y, tl.sum(v))
    tl.store(y, tl.max(v))
    best, index = tl.reduce((v, rows[:, None] + cols[None, :]), 1, _argmax_pair)
    tl.store(y + rows, best)
    tl.store(i + rows, index)
    mean, m2, weight = tl.reduce((v, v * 0, v * 0 + 1), 0, _welford)
    tl.store(y + cols, mean + m2 + weight)
    tl.store(i + rows, tl.xor_sum((v > 0).to(tl.int32), axis=1))


@triton.jit
def _linear(a0, b0, a1, b1):
    return a0 * a1, b0 * a1 + b1


@case("x:*fp32 y:*fp32 i:*i32", {"M": 16, "N": 64})
@triton.jit
def scans(x, y, i, M: tl.constexpr, N: tl.constexpr):
    offsets = tl.arange(0, M)[:, None] * N + tl.arange(0, N)[None, :]
    v = tl.load(x + offsets)
    tl.store(y + offsets, tl.cumsum(v, axis=1) + tl.cumprod(v, axis=0))
    tl.store(y + offsets, tl.cumsum(v, axis=1, reverse=True))
    a, b = tl.associative_scan((v, v), 1, _linear)
    tl.store(y + offsets, a + b)
    tl.store(i + offsets, tl.cumsum((v > 0).to(tl.int32), 1))


@case("x:*fp32 i:*i32", {"N": 64})
@triton.jit
def sorting(x, i, N: tl.constexpr):
    offsets = tl.arange(0, N)
    v = tl.load(x + offsets)
    tl.store(x + offsets, tl.sort(v))
    tl.store(x + offsets, tl.flip(v, 0))
    tl.store(x + tl.arange(0, 8), tl.topk(v, 8))
    tl.store(i + tl.arange(0, 16), tl.histogram(tl.load(i + offsets), 16))
    tl.store(x + offsets, tl.gather(v, tl.load(i + offsets), 0))
    tl.store(i + tl.arange(0, 16), tl.histogram(tl.load(i + offsets), 16, mask=offsets < 3))


@case("x:*fp32 y:*fp32", {"N": 64})
@triton.jit
def shapes(x, y, N: tl.constexpr):
    offsets = tl.arange(0, N)
    a = tl.load(x + offsets)
    b = tl.load(x + N + offsets)
    j = tl.join(a, b)
    lhs, rhs = tl.split(j)
    k = tl.interleave(lhs, rhs).reshape(8, 4, 4)
    t = tl.permute(k, (2, 0, 1)).trans(0, 2, 1)
    c = tl.cat(lhs, rhs, can_reorder=True)
    r = tl.reshape(t, (2 * N,), can_reorder=True)
    two = tl.arange(0, 2 * N)
    tl.store(y + two, c + r + tl.ravel(t))
    tl.store(y + two, tl.view(t, (2 * N,)))
    tl.store(y + two, tl.broadcast_to(tl.full((1,), 3.0, tl.float32), (2 * N,)))
    e = tl.expand_dims(a, (0, 2))
    m, _ = tl.broadcast(e, tl.zeros((2, N, 1), tl.float32))
    tl.store(y + offsets[None, :, None] + tl.arange(0, 2)[:, None, None], m)


@case("x:*fp32 y:*fp32", {})
@triton.jit
def high_rank(x, y):
    offsets = tl.arange(0, 1024)
    v = tl.load(x + offsets).reshape(2, 2, 2, 2, 2, 2, 2, 2, 2, 2)
    v = tl.sum(v, axis=3, keep_dims=True) + tl.max(v, axis=9, keep_dims=True)
    v = tl.permute(v, (9, 8, 7, 6, 5, 4, 3, 2, 1, 0))
    tl.store(y + offsets, v.reshape(1024))


@case("a:*fp16 b:*fp16 c:*fp32 k:i32", {"M": 64, "N": 64, "K": 32})
@triton.jit
def dots(a, b, c, k, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    m, n, kk = tl.arange(0, M), tl.arange(0, N), tl.arange(0, K)
    acc = tl.zeros((M, N), tl.float32)
    for i in range(0, k, K):
        x = tl.load(a + m[:, None] * k + kk[None, :] + i, kk[None, :] + i < k, other=0.0)
        y = tl.load(b + n[:, None] * k + kk[None, :] + i).T
        acc = tl.dot(x, y, acc)
    z = tl.load(a + m[:, None] * K + kk[None, :])
    acc += tl.dot(z, z.T, out_dtype=tl.float16)
    tl.store(c + m[:, None] * N + n[None, :], acc)


@case("a:*fp32 b:*fp32 c:*fp32", {"M": 32})
@triton.jit
def dot_precisions(a, b, c, M: tl.constexpr):
    offsets = tl.arange(0, M)[:, None] * M + tl.arange(0, M)[None, :]
    x, y = tl.load(a + offsets), tl.load(b + offsets)
    z = tl.dot(x, y) + tl.dot(x, y, input_precision="ieee")
    z += tl.dot(x, y, input_precision="tf32x3") + tl.dot(x, y, allow_tf32=False)
    tl.store(c + offsets, z)


@case("a:*i8 b:*i8 q:*fp8e4nv r:*fp8e5 c:*i32 d:*fp32", {"M": 64})
@triton.jit
def dot_types(a, b, q, r, c, d, M: tl.constexpr):
    offsets = tl.arange(0, M)[:, None] * M + tl.arange(0, M)[None, :]
    tl.store(c + offsets, tl.dot(tl.load(a + offsets), tl.load(b + offsets)))
    x = tl.load(q + offsets)
    tl.store(d + offsets, tl.dot(x, x.T, max_num_imprecise_acc=32) + tl.dot(x, x.T))
    y = tl.load(r + offsets)
    tl.store(d + offsets, tl.dot(y, y.T))


@case("a:*bf16 c:*fp32", {"M": 16})
@triton.jit
def batched_dot(a, c, M: tl.constexpr):
    i = tl.arange(0, 4)[:, None, None] * M * M
    offsets = i + tl.arange(0, M)[None, :, None] * M + tl.arange(0, M)[None, None, :]
    x = tl.load(a + offsets)
    tl.store(c + offsets, tl.dot(x, tl.trans(x, (0, 2, 1))))


@case("a:*u8 s:*u8 q:*fp8e4nv h:*bf16 c:*fp32", {"M": 128, "N": 128, "K": 128})
@triton.jit
def scaled_dots(a, s, q, h, c, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    m, n, k = tl.arange(0, M)[:, None], tl.arange(0, N)[None, :], tl.arange(0, K)
    scale = tl.load(s + m * (K // 32) + tl.arange(0, K // 32)[None, :])
    x = tl.load(q + m * K + k[None, :])
    y = tl.load(q + k[:, None] * N + n)
    acc = tl.dot_scaled(x, scale, "e4m3", y, scale, "e4m3")
    packed = tl.load(a + m * (K // 2) + tl.arange(0, K // 2)[None, :])
    half = tl.load(h + k[:, None] * N + n)
    acc = tl.dot_scaled(packed, scale, "e2m1", half, None, "bf16", acc)
    acc = tl.dot_scaled(packed, scale, "e2m1", packed.T, scale, "e2m1", acc, fast_math=True)
    tl.store(c + m * N + n, acc)


@case("x:*fp32 y:*fp32 i:*i32", BLOCK)
@triton.jit
def device_library(x, y, i, B: tl.constexpr):
    offsets = tl.arange(0, B)
    v = tl.load(x + offsets)
    v = libdevice.tanh(v) + libdevice.pow(v, 2.0) + libdevice.erf(v) + libdevice.rsqrt(v)
    v += libdevice.fmod(v, 3.0) + libdevice.isnan(v).to(tl.float32)
    tl.store(y + offsets, v)
    tl.store(i + offsets, libdevice.ffs(tl.load(i + offsets)))


@case("x:*i32 y:*i32 h:*fp16", BLOCK)
@triton.jit
def inline_assembly(x, y, h, B: tl.constexpr):
    offsets = tl.arange(0, B)
    v = tl.load(x + offsets)
    a, b = tl.inline_asm_elementwise(
        "{ shl.b32 $0, $2, 3; add.u32 $1, $2, $3; }",
        "=r,=r,r,r",
        [v, v],
        dtype=(tl.int32, tl.int32),
        is_pure=True,
        pack=1,
    )
    c = tl.inline_asm_elementwise("mov.u32 $0, %smid;", "=r", [], tl.int32, is_pure=False, pack=1)
    tl.store(y + offsets, a + b + c)
    w = tl.load(h + offsets)
    w = tl.inline_asm_elementwise("tanh.approx.f16x2 $0, $1;", "=r,r", [w], tl.float16, True, pack=2)
    tl.store(h + offsets, w)
