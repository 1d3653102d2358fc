"""Kernels that Triton's frontend compiles here and now, run by the executor against torch."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest
import torch

from epiq.executor import ExecutionError, Executor, uninitialized

triton = pytest.importorskip("triton", reason="Triton's frontend makes the IR")
kernels = pytest.importorskip("triton_kernels")


@lru_cache(maxsize=32)
def executor(name: str, signature: str, constants: tuple[tuple[str, Any], ...]) -> Executor:
    """signature: "x:*fp32 n:i32"; constants: values of the constexpr arguments."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    function = getattr(kernels, name)
    types = dict(part.split(":") for part in signature.split())
    types |= {constant: "constexpr" for constant, _ in constants}
    source = ASTSource(function, {n: types[n] for n in function.arg_names}, constexprs=dict(constants))
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32))
    return Executor(compiled.asm["ttir"])


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_softmax() -> None:
    x, y = normal(9, 200), uninitialized((9, 200), torch.float32)
    run = executor("softmax", "x:*fp32 y:*fp32 stride:i32 n:i32", (("BLOCK", 256),)).run
    run(9, [x, y, 200, 200])
    torch.testing.assert_close(y, x.softmax(-1), rtol=1e-6, atol=1e-8)


def philox(seed: int, offset: int) -> int:
    """The first of the four words of Philox-4x32-10, from its definition."""
    key = [seed & 0xFFFFFFFF, seed >> 32]
    counter = [offset, 0, 0, 0]
    for _ in range(10):
        low, high = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [
            (high >> 32) ^ counter[1] ^ key[0],
            high & 0xFFFFFFFF,
            (low >> 32) ^ counter[3] ^ key[1],
            low & 0xFFFFFFFF,
        ]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return counter[0]


def test_dropout_draws_philox_numbers() -> None:
    x, y = torch.ones(300), uninitialized((300,), torch.float32)
    run = executor("dropout", "x:*fp32 y:*fp32 n:i32 p:fp32 seed:i32", (("BLOCK", 128),)).run
    run(3, [x, y, 300, 0.25, 123])

    def uniform(word: int) -> float:
        signed = word - 2**32 if word >= 2**31 else word
        return (-signed - 1 if signed < 0 else signed) * 4.6566127342e-10

    kept = torch.tensor([uniform(philox(123, i)) > 0.25 for i in range(300)])
    assert torch.equal(y != 0, kept)
    assert (y[kept] == torch.tensor(1.0) / torch.tensor(0.75)).all()


def test_sort() -> None:
    x, y = normal(5, 64), uninitialized((5, 64), torch.float32)
    executor("sort_rows", "x:*fp32 y:*fp32", (("N", 64),)).run(5, [x, y])
    assert torch.equal(y, x.sort(-1).values)


def test_argmax_takes_the_first_of_equals() -> None:
    x = torch.randint(0, 5, (6, 32), generator=torch.Generator().manual_seed(0)).float()
    value, index = uninitialized((6,), torch.float32), uninitialized((6,), torch.int32)
    run = executor("argmax_rows", "x:*fp32 value:*fp32 index:*i32", (("N", 32),)).run
    run(6, [x, value, index])
    assert torch.equal(value, x.amax(-1))
    assert index.tolist() == [row.index(max(row)) for row in x.tolist()]


def test_cumulative_sum_and_product() -> None:
    x = torch.randint(1, 3, (3, 16), generator=torch.Generator().manual_seed(0)).float()
    total, product = uninitialized((3, 16), torch.float32), uninitialized((3, 16), torch.float32)
    executor("scans", "x:*fp32 total:*fp32 product:*fp32", (("N", 16),)).run(3, [x, total, product])
    assert torch.equal(total, x.cumsum(-1))
    assert torch.equal(product, x.flip(-1).cumprod(-1).flip(-1))


def test_interleave_and_flip() -> None:
    a, b = normal(16), normal(16, seed=1)
    y, z = uninitialized((32,), torch.float32), uninitialized((16,), torch.float32)
    executor("interleaved", "a:*fp32 b:*fp32 y:*fp32 z:*fp32", (("N", 16),)).run(1, [a, b, y, z])
    assert torch.equal(y, torch.stack([a, b], -1).flatten()) and torch.equal(z, a.flip(0))


def test_spin_locks_of_layer_norm() -> None:
    rows, n, groups = 10, 48, 3
    dy, x = normal(rows, n), normal(rows, n, seed=1)
    partial = uninitialized((groups, n), torch.float32)
    lock, count = torch.zeros(groups, dtype=torch.int32), torch.zeros(groups, dtype=torch.int32)
    signature = "dy:*fp32 x:*fp32 partial:*fp32 lock:*i32 count:*i32 n:i32 stride:i32"
    run = executor("layer_norm_weight_grad", signature, (("GROUP", groups), ("BLOCK", 64))).run
    run(rows, [dy, x, partial, lock, count, n, n])
    expected = torch.zeros(groups, n)
    for row in range(rows):
        expected[row % groups] += dy[row] * x[row]
    torch.testing.assert_close(partial, expected)


def test_a_table_of_addresses() -> None:
    parts = [normal(size, seed=size) for size in (40, 16, 100)]
    pointers = torch.tensor([part.data_ptr() for part in parts])
    sizes = torch.tensor([part.numel() for part in parts], dtype=torch.int32)
    out = uninitialized((156,), torch.float32)
    signature = "pointers:*i64 sizes:*i32 out:*fp32"
    kernel = executor("grouped_copy", signature, (("GROUPS", 3), ("BLOCK", 16)))
    kernel.run(4, [pointers, sizes, out], memory=parts)
    assert torch.equal(out, torch.cat(parts))
    with pytest.raises(ExecutionError, match=r"A1: .* it is in no argument"):
        kernel.run(4, [pointers, sizes, out], memory=parts[:2])


def test_unsigned_arithmetic() -> None:
    x = torch.randint(-(2**31), 2**31, (64,), generator=torch.Generator().manual_seed(0)).to(torch.int32)
    y = uninitialized((64,), torch.int32)
    executor("unsigned_hash", "x:*i32 y:*i32", (("N", 64),)).run(1, [x, y])

    def mixed(h: int) -> int:
        h &= 0xFFFFFFFF
        h = ((h ^ (h >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
        h = ((h ^ (h >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
        h ^= h >> 16
        return h % 1000 // 7 + (1000 if h > 0x80000000 else 0)

    assert y.tolist() == [mixed(v) for v in x.tolist()]


def test_a_queue_of_tiles() -> None:
    x, y = normal(12, 32), uninitialized((12, 32), torch.float32)
    counter = torch.zeros(1, dtype=torch.int32)
    signature = "x:*fp32 y:*fp32 counter:*i32 tiles:i32"
    executor("persistent_queue", signature, (("BLOCK", 32),)).run(4, [x, y, counter, 12])
    assert torch.equal(y, x * 2) and counter.item() == 12 + 4
