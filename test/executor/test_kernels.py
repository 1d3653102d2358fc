"""Whole kernels, as Triton 3.6 and 3.9 print them, against float references; and their speed."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from executor_ir import same

from epiq.executor import Executor, uninitialized

KERNELS = Path(__file__).parent / "ttir"
VERSIONS = ("3.6.0", "3.9.0")


def kernel(name: str, version: str = "3.6.0") -> Executor:
    path = KERNELS / version / f"{name}.ttir"
    return Executor(path.read_text(), filename=path.name)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def close(found: torch.Tensor, expected: torch.Tensor, relative: float) -> bool:
    """Whether errors stay below `relative` of the largest expected magnitude."""
    return bool((found.float() - expected.float()).abs().max() <= relative * expected.float().abs().max())


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("rows", "width"), [(3, 4096), (5, 1000)])
def test_rmsnorm(version: str, rows: int, width: int) -> None:
    width = width // 16 * 16
    x, w = normal(rows, width).bfloat16(), normal(width, seed=1).bfloat16()
    y = uninitialized((rows, width), torch.bfloat16)
    kernel("rmsnorm", version).run(rows, [x, w, y, width, width, width, 1e-6])
    exact = x.double() * torch.rsqrt(x.double().pow(2).mean(-1, keepdim=True) + 1e-6) * w.double()
    # One rounding to bf16, and what f32 loses before it.
    assert ((y.double() - exact).abs() <= exact.abs() * 2.0**-8).all()


@pytest.mark.parametrize("version", VERSIONS)
def test_quant_group(version: str) -> None:
    rows, width = 7, 2048
    x = normal(rows, width).bfloat16()
    x[2, 128:256] = 0
    q = uninitialized((rows, width), torch.float8_e4m3fn)
    scale = uninitialized((rows, width // 128), torch.float32)
    args = [x, q, scale, width, width, width // 128, width, 1e-10]
    kernel("quant_group", version).run((rows, 2), args)
    groups = x.float().view(rows, -1, 128)
    expected = groups.abs().amax(-1).clamp(min=1e-10) / 448
    assert torch.equal(scale, expected)
    assert same(q, (groups / expected[..., None]).clamp(-448, 448).to(torch.float8_e4m3fn).view(rows, width))


def matmul_arguments(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> list[object]:
    """(a, b, c, M, N, K, row strides of a, b, c)."""
    (m, k), n = a.shape, b.shape[1]
    return [a, b, c, m, n, k, a.stride(0), b.stride(0), c.stride(0)]


@pytest.mark.parametrize("version", VERSIONS)
def test_matmul_with_masked_edges(version: str) -> None:
    m, n, k = 208, 288, 96
    a, b = normal(m, k).bfloat16(), normal(k, n, seed=1).bfloat16()
    c = uninitialized((m, n), torch.bfloat16)
    kernel("matmul", version).run(-(-m // 128) * -(-n // 256), matmul_arguments(a, b, c))
    assert close(c, a.double() @ b.double(), 2.0**-8)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["matmul_desc", "matmul_desc_ws"])
def test_matmul_with_descriptors(version: str, name: str) -> None:
    m, n, k = 208, 160, 96
    a, b = normal(m, k).bfloat16(), normal(n, k, seed=1).bfloat16()
    c = uninitialized((m, n), torch.bfloat16)
    kernel(name, version).run((132,), [a, b, c, m, n, k])
    assert close(c, a.double() @ b.double().T, 2.0**-8)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["matmul_hostdesc", "matmul_hostdesc_ws"])
def test_matmul_with_host_descriptors(version: str, name: str) -> None:
    m, n, k = 256, 128, 64
    a, b = normal(m, k).bfloat16(), normal(n, k, seed=1).bfloat16()
    c = uninitialized((m, n), torch.bfloat16)

    def descriptor(base: torch.Tensor, *block: int) -> SimpleNamespace:
        strides = list(base.stride())
        return SimpleNamespace(base=base, shape=list(base.shape), strides=strides, block_shape=list(block))

    args = [descriptor(a, 128, 64), descriptor(b, 128, 64), descriptor(c, 128, 128), m, n, k]
    kernel(name, version).run((132,), args)
    assert close(c, a.double() @ b.double().T, 2.0**-8)


def attention(executor: Executor, dtype: torch.dtype, batch: int | None = None) -> tuple[torch.Tensor, ...]:
    """Causal attention of 1 x 2 heads of 384 x 128; returns q, k, v, output and base-2 log-sum-exp."""
    shape = (1, 2, 384, 128)
    q, k, v = (normal(*shape, seed=seed).to(dtype) for seed in range(3))
    o, lse = uninitialized(shape, torch.bfloat16), uninitialized(shape[:3], torch.float32)
    strides = [size for tensor in (q, k, v, o) for size in tensor.stride()[:3]]
    args = [q, k, v, lse, o, shape[-1] ** -0.5, *strides, shape[1], shape[2]]
    executor.run((shape[2] // 128, shape[0] * shape[1]), args, batch=batch)
    return q, k, v, o, lse


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("name", "dtype", "bound"),
    [("attn_fwd_bf16", torch.bfloat16, 2.0**-7), ("attn_fwd_fp8", torch.float8_e5m2, 2.0**-3)],
    ids=["bf16", "fp8"],
)
def test_causal_attention(version: str, name: str, dtype: torch.dtype, bound: float) -> None:
    """The error is that of rounding the probabilities to the operands' type, and the output to bf16."""
    q, k, v, o, lse = attention(kernel(name, version), dtype)
    scores = q.float().double() @ k.float().double().transpose(-1, -2) * 128**-0.5
    scores = scores.masked_fill(torch.ones(384, 384).tril() == 0, -torch.inf)
    assert close(o, scores.softmax(-1) @ v.float().double(), bound)
    assert close(lse, scores.logsumexp(-1) / torch.log(torch.tensor(2.0)).double(), 1e-5)


@pytest.mark.parametrize("name", ["attn_fwd_bf16", "attn_fwd_fp8"])
def test_attention_is_the_same_in_any_batch(name: str) -> None:
    """Trip counts differ among programs, so batches split; no bit may depend on that."""
    dtype = torch.bfloat16 if name == "attn_fwd_bf16" else torch.float8_e5m2
    executor = kernel(name)
    results = [attention(executor, dtype, batch)[3:] for batch in (6, 1, 4)]
    for o, lse in results[1:]:
        assert same(o, results[0][0]) and same(lse, results[0][1])


@pytest.mark.parametrize("rows", [1, 64])
def test_rows_are_the_same_in_any_batch(rows: int) -> None:
    x, w = normal(64, 4096).bfloat16(), normal(4096, seed=1).bfloat16()
    executor, outputs = kernel("rmsnorm"), []
    for batch in (rows, 7):
        y = uninitialized((64, 4096), torch.bfloat16)
        executor.run(64, [x, w, y, 4096, 4096, 4096, 1e-6], batch=batch)
        outputs.append(y)
    assert same(*outputs)


def test_kernels_that_inductor_wrote() -> None:
    """Per-row sums, then norm and FP8 quantization with torch's own arithmetic."""
    x, w = normal(32, 4096).bfloat16(), normal(4096, seed=1).bfloat16()
    total = uninitialized((32, 1), torch.float32)
    kernel("inductor_triton_red_fused_0").run(32, [x, total, 32, 4096])
    assert close(total[:, 0], x.double().pow(2).sum(-1), 1e-6)

    scale, q = uninitialized((32, 32), torch.float32), uninitialized((32, 4096), torch.float8_e4m3fn)
    kernel("inductor_triton_per_fused_1").run(1024, [scale, x, total, w, q, 1024, 128])
    normed = x.float() * torch.rsqrt(total / 4096 + 1e-6) * w.float()
    groups = normed.view(32, 32, 128)
    expected = groups.abs().amax(-1).clamp(min=1e-10) * torch.tensor(0.00223214296)
    assert same(scale, expected)
    assert same(q, (groups / expected[..., None]).clamp(-448, 448).to(torch.float8_e4m3fn).view(32, 4096))


def test_rmsnorm_is_fast_enough() -> None:
    x, w = normal(64, 4096).bfloat16(), normal(4096, seed=1).bfloat16()
    y = uninitialized((64, 4096), torch.bfloat16)
    started = time.perf_counter()
    kernel("rmsnorm").run(64, [x, w, y, 4096, 4096, 4096, 1e-6])
    assert time.perf_counter() - started < 2


def test_a_gemm_is_fast_enough() -> None:
    a, b = normal(256, 256).bfloat16(), normal(256, 256, seed=1).bfloat16()
    c = uninitialized((256, 256), torch.bfloat16)
    started = time.perf_counter()
    kernel("matmul").run(2, matmul_arguments(a, b, c))
    assert time.perf_counter() - started < 5
    assert close(c, a.double() @ b.double(), 2.0**-8)
