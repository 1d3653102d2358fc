"""Kernels in Triton's Python, whose IR the executor runs: what people write beside matrix products."""

import triton
import triton.language as tl


@triton.jit
def softmax(x, y, stride, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    cols = tl.arange(0, BLOCK)
    v = tl.load(x + row * stride + cols, mask=cols < n, other=-float("inf"))
    e = tl.exp(v - tl.max(v, 0))
    tl.store(y + row * stride + cols, e / tl.sum(e, 0), mask=cols < n)


@triton.jit
def dropout(x, y, n, p, seed, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(x + i, mask=i < n)
    keep = tl.rand(seed, i) > p
    tl.store(y + i, tl.where(keep, v / (1 - p), 0.0), mask=i < n)


@triton.jit
def sort_rows(x, y, N: tl.constexpr):
    i = tl.program_id(0) * N + tl.arange(0, N)
    tl.store(y + i, tl.sort(tl.load(x + i)))


@triton.jit
def argmax_rows(x, value, index, N: tl.constexpr):
    row = tl.program_id(0)
    v = tl.load(x + row * N + tl.arange(0, N))
    best, where = tl.max(v, 0, return_indices=True)
    tl.store(value + row, best)
    tl.store(index + row, where)


@triton.jit
def scans(x, total, product, N: tl.constexpr):
    i = tl.program_id(0) * N + tl.arange(0, N)
    v = tl.load(x + i)
    tl.store(total + i, tl.cumsum(v, 0))
    tl.store(product + i, tl.cumprod(v, 0, reverse=True))


@triton.jit
def interleaved(a, b, y, z, N: tl.constexpr):
    i = tl.arange(0, N)
    va, vb = tl.load(a + i), tl.load(b + i)
    tl.store(y + tl.arange(0, 2 * N), tl.interleave(va, vb))
    tl.store(z + i, tl.flip(va, 0))


@triton.jit
def layer_norm_weight_grad(dy, x, partial, lock, count, n, stride, GROUP: tl.constexpr, BLOCK: tl.constexpr):
    """Programs of a group add up into one row under a spin lock, as in Triton's tutorial."""
    row = tl.program_id(0)
    cols = tl.arange(0, BLOCK)
    mask = cols < n
    grad = tl.load(dy + row * stride + cols, mask=mask, other=0) * tl.load(
        x + row * stride + cols, mask=mask, other=0
    )
    group = row % GROUP
    out = partial + group * n + cols
    while tl.atomic_cas(lock + group, 0, 1) == 1:
        pass
    if tl.load(count + group) == 0:
        tl.atomic_xchg(count + group, 1)
    else:
        grad += tl.load(out, mask=mask)
    tl.store(out, grad, mask=mask)
    tl.debug_barrier()
    tl.atomic_xchg(lock + group, 0)


@triton.jit
def grouped_copy(pointers, sizes, out, GROUPS: tl.constexpr, BLOCK: tl.constexpr):
    """Reads through a table of addresses, as grouped GEMMs do."""
    start = 0
    for group in range(GROUPS):
        n = tl.load(sizes + group)
        source = tl.load(pointers + group).to(tl.pointer_type(tl.float32))
        for tile in range(tl.program_id(0), tl.cdiv(n, BLOCK), tl.num_programs(0)):
            i = tile * BLOCK + tl.arange(0, BLOCK)
            tl.store(out + start + i, tl.load(source + i, mask=i < n), mask=i < n)
        start += n


@triton.jit
def unsigned_hash(x, y, N: tl.constexpr):
    i = tl.arange(0, N)
    h = tl.load(x + i).to(tl.uint32, bitcast=True)
    h = (h ^ (h >> 16)) * 0x85EBCA6B
    h = (h ^ (h >> 13)) * 0xC2B2AE35
    h = h ^ (h >> 16)
    tl.store(y + i, ((h % 1000) // 7).to(tl.int32) + (h > 0x80000000).to(tl.int32) * 1000)


@triton.jit
def persistent_queue(x, y, counter, tiles, BLOCK: tl.constexpr):
    """Programs take tiles from a shared counter until none are left."""
    tile = tl.atomic_add(counter, 1)
    while tile < tiles:
        i = tile * BLOCK + tl.arange(0, BLOCK)
        tl.store(y + i, tl.load(x + i) * 2)
        tile = tl.atomic_add(counter, 1)
