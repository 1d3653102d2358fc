"""Models that the backend's tests compile, and the bounds that fused results keep."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor

from epiq.formats import FP8_GROUP128, FP8_PER_TOKEN, FP8_STATIC, quantize

BF16, E4M3 = torch.bfloat16, torch.float8_e4m3fn
GROUP_COLUMNS = dataclasses.replace(FP8_GROUP128, scale_layout="column_major")


def rms_norm(x: Tensor, w: Tensor) -> Tensor:
    wide = x.float()
    return w * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-5)).to(x.dtype)


def add_norm_group(x: Tensor, r: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    h = x + r
    q, scale = quantize(rms_norm(h, w), FP8_GROUP128)
    return h, q, scale


def add_norm_columns(x: Tensor, r: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    h = x + r
    q, scale = quantize(rms_norm(h, w), GROUP_COLUMNS)
    return h, q, scale


def add_norm_token(x: Tensor, r: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    h = x + r
    q, scale = quantize(rms_norm(h, w), FP8_PER_TOKEN)
    return h, q, scale


def add_norm_static(x: Tensor, r: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    h = x + r
    q, _ = quantize(rms_norm(h, w), FP8_STATIC, scale=0.03125)
    return h, q


def silu_group(x: Tensor, r: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    return quantize(F.silu(x) * r, FP8_GROUP128)


def silu_columns(x: Tensor, r: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    return quantize(F.silu(x) * r, GROUP_COLUMNS)


def spelled_out_group(x: Tensor, r: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    """Plain torch, nothing of this package."""
    y = F.silu(x) * r
    groups = y.float().view(*y.shape[:-1], -1, 128)
    scale = groups.abs().amax(-1, keepdim=True).clamp(min=1e-10) / 448.0
    q = (groups / scale).clamp(-448.0, 448.0).to(E4M3).view(y.shape)
    return q, scale.squeeze(-1)


MODELS = {
    fn.__name__: fn
    for fn in (
        add_norm_group,
        add_norm_columns,
        add_norm_token,
        add_norm_static,
        silu_group,
        silu_columns,
        spelled_out_group,
    )
}


def inputs(*leading: int, width: int = 256, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x, r = (torch.randn(*leading, width, generator=generator).to(BF16) for _ in range(2))
    return x, r, (1 + 0.1 * torch.randn(width, generator=generator)).to(BF16)


def bits(x: Tensor) -> Tensor:
    """Comparable bytes: NaNs, whose payload says nothing, are all the same."""
    x = x.contiguous()
    integers = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[x.element_size()]
    if not x.dtype.is_floating_point:
        return x.view(integers)
    return x.view(integers).masked_fill(x.float().isnan(), 0x7F)


def assert_same_bits(found: tuple[Tensor, ...], wanted: tuple[Tensor, ...]) -> None:
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        assert (a.dtype, a.shape, a.stride()) == (b.dtype, b.shape, b.stride())
        assert torch.equal(bits(a), bits(b))


def assert_near_eager(found: tuple[Tensor, ...], eager: tuple[Tensor, ...]) -> None:
    """Sums run in another order, which can flip the rounding of a bf16 value here and there."""
    for a, b in zip(found, eager, strict=True):
        assert (a.dtype, a.shape, a.stride()) == (b.dtype, b.shape, b.stride())
        if a.dtype == E4M3:
            differing = (bits(a) != bits(b)).float().mean().item()
            assert differing < 0.002, f"{differing:.2%} of the bytes differ"
        elif a.dtype == torch.float32:
            error = ((a - b).abs() / b.abs()).nan_to_num()
            assert (error <= 1e-6).float().mean() >= 0.999
            assert error.max() <= 2.0**-7
        else:
            assert torch.equal(bits(a), bits(b))
