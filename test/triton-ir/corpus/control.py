"""Loops, branches, calls, launch facts, prints and hints."""

import triton
import triton.language as tl
from case import case
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

BLOCK = {"B": 128}


@case("x:*fp32 y:*fp32 n:i32", BLOCK)
@triton.jit
def loops(x, y, n, B: tl.constexpr):
    offsets = tl.arange(0, B)
    acc = tl.zeros((B,), tl.float32)
    for i in tl.range(0, n, B, num_stages=3, loop_unroll_factor=2):
        acc += tl.load(x + i + offsets)
    for i in tl.range(n, flatten=True):
        for j in tl.range(i, 4, disallow_acc_multi_buffer=True):
            acc += tl.load(x + i + j + offsets)
    for _ in tl.static_range(3):
        acc *= 2
    i = 0
    while i < n:
        acc += tl.load(x + i + offsets)
        i += B
    tl.store(y + offsets, acc)


@case("x:*fp32 n:i64", BLOCK)
@triton.jit
def loop_of_i64(x, n, B: tl.constexpr):
    offsets = tl.arange(0, B)
    for i in range(0, n, 128):
        tl.store(x + i + offsets, tl.load(x + offsets) + i)


@case("x:*fp32 n:i32", BLOCK, options={"num_stages": 3})
@triton.jit
def licm_disabled(x, n, B: tl.constexpr):
    offsets = tl.arange(0, B)
    for i in tl.range(n, disable_licm=True, warp_specialize=False):
        tl.store(x + i + offsets, tl.load(x + offsets) + 1)


@case("x:*fp32 n:i32 flag:i1", BLOCK)
@triton.jit
def branches(x, n, flag, B: tl.constexpr):
    pid = tl.program_id(0)
    offsets = pid * B + tl.arange(0, B)
    if pid >= n:
        return
    v = tl.load(x + offsets)
    if flag:
        v = v * 2
    elif n > 3 and pid == 0:
        v = v + 1
    else:
        v = tl.where(v > 0, v, 0.0)
    w = 1.0 if n == 7 else 2.0
    tl.store(x + offsets, v * w)


@triton.jit(noinline=True)
def _helper(x, index):
    return tl.load(x + index) * 2, index + 1


@triton.jit
def _early(x, n):
    if n > 3:
        return tl.load(x)
    return tl.load(x + 1)


@case("x:*fp32 y:*fp32 n:i32", BLOCK)
@triton.jit
def calls(x, y, n, B: tl.constexpr):
    offsets = tl.arange(0, B)
    v, total = _helper(x, n)
    w, _ = _helper(y, total)
    tl.store(y + offsets, v + w + total + _early(x, n))


@case("x:*i32", {})
@triton.jit
def grid(x):
    p, q, r = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    a, b, c = tl.num_programs(0), tl.num_programs(1), tl.num_programs(2)
    tl.store(x + p + q * a + r * a * b, c)


@case("x:*fp32 n:i32", BLOCK)
@triton.jit
def hints(x, n, B: tl.constexpr):
    offsets = tl.multiple_of(tl.max_contiguous(tl.arange(0, B) * n, 16), 8)
    tl.assume(n > 0)
    tl.assume(n % 16 == 0)
    v = tl.load(tl.max_constancy(x + offsets, 4))
    tl.debug_barrier()
    tl.store(x + offsets, v)


@case("x:*fp32 i:*i32 n:i32", BLOCK, options={"debug": True})
@triton.jit
def printing(x, i, n, B: tl.constexpr):
    offsets = tl.arange(0, B)
    v = tl.load(x + offsets)
    tl.device_print('value "quoted"', v, tl.load(i + offsets))
    tl.device_print("hex", n, hex=True)
    tl.device_print("nothing")
    tl.device_assert(v > 0, "positive, please\n")
    tl.device_assert(n > 0)
    tl.store(x + offsets, v)


@case("x:*fp32 y:*fp32", BLOCK, options={"launch_pdl": True})
@triton.jit
def dependent_launch(x, y, B: tl.constexpr):
    offsets = tl.arange(0, B)
    gdc_wait()
    v = tl.load(x + offsets)
    gdc_launch_dependents()
    tl.store(y + offsets, v)


@triton.jit
def _three_way(a, b):
    if a < b:
        return a - b
    return a + b


@triton.jit
def _two_results(a, b):
    return a + b, a * b


@case("x:*i32 y:*i32", BLOCK)
@triton.jit
def mapped(x, y, B: tl.constexpr):
    offsets = tl.arange(0, B)
    a, b = tl.load(x + offsets), tl.load(y + offsets)
    tl.store(x + offsets, tl.map_elementwise(_three_way, a, b))
    c, d = tl.map_elementwise(_two_results, a, b)
    tl.store(y + offsets, c + d)


@case("x:*fp32 seed:i32", BLOCK)
@triton.jit
def randomness(x, seed, B: tl.constexpr):
    offsets = tl.arange(0, B)
    tl.store(x + offsets, tl.rand(seed, offsets) + tl.randn(seed, offsets))
    tl.store(x + offsets, tl.randint(seed, offsets).to(tl.float32))


@case("x:*fp32 n:i32", BLOCK)
@triton.jit
def single_element(x, n, B: tl.constexpr):
    one = tl.load(x + tl.arange(0, 1))
    if tl.max(one, 0) > 0:
        tl.store(x + tl.arange(0, B), 3.0)
    if tl.arange(0, 1) == n:
        tl.store(x, 4.0)


@case("a:tensordesc<fp16[128,64]> b:tensordesc<fp16[128,64]> c:tensordesc<fp16[128,128]> k:i32", {})
@triton.jit
def warp_specialized(a, b, c, k):
    for tile in tl.range(tl.program_id(0), 64, 132, flatten=True, warp_specialize=True):
        acc = tl.zeros((128, 128), tl.float32)
        for i in range(k):
            acc = tl.dot(a.load([tile * 128, i * 64]), b.load([tile * 128, i * 64]).T, acc)
        c.store([tile * 128, 0], acc.to(tl.float16))
