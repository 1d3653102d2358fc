"""Attention that quantizes Q inside: its quantization leaves the op and joins what makes Q."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import quantizing_kernels as kernels
import torch
from rewriting import run_rewritten
from torch import Tensor

import epiq
from epiq.formats import FP8_PER_TOKEN
from epiq.frontend import unwrap
from epiq.report.build import report_of

HEADS, TOKENS, D = 2, 5, 64
E4M3 = torch.float8_e4m3fn


def attend(q: Tensor, q_scale: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = (q.float() * q_scale) @ k.float().transpose(-1, -2)
    return (scores.softmax(-1) @ v.float()).bfloat16()


@torch.library.custom_op("server::attention_fp8", mutates_args=())
def attention_fp8(q: Tensor, q_scale: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """A kernel that takes Q in FP8 and a scale for each row."""
    return attend(q, q_scale, k, v)


@attention_fp8.register_fake
def _(q: Tensor, q_scale: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.empty(q.shape, dtype=torch.bfloat16, device=q.device)


@torch.library.custom_op("server::attention", mutates_args=())
def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """A kernel that takes Q in bf16 and quantizes it first."""
    return attend(*epiq.quantize(q, FP8_PER_TOKEN), k, v)


@attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.empty_like(q)


def by_the_kernel(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.ops.server.attention_fp8.default(*epiq.quantize(q, FP8_PER_TOKEN), k, v)


@pytest.fixture(autouse=True)
def cleared() -> Iterator[None]:
    yield
    unwrap._registered.clear()


def operands() -> tuple[Tensor, ...]:
    torch.manual_seed(0)
    x = torch.randn(HEADS, TOKENS, D).bfloat16()
    k, v = torch.randn(2, HEADS, TOKENS, D).to(E4M3)
    return x, torch.randn(D).bfloat16(), k, v


def norm_then_attention(x: Tensor, w: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The norm of each head's Q, as Qwen3 has it."""
    return torch.ops.server.attention.default(torch.rms_norm(x, w.shape, w, 1e-5), k, v)


def test_the_quantization_joins_the_norm_and_the_kernel_takes_fp8():
    epiq.register_unwrap(torch.ops.server.attention.default, by_the_kernel)
    args = operands()
    found = run_rewritten(norm_then_attention, *args)
    assert [r for r in found.remarks if r.startswith("fused: quantize(e4m3 token) into rms_norm")]
    assert found.record.unwrapped == ("server.attention.default",)
    assert found.record.still_custom == ()
    assert "server.attention_fp8.default" in found.calls
    assert "server.attention.default" not in found.calls
    assert found.calls.count("epiq.row_program.default") == 1
    results = found.results[0] if isinstance(found.results, (tuple, list)) else found.results
    torch.testing.assert_close(results, norm_then_attention(*args))
    (graph,) = report_of(found.records).graphs
    assert [quantization.what for quantization in graph.quantizations] == ["quantize(e4m3 token)"]
    assert graph.custom_ops == ()


def test_without_a_producer_the_op_stays():
    epiq.register_unwrap(torch.ops.server.attention.default, by_the_kernel)
    x, _, k, v = operands()
    found = run_rewritten(lambda x, k, v: torch.ops.server.attention.default(x, k, v), x, k, v)
    assert found.record.still_custom == (("server.attention.default", "nothing else would be in its kernel"),)
    assert "server.attention.default" in found.calls


def test_what_was_pulled_out_of_a_triton_kernel_serves_as_well():
    x, _, k, _ = args = operands()
    pulled = epiq.pull_quant(kernels.attention_device_descriptor, "q_ptr")
    pulled.specialize(x[0], k[0], torch.empty(TOKENS, TOKENS), TOKENS, TOKENS, D=D, BM=32, BN=32)
    quantizer = pulled.quantizer
    epiq.register_unwrap(
        torch.ops.server.attention.default,
        lambda q, k, v: torch.ops.server.attention_fp8.default(*quantizer(q), k, v),
    )
    found = run_rewritten(norm_then_attention, *args)
    assert found.record.unwrapped == ("server.attention.default",)
    assert found.calls.count("epiq.row_program.default") == 1
    assert "server.attention_fp8.default" in found.calls
