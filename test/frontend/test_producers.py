"""What stands before a quantization, as models and servers write it: one kernel, with the bits of several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from models import BF16, E4M3, assert_near_eager, bits
from rewriting import run_rewritten
from torch import Tensor

from epiq.formats import FP8_GROUP128, FP8_PER_TOKEN, FP8_STATIC, QuantFormat, quantize

F32, F16 = torch.float32, torch.float16
# Groups of 128 divide the rows; 3 rows leave a program of several half empty.
H, ROWS = 256, 3
Producer = tuple[Callable[..., Any], tuple[tuple[int, ...], ...], torch.dtype]


def llama(x: Tensor, w: Tensor) -> Tensor:
    wide = x.float()
    return w * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype)


def gemma(x: Tensor, w: Tensor) -> Tensor:
    wide = x.float()
    wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
    return (wide * (1.0 + w.float())).to(x.dtype)


def torch_norm(x: Tensor, w: Tensor) -> Tensor:
    return F.rms_norm(x, w.shape, w, 1e-5)


def add_norm(x: Tensor, r: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    h = x + r
    return torch_norm(h, w), h


def add_norm_in_f32(x: Tensor, r: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    """The sum is normalized before it is rounded; the norm itself is wanted too."""
    h = x.float() + r.float()
    y = (h * torch.rsqrt(h.square().mean(-1, keepdim=True) + 1e-6)).to(x.dtype) * w
    return y, h.to(x.dtype), y


def layer_norm(x: Tensor, w: Tensor | None = None, b: Tensor | None = None) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], w, b)


def add_layer_norm(x: Tensor, r: Tensor, w: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return layer_norm(x + r, w, b), x + r


def oai_swiglu(gate: Tensor, up: Tensor) -> Tensor:
    gate, up = gate.clamp(max=7.0), up.clamp(-7.0, 7.0)
    return gate * torch.sigmoid(1.702 * gate) * (up + 1)


def interleaved_swiglu(x: Tensor) -> Tensor:
    return oai_swiglu(x[..., ::2], x[..., 1::2])


def swiglu_of_pairs(x: Tensor) -> Tensor:
    gate, up = x.unflatten(-1, (-1, 2)).unbind(-1)
    return oai_swiglu(gate, up)


def dequantized(q: Tensor, scale: Tensor) -> Tensor:
    return (q.float().unflatten(-1, (-1, 128)) * scale[..., None]).flatten(-2).to(BF16)


X, W, WIDE, COLUMN = (ROWS, H), (H,), (ROWS, 2 * H), (ROWS, 1)
PRODUCERS: dict[str, Producer] = {
    "llama": (llama, (X, W), BF16),
    "llama_f16": (llama, (X, W), F16),
    "llama_f32": (llama, (X, W), F32),
    "gemma": (gemma, (X, W), BF16),
    "rms_norm": (torch_norm, (X, W), BF16),
    "rms_norm_without_weight": (lambda x: F.rms_norm(x, (H,)), (X,), BF16),
    "add_norm": (add_norm, (X, X, W), BF16),
    "add_norm_in_f32": (add_norm_in_f32, (X, X, W), BF16),
    "layer_norm": (layer_norm, (X, W, W), BF16),
    "layer_norm_f32": (layer_norm, (X, W, W), F32),
    "layer_norm_without_bias": (layer_norm, (X, W), F16),
    "layer_norm_alone": (layer_norm, (X,), BF16),
    "add_layer_norm": (add_layer_norm, (X, X, W, W), BF16),
    "silu_mul": (lambda gate, up: F.silu(gate) * up, (X, X), BF16),
    "silu_mul_chunks": (lambda x: F.silu(x.chunk(2, -1)[0]) * x.chunk(2, -1)[1], (WIDE,), BF16),
    "silu_mul_slices": (lambda x: F.silu(x[..., :H]) * x[..., H:], (WIDE,), F16),
    "silu_mul_split": (lambda x: F.silu(x.split(H, -1)[0]) * x.split(H, -1)[1], (WIDE,), BF16),
    "silu_mul_3d": (lambda x: F.silu(x[..., :H]) * x[..., H:], ((2, 2, 2 * H),), BF16),
    "gelu_mul": (lambda gate, up: F.gelu(gate) * up, (X, X), BF16),
    "gelu_mul_tanh": (lambda gate, up: F.gelu(gate, approximate="tanh") * up, (X, X), BF16),
    "gelu_mul_chunks": (lambda x: F.gelu(x.chunk(2, -1)[0]) * x.chunk(2, -1)[1], (WIDE,), F32),
    "swiglu": (oai_swiglu, (X, X), BF16),
    "swiglu_interleaved": (interleaved_swiglu, (WIDE,), BF16),
    "swiglu_of_pairs": (swiglu_of_pairs, (WIDE,), F32),
    "relu2": (lambda x: F.relu(x).square(), (X,), BF16),
    "relu2_pow": (lambda x: F.relu(x) ** 2, (X,), F16),
    "quick_gelu": (lambda x: x * torch.sigmoid(1.702 * x), (X,), BF16),
    "sigmoid_gate": (lambda gate, x: torch.sigmoid(gate) * x, (X, X), BF16),
    "column_gate": (lambda gate, x: torch.sigmoid(gate) * x, (COLUMN, X), BF16),
    "glu": (lambda x: F.glu(x), (WIDE,), BF16),
    "soft_cap": (lambda x: 30 * torch.tanh(x / 30), (X,), BF16),
    "mish": (F.mish, (X,), BF16),
    "norm_times_silu": (lambda x, w, z: torch_norm(x, w) * F.silu(z), (X, W, X), BF16),
}
FORMATS: list[QuantFormat] = [FP8_GROUP128, FP8_PER_TOKEN, FP8_STATIC]


def normal(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def quantized(fn: Callable[..., Any], fmt: QuantFormat) -> Callable[..., Any]:
    """`fn` with its first result quantized; the others are results as they are."""

    def model(*args: Tensor) -> tuple[Tensor, ...]:
        found = fn(*args)
        y, *others = found if isinstance(found, tuple) else (found,)
        q, scale = quantize(y, fmt, scale=0.03125 if fmt.static else None)
        return (q, *others) if fmt.static else (q, scale, *others)

    return model


def check_one_kernel(fn: Callable[..., Any], *args: Tensor) -> list[str]:
    """The remarks on the quantizations of `fn`, which must become one kernel and nothing else."""
    fused, unfused = run_rewritten(fn, *args), run_rewritten(fn, *args, fuse=False)
    assert len(fused.record.used) == 1, fused.remarks
    assert not fused.record.refused
    assert fused.calls == ["epiq.row_program.default"]
    for a, b in zip(fused.results, unfused.results, strict=True):
        assert torch.equal(bits(a), bits(b))
    assert_near_eager(fused.results, fn(*args))
    return fused.remarks


@pytest.mark.parametrize(("index", "name"), list(enumerate(PRODUCERS)), ids=list(PRODUCERS))
def test_producer(index: int, name: str) -> None:
    fn, shapes, dtype = PRODUCERS[name]
    args = [normal(shape, dtype, seed) for seed, shape in enumerate(shapes)]
    remarks = check_one_kernel(quantized(fn, FORMATS[index % 3]), *args)
    assert all(remark.startswith("fused: ") for remark in remarks)


@pytest.mark.parametrize("name", ["add_layer_norm", "swiglu_interleaved", "column_gate"])
def test_any_number_of_tokens(name: str) -> None:
    fn, shapes, dtype = PRODUCERS[name]
    args = [normal(shape, dtype, seed) for seed, shape in enumerate(shapes)]
    for arg in args:
        if arg.dim() > 1:
            torch._dynamo.mark_dynamic(arg, 0)
    check_one_kernel(quantized(fn, FP8_GROUP128), *args)


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
def test_one_format_becomes_another(fmt: QuantFormat) -> None:
    q, scale = quantize(normal((ROWS, H), BF16, 0), FP8_GROUP128)
    check_one_kernel(quantized(dequantized, fmt), q, scale)
    assert q.dtype == E4M3
