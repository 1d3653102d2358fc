"""Shared by the tests of epiq.attention: random operands, and attention in f32 to compare with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

FP8 = torch.float8_e4m3fn


@dataclass
class Sequence:
    """Queries, keys and values of one sequence, f32: (tokens, heads, dim)."""

    q: Tensor
    k: Tensor
    v: Tensor


def reference(
    part: Sequence,
    *,
    left: int | None = None,
    right: int | None = None,
    softcap: float = 0.0,
    sinks: Tensor | None = None,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """The output of one sequence, and the same mean of |v|, which errors of probabilities are a part of."""
    group = part.q.shape[1] // part.k.shape[1]
    k, v = (x.repeat_interleave(group, 1) for x in (part.k, part.v))
    scores = torch.einsum("qhd,khd->hqk", part.q, k) * (scale or part.q.shape[-1] ** -0.5)
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    keys = torch.arange(k.shape[0], device=k.device)
    at = torch.arange(part.q.shape[0], device=k.device)[:, None] + k.shape[0] - part.q.shape[0]
    seen = torch.ones(at.shape[0], k.shape[0], dtype=torch.bool, device=k.device)
    if right is not None:
        seen &= keys <= at + right
    if left is not None:
        seen &= keys >= at - left
    scores = scores.masked_fill(~seen, float("-inf"))
    if sinks is not None:
        extra = sinks.float()[:, None, None].expand(-1, scores.shape[1], 1)
        p = torch.softmax(torch.cat([scores, extra], -1), -1)[..., :-1]
    else:
        p = torch.softmax(scores, -1).nan_to_num()
    return torch.einsum("hqk,khd->qhd", p, v), torch.einsum("hqk,khd->qhd", p, v.abs())


def check(actual: Tensor, expected: Tensor, size: Tensor, fp8_values: bool = False) -> None:
    """Probabilities are rounded to bf16, f16 or e4m3, and so is the result.

    Each rounding is half a step: 2^-8 of a bf16 value, 2^-11 of an f16 one, 2^-4 of an e4m3 one. The least
    e4m3 probability is 2^-17 of the largest; a quarter of a rounding is left for f32.
    """
    step = 2.0**-8 if actual.dtype == torch.bfloat16 else 2.0**-11
    rounding = 2.0**-4 if fp8_values else step
    bound = (rounding + 1.25 * step) * size + (2.0**-17 * size.amax() if fp8_values else 2.0**-22)
    error = (actual.float() - expected).abs()
    assert error.isfinite().all()
    assert bool((error <= bound).all()), f"off by {float((error / bound).max()):.2f} times the bound"


def same_bits(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(
        a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8)
    )


def heads(
    *shape: int, dtype: torch.dtype = torch.bfloat16, device: str = "cpu", by_head: bool = False
) -> Tensor:
    """Random (batch, tokens, heads, dim); by_head: heads lie outside of tokens, as most models have them."""
    if not by_head:
        return torch.randn(shape, device=device).to(dtype)
    batch, tokens, count, dim = shape
    return torch.randn(batch, count, tokens, dim, device=device).to(dtype).transpose(1, 2)


@dataclass
class Paged:
    """A paged cache whose pages lie in random order. `sequences` are its contents, f32."""

    q: Tensor
    k: Tensor
    v: Tensor
    table: Tensor
    lengths: Tensor
    sequences: list[Sequence]
    scales: dict[str, Tensor] = field(default_factory=dict)

    @property
    def arguments(self) -> tuple[Tensor, ...]:
        return self.q, self.k, self.v, self.table, self.lengths


def paged(
    lengths: list[int], n_heads: int, kv_heads: int, dim: int, v_dim: int, *, page: int = 16,
    queries: int = 1, dtype: torch.dtype = torch.bfloat16, cache: torch.dtype | None = None,
    scales: str = "none", device: str = "cpu",
) -> Paged:  # fmt: skip
    """Pages that no sequence has are full of NaN, and so are the ends of the last ones."""
    torch.manual_seed(0)
    cache = cache or dtype
    count = len(lengths)
    each = max(-(-max(lengths) // page), 1)
    pages = count * each + 2
    table = torch.randperm(pages)[: count * each].view(count, each).int().to(device)
    k, v = (torch.full((pages, page, kv_heads, d), float("nan"), device=device) for d in (dim, v_dim))
    shapes = {"none": None, "head": (kv_heads,), "token": (pages, page, kv_heads)}[scales]
    factors = {f"{n}_scale": torch.rand(shapes, device=device) + 0.5 for n in "kv"} if shapes else {}
    q = torch.randn(count, queries, n_heads, dim, device=device).to(dtype)
    sequences = []
    for i, length in enumerate(lengths):
        slots = table[i].long().repeat_interleave(page)[:length], torch.arange(length, device=device) % page
        for x in (k, v):
            x[slots] = torch.randn(length, kv_heads, x.shape[-1], device=device).to(cache).float()
        by = [f[slots] if scales == "token" else f for f in factors.values()] or [
            torch.ones(1, device=device)
        ] * 2
        sequences.append(Sequence(q[i].float(), k[slots] * by[0][..., None], v[slots] * by[1][..., None]))
    lens = torch.tensor(lengths, dtype=torch.int32, device=device)
    return Paged(q if queries > 1 else q[:, 0], k.to(cache), v.to(cache), table, lens, sequences, factors)


def stacked(parts: list[tuple[Tensor, Tensor]], dim: int) -> tuple[Tensor, Tensor]:
    outputs, sizes = zip(*parts, strict=True)
    join: Any = torch.stack if dim < 0 else torch.cat
    return join(outputs), join(sizes)
