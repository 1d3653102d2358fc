"""Values of inputs: rows of one size, of very different sizes, and what is hard to compute with."""

from __future__ import annotations

import torch
from torch import Tensor

# What the values of an input are. "special" has NaN, infinities and zeros among the others.
KINDS = ("normal", "ranges", "zeros", "special", "weight", "positive", "integers", "tiny")


def make_values(shape: tuple[int, ...], dtype: torch.dtype, kind: str, seed: int) -> Tensor:
    """A CPU tensor; the same for the same arguments."""
    generator = torch.Generator().manual_seed(seed)
    if dtype == torch.float4_e2m1fn_x2:
        return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8).view(dtype)
    if not dtype.is_floating_point:
        return torch.randint(0, 100, shape, generator=generator).to(dtype)
    values = torch.randn(shape, generator=generator)
    if kind == "weight":
        values = 1.0 + 0.1 * values
    elif kind == "positive":
        values = values.abs() + 0.01
    elif kind == "tiny":
        values = values * 1e-30
    elif kind == "integers":
        # Ties, equal maxima and exact powers of two.
        values = torch.randint(-8, 9, shape, generator=generator).float()
    elif len(shape) > 1 and shape[0] > 0:
        _vary_rows(values, kind)
    return values.to(dtype)


def _vary_rows(values: Tensor, kind: str) -> None:
    rows = values.view(-1, values.shape[-1])
    if rows.numel() == 0:
        return
    if kind == "ranges":
        rows *= torch.logspace(-6, 2, rows.shape[0]).unsqueeze(-1)
    elif kind == "zeros":
        rows[::2] = 0.0
        rows[0, 0] = -0.0
    elif kind == "special":
        for number, value in enumerate((float("nan"), float("inf"), float("-inf"), -0.0)):
            rows[(2 * number) % rows.shape[0], (7 * number) % rows.shape[1]] = value
