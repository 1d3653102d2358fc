"""Loads, stores, atomics, descriptors and block pointers."""

import triton
import triton.language as tl
from case import case

BLOCK = {"B": 128}


@case("x:*fp32 y:*fp32 n:i32", BLOCK)
@triton.jit
def cache_policies(x, y, n, B: tl.constexpr):
    offsets = tl.program_id(0) * B + tl.arange(0, B)
    mask = offsets < n
    a = tl.load(x + offsets, mask, other=0.0, cache_modifier=".ca")
    b = tl.load(x + offsets, mask, other=0.0, cache_modifier=".cg")
    c = tl.load(x + offsets, mask, eviction_policy="evict_last")
    d = tl.load(x + offsets, cache_modifier=".cv")
    e = tl.load(x + offsets, eviction_policy="evict_first")
    f = tl.load(x + offsets, mask, other=float("inf"), volatile=True)
    tl.store(y + offsets, a + b, mask, cache_modifier=".cs")
    tl.store(y + offsets, c + d, mask, cache_modifier=".wt")
    tl.store(y + offsets, e, mask, cache_modifier=".wb")
    tl.store(y + offsets, f, cache_modifier=".cg")
    tl.store(y + offsets, a, mask, eviction_policy="evict_first")
    tl.store(y + offsets, b, eviction_policy="evict_last")
    tl.store(y + offsets, b, mask, cache_modifier=".cg", eviction_policy="evict_first")


@case("x:*fp32 y:*fp32", {})
@triton.jit
def scalar_memory(x, y):
    pid = tl.program_id(0)
    a = tl.load(x + pid)
    b = tl.load(x + pid + 1, mask=pid > 0, other=1.5)
    tl.store(y + pid, a * b, mask=pid < 100)
    tl.store(y + pid + 1, a)


@case("x:*i32 y:*fp32 h:*fp16 n:i32", BLOCK)
@triton.jit
def atomics(x, y, h, n, B: tl.constexpr):
    offsets = tl.arange(0, B)
    mask = offsets < n
    v = tl.atomic_add(x + offsets, offsets, mask)
    v = tl.atomic_max(x + offsets, v, mask, sem="relaxed")
    v = tl.atomic_min(x + offsets, v, mask, sem="acquire", scope="cta")
    v = tl.atomic_and(x + offsets, v, mask, sem="release", scope="sys")
    v = tl.atomic_or(x + offsets, v, mask)
    v = tl.atomic_xor(x + offsets, v, mask)
    v = tl.atomic_xchg(x + offsets, v, mask)
    w = tl.atomic_add(y + offsets, v.to(tl.float32), mask, sem="relaxed")
    w = tl.atomic_max(y + offsets, w, mask)
    tl.atomic_min(y + offsets, w, mask)
    tl.atomic_add(h + offsets, w.to(tl.float16), mask)
    tl.atomic_add(x, 1)
    tl.atomic_cas(x + offsets, v, v + 1)
    while tl.atomic_cas(x, 0, 1, sem="acquire", scope="gpu") == 1:
        pass
    tl.atomic_xchg(x, 0, sem="release")


@case("x:*u32 y:*u64 z:*fp64 n:i32", BLOCK)
@triton.jit
def atomics_wide(x, y, z, n, B: tl.constexpr):
    offsets = tl.arange(0, B)
    mask = offsets < n
    tl.atomic_max(x + offsets, offsets.to(tl.uint32), mask)
    tl.atomic_min(x + offsets, offsets.to(tl.uint32), mask)
    tl.atomic_add(y + offsets, offsets.to(tl.uint64), mask)
    tl.atomic_add(z + offsets, offsets.to(tl.float64), mask)


@case("x:*i32 y:*i32 n:i32", BLOCK, versions=("3.9",))
@triton.jit
def atomic_load_store(x, y, n, B: tl.constexpr):
    offsets = tl.arange(0, B)
    mask = offsets < n
    v = tl.atomic_load(x + offsets, mask, sem="acquire", scope="gpu")
    w = tl.atomic_load(x + offsets, sem="relaxed", scope="sys")
    tl.atomic_store(y + offsets, v + w, mask, sem="release", scope="cta")
    tl.atomic_store(y, tl.atomic_load(x))


@case("x:*i32 y:*i64", {}, versions=("3.9",))
@triton.jit
def atomic_poll(x, y):
    tl.atomic_poll(x, 1)
    tl.atomic_poll(y, 7, sem="relaxed", scope="sys", timeout_ns=1000)
    tl.store(x, 2)


@case("x:*fp16 y:*fp16 m:i32 n:i32", {"M": 32, "N": 64}, versions=("3.6",))
@triton.jit
def block_pointers(x, y, m, n, M: tl.constexpr, N: tl.constexpr):
    a = tl.make_block_ptr(x, (m, n), (n, 1), (0, 0), (M, N), (1, 0))
    b = tl.make_block_ptr(y, (m, n), (n, 1), (M, 0), (M, N), (1, 0))
    for _ in range(0, n, N):
        v = tl.load(a, boundary_check=(0, 1), padding_option="zero")
        w = tl.load(a, boundary_check=(1,), padding_option="nan", cache_modifier=".cg")
        u = tl.load(a, eviction_policy="evict_last")
        tl.store(b, v + w + u, boundary_check=(0, 1))
        tl.store(b, v, cache_modifier=".cs", eviction_policy="evict_first")
        a = tl.advance(a, (0, N))
        b = tl.advance(b, (0, N))


@case("a:tensordesc<fp16[64,32]> b:tensordesc<fp16[64,32]> n:i32", {})
@triton.jit
def host_descriptors(a, b, n):
    for i in range(n):
        b.store([i * 64, 0], a.load([i * 64, 32]) * 2)


@case("x:*fp16 y:*fp16 m:i32 n:i32", {"M": 64, "N": 64})
@triton.jit
def device_descriptors(x, y, m, n, M: tl.constexpr, N: tl.constexpr):
    a = tl.make_tensor_descriptor(x, [m, n], [n, 1], [M, N])
    b = tl.make_tensor_descriptor(y, [m, n], [n, 1], [M, N])
    i = tl.program_id(0) * M
    v = a.load([i, 0])
    b.store([i, 0], v)
    b.atomic_add([i, 0], v)
    b.atomic_min([i, 0], v)
    b.atomic_max([i, 0], v)


@case("x:*i32 m:i32 n:i32", {"M": 64, "N": 32})
@triton.jit
def descriptor_bitwise(x, m, n, M: tl.constexpr, N: tl.constexpr):
    a = tl.make_tensor_descriptor(x, [m, n], [n, 1], [M, N])
    v = a.load([0, 0])
    a.atomic_and([0, 0], v)
    a.atomic_or([0, 0], v)
    a.atomic_xor([0, 0], v)


@case("x:*fp16 y:*fp16 i:*i32 m:i32 n:i32", {"N": 64}, archs=(100,))
@triton.jit
def descriptor_gather(x, y, i, m, n, N: tl.constexpr):
    a = tl.make_tensor_descriptor(x, [m, n], [n, 1], [1, N])
    b = tl.make_tensor_descriptor(y, [m, n], [n, 1], [1, N])
    rows = tl.load(i + tl.arange(0, 32))
    b.scatter(a.gather(rows, 64), rows, 0)


@case("x:*fp32 y:*fp32 n:i32", {"B": 64})
@triton.jit
def descriptor_padding(x, y, n, B: tl.constexpr):
    a = tl.make_tensor_descriptor(x, [n, n, n], [n * n, n, 1], [1, B, 16], padding_option="nan")
    v = a.load([0, 0, 0]).reshape(B, 16)
    rows = tl.arange(0, B)[:, None] * 16
    tl.store(y + rows + tl.arange(0, 16)[None, :], v)


@case("x:*i64 y:*fp32 n:i64", BLOCK)
@triton.jit
def pointer_integers(x, y, n, B: tl.constexpr):
    offsets = tl.arange(0, B)
    pointers = tl.load(x + offsets).to(tl.pointer_type(tl.float32))
    v = tl.load(pointers)
    tl.store(y + offsets, v)
    address = tl.cast(y, tl.int64)
    tl.store(x, address + n)
    tl.store(tl.cast(y, tl.pointer_type(tl.int32)) + offsets, v.to(tl.int32, bitcast=True))
