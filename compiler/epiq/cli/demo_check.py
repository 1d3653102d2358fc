"""The demo's checks: what the fused kernels give, beside eager."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from epiq.cli.example_model import load_example

# Eager sums in another order, which can flip a bf16 rounding and then an FP8 one.
MOST_BYTES_OFF = 0.002
LEAST_SCALES_EQUAL = 0.999
SCALE_TOLERANCE = 1e-6
LARGEST_SCALE_ERROR = 2.0**-7


@dataclass(frozen=True)
class Check:
    """One line: what was compared, what came out, what may."""

    what: str
    measured: str
    allowed: str
    passed: bool


def check_quantized_norm(num_tokens: int = 64, hidden_size: int = 4096) -> list[Check]:
    """Residual add, RMSNorm and group quantization, as the layer has them: (h, q, scale)."""
    llama = load_example()
    torch.manual_seed(0)
    norm = llama.RMSNorm(hidden_size, 1e-5, "cpu")

    def add_norm_quantize(x: Tensor, residual: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = residual + x
        return h, *llama.quantize_activations(norm(h))

    x, residual = torch.randn(2, num_tokens, hidden_size).to(torch.bfloat16)
    expected = add_norm_quantize(x, residual)
    fused = run_compiled(add_norm_quantize, x, residual)
    unfused = run_compiled(add_norm_quantize, x, residual, fuse=False)
    where = f"{num_tokens} x {hidden_size}"
    return [compare_bits(where, fused, unfused), *compare_quantized(where, fused, expected)]


def compare_bits(where: str, fused: Sequence[Tensor], unfused: Sequence[Tensor]) -> Check:
    """Fusing may not change a bit of any output."""
    pairs = zip(fused, unfused, strict=True)
    off = sum(int((as_bytes(a) != as_bytes(b)).sum()) for a, b in pairs)
    total = sum(as_bytes(tensor).numel() for tensor in fused)
    what = f"fused against unfused by us, {where}"
    return Check(what, f"{off} of {total} bytes differ", "0", off == 0)


def as_bytes(tensor: Tensor) -> Tensor:
    """Its values, in row-major order, byte by byte."""
    return tensor.contiguous().view(torch.uint8)


def compare_quantized(
    where: str, actual: tuple[Tensor, Tensor, Tensor], expected: tuple[Tensor, Tensor, Tensor]
) -> list[Check]:
    """(h, q, scale) against eager's, strides of the scales included."""
    (h, q, scale), (h0, q0, scale0) = actual, expected
    bytes_off = (q.view(torch.uint8) != q0.view(torch.uint8)).double().mean().item()
    error = ((scale.double() - scale0.double()) / scale0.double()).abs()
    equal = (error <= SCALE_TOLERANCE).double().mean().item()
    worst = error.max().item()
    return [
        Check(f"h, {where}", _differ(h, h0), "equal bits", torch.equal(h, h0)),
        Check(
            f"FP8 values, {where}",
            f"{bytes_off:.4%} of the bytes differ",
            f"< {MOST_BYTES_OFF:.1%}",
            bytes_off < MOST_BYTES_OFF,
        ),
        Check(
            f"scales, {where}",
            f"{equal:.3%} within {SCALE_TOLERANCE:g}, worst {worst:.1e}",
            f">= {LEAST_SCALES_EQUAL:.1%}, worst <= {LARGEST_SCALE_ERROR:.1e}",
            equal >= LEAST_SCALES_EQUAL and worst <= LARGEST_SCALE_ERROR,
        ),
        Check(
            f"scale strides, {where}",
            str(tuple(scale.stride())),
            str(tuple(scale0.stride())),
            scale.stride() == scale0.stride(),
        ),
    ]


def check_layer(seq_len: int = 32) -> list[Check]:
    """One narrow decoder layer, every linear quantized, beside eager and beside Inductor."""
    from epiq.report.compare import LEAST_TOLERANCE, TOLERANCE_FACTOR, compare

    llama = load_example()
    torch.manual_seed(1)
    model = llama.Llama(llama.NARROW, num_layers=1)
    comparison = compare(model, llama.example_inputs(model, batch=2, seq_len=seq_len), repeats=1)
    ours, theirs = comparison.sides["epiq"], comparison.sides["inductor"]
    measured = f"|y - eager| / |eager| = {ours.rel_l2:.1e}" if ours.rel_l2 is not None else ours.error
    allowed = f"{LEAST_TOLERANCE:.1e}, or {TOLERANCE_FACTOR:g} x Inductor's"
    if theirs.rel_l2 is not None:
        allowed += f" {theirs.rel_l2:.1e}"
    what = f"layer output, 2 x {seq_len} x {llama.NARROW.hidden_size}"
    return [Check(what, measured, allowed, comparison.ok)]


def run_compiled(function: Callable[..., Any], *inputs: Tensor, fuse: bool = True) -> Any:
    """One call through torch.compile with our backend; an error of ours is raised, not worked around."""
    torch._dynamo.reset()
    options: dict[str, Any] = {"epiq.fuse": fuse, "epiq.strict": True}
    with torch.no_grad():
        return torch.compile(function, backend="epiq", fullgraph=True, options=options)(*inputs)


def _differ(actual: Tensor, expected: Tensor) -> str:
    share = (actual != expected).double().mean().item()
    return f"{share:.2%} of the values differ" if share else "equal"
