"""Shared by the tests of epiq.kernels: operands with every kind of scales, and their product in f32."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

FP8 = torch.float8_e4m3fn


@dataclass
class Case:
    """Operands of `matmul`, and the f32 product that its result approaches."""

    a: Tensor
    b: Tensor
    scales: dict[str, Tensor] = field(default_factory=dict)

    def product(self) -> Tensor:
        a, b = self.a.float(), self.b.float()
        if not self.scales:
            return a @ b
        a_scale, b_scale = self.scales["a_scale"], self.scales["b_scale"]
        if a_scale.shape[-1] > 1 and a_scale.ndim == 2:
            a_scale = a_scale.repeat_interleave(128, 1)[:, : a.shape[1]]
            b_scale = b_scale.repeat_interleave(128, 0).repeat_interleave(128, 1)
            b_scale = b_scale[: b.shape[0], : b.shape[1]]
            return (a * a_scale) @ (b * b_scale)
        return (a @ b) * a_scale * b_scale


def case(
    dtype: torch.dtype, scales: str, m: int, n: int, k: int, *, device: str = "cpu", seed: int = 0
) -> Case:
    """Random operands; scales "none", "tensor", "vector" or "block"."""
    torch.manual_seed(seed)
    a = torch.randn(m, k, device=device).to(dtype)
    b = torch.randn(n, k, device=device).to(dtype).t()

    def random(*shape: int) -> Tensor:
        return torch.rand(shape, device=device) * 0.1 + 0.05

    groups, blocks = -(-k // 128), -(-n // 128)
    shapes = {
        "none": None,
        "tensor": ((1,), (1,)),
        "vector": ((m, 1), (1, n)),
        "block": ((m, groups), (groups, blocks)),
    }[scales]
    if shapes is None:
        return Case(a, b)
    return Case(a, b, {"a_scale": random(*shapes[0]), "b_scale": random(*shapes[1])})


def same_bits(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(
        a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8)
    )


def within_one_rounding(actual: Tensor, expected: Tensor, terms: int) -> None:
    """`actual` is `expected` rounded to bf16 or f16, up to f32's error in a sum of `terms` products."""
    step = 2.0**-8 if actual.dtype == torch.bfloat16 else 2.0**-11
    bound = expected.abs() * step + terms * 2.0**-23 * expected.abs().amax()
    assert bool(((actual.float() - expected).abs() <= bound).all())
