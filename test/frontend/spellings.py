"""Quantizations as servers and libraries write them, in plain torch: x -> (q, scale)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

E4M3, F32 = torch.float8_e4m3fn, torch.float32
MAX = torch.finfo(E4M3).max
EPS = torch.finfo(F32).eps
Pair = tuple[Tensor, Tensor]
SPELLINGS: dict[str, tuple[Callable[[Tensor], Pair], str]] = {}


def spelling(remark: str) -> Callable[[Callable[[Tensor], Pair]], Callable[[Tensor], Pair]]:
    """Registers a spelling with the remark that recognition ends with."""

    def register(fn: Callable[[Tensor], Pair]) -> Callable[[Tensor], Pair]:
        SPELLINGS[fn.__name__] = (fn, remark)
        return fn

    return register


def saturated(x: Tensor) -> Tensor:
    return x.clamp(min=-MAX, max=MAX).to(E4M3)


def torchao(x: Tensor, dims: tuple[int, ...]) -> Pair:
    """torchao 0.18, _choose_scale_float8 and _quantize_affine_float8: the scale has x's dtype first."""
    scale = (x.abs().amax(dims, keepdim=True) / MAX).to(F32)
    return (x.to(F32) / scale).clamp(min=-MAX, max=MAX).to(E4M3), scale


@spelling("named quantize(e4m3 token)")
def torchao_per_row(x: Tensor) -> Pair:
    return torchao(x, (1,))


@spelling("named quantize(e4m3 tensor)")
def torchao_per_tensor(x: Tensor) -> Pair:
    return torchao(x, (0, 1))


@spelling("named quantize(e4m3 token)")
def floor_on_the_scale(x: Tensor) -> Pair:
    scale = torch.clamp(x.abs().amax(-1, keepdim=True).to(F32) / MAX, min=EPS)
    return saturated(x.to(F32) / scale), scale


@spelling("named quantize(e4m3 token)")
def torchao_training_per_row(x: Tensor) -> Pair:
    """torchao, amax_to_scale: the scale multiplies, max / clamp(amax, 1e-12) in f64, then its reciprocal."""
    amax = x.abs().amax(-1, keepdim=True).to(torch.float64)
    scale = (MAX / torch.clamp(amax, min=1e-12)).to(F32)
    return saturated(x.to(F32) * scale), scale.reciprocal()


@spelling("named quantize(e4m3 tensor)")
def maximum_of_all(x: Tensor) -> Pair:
    scale = torch.clamp(x.abs().max().to(F32) / MAX, min=EPS)
    return saturated(x.to(F32) / scale), scale


@spelling("named quantize(e4m3 token)")
def maximum_of_dimension(x: Tensor) -> Pair:
    scale = (x.abs().max(dim=-1, keepdim=True)[0].float() / MAX).clamp(min=1e-8)
    return saturated(x.float() / scale), scale


@spelling("named quantize(e4m3 token)")
def values_of_maximum(x: Tensor) -> Pair:
    scale = x.abs().max(-1).values.float().clamp(min=1e-8) / MAX
    return saturated(x.float() / scale.unsqueeze(-1)), scale


@spelling("named quantize(e4m3 token)")
def infinity_norm(x: Tensor) -> Pair:
    scale = torch.linalg.vector_norm(x.float(), float("inf"), dim=-1, keepdim=True).clamp(min=1e-8) / MAX
    return saturated(x.float() / scale), scale


@spelling("not named: R5: arith.maximumf in the scale")
def largest_and_smallest(x: Tensor) -> Pair:
    low, high = torch.aminmax(x.float(), dim=-1, keepdim=True)
    scale = torch.maximum(-low, high).clamp(min=1e-8) / MAX
    return saturated(x.float() / scale), scale


@spelling("not named: R5: arith.maximumf in the scale")
def larger_of_both_ends(x: Tensor) -> Pair:
    amax = torch.max(x.amax(-1, keepdim=True).abs(), x.amin(-1, keepdim=True).abs())
    scale = amax.float().clamp(min=1e-8) / MAX
    return saturated(x.float() / scale), scale


@spelling("named quantize(e4m3 group 128)")
def rows_of_groups(x: Tensor) -> Pair:
    groups = x.reshape(-1, 128).float()
    scale = (groups.abs().amax(1, keepdim=True) / MAX).clamp(min=1e-8)
    return saturated(groups / scale).reshape(x.shape), scale.reshape(*x.shape[:-1], -1)


@spelling("named quantize(e4m3 group 128)")
def deep_gemm(x: Tensor) -> Pair:
    """DeepGEMM's per_token_cast_to_fp8: 448 / amax, which torch makes a product with 1 / amax."""
    groups = x.view(x.shape[0], -1, 128)
    amax = groups.abs().float().amax(dim=2).view(x.shape[0], -1).clamp(1e-4)
    return (groups * (448.0 / amax.unsqueeze(2))).to(E4M3).view(x.shape), amax / 448.0


@spelling("named quantize(e4m3 group 128)")
def product_with_reciprocals(x: Tensor) -> Pair:
    groups = x.float().unflatten(-1, (-1, 128))
    scale = groups.abs().amax(-1, keepdim=True).clamp(min=1e-10) * (1 / MAX)
    return saturated(groups * scale.reciprocal()).flatten(-2), scale.squeeze(-1)


@spelling("named quantize(e4m3 group 128)")
def power_of_two(x: Tensor) -> Pair:
    groups = x.float().unflatten(-1, (-1, 128))
    amax = groups.abs().amax(-1, keepdim=True).clamp(min=1e-4)
    scale = torch.exp2(torch.ceil(torch.log2(amax / 448.0)))
    return (groups / scale).to(E4M3).flatten(-2), scale.squeeze(-1)


@spelling("named quantize(e4m3 token)")
def maximum_with_a_tensor(x: Tensor) -> Pair:
    scale = x.abs().amax(-1, keepdim=True).float() / MAX
    scale = torch.maximum(scale, torch.full_like(scale, 1e-8))
    return saturated(x.float() / scale), scale


@spelling("named quantize(e4m3 token)")
def maximum_with_a_constant(x: Tensor) -> Pair:
    scale = torch.maximum(x.abs().amax(-1, keepdim=True).float() / MAX, torch.tensor(1e-8))
    return saturated(x.float() / scale), scale


@spelling("named quantize(e4m3 token)")
def bounded_above(x: Tensor) -> Pair:
    amax = x.abs().amax(-1, keepdim=True).float().clamp(max=1200.0)
    scale = torch.clamp(amax / MAX, min=1 / (MAX * 512))
    return saturated(x.float() / scale), scale


@spelling("named quantize(e4m3 token)")
def in_bf16(x: Tensor) -> Pair:
    scale = (x.abs().amax(-1, keepdim=True) / MAX).clamp(min=1e-6)
    return saturated(x / scale), scale


@spelling("not named: R5: arith.select in the scale")
def one_for_zeros(x: Tensor) -> Pair:
    amax = x.abs().amax(-1, keepdim=True).float()
    scale = torch.where(amax == 0, 1.0, amax / MAX)
    return saturated(x.float() / scale), scale


@spelling("not named: R5: arith.select in the scale")
def selected_floor(x: Tensor) -> Pair:
    scale = x.abs().amax(-1, keepdim=True).float() / MAX
    scale = torch.where(scale < 1e-8, torch.full_like(scale, 1e-8), scale)
    return saturated(x.float() / scale), scale


@spelling("not named: R5: arith.addf in the scale")
def added_epsilon(x: Tensor) -> Pair:
    scale = (x.abs().amax(-1, keepdim=True).float() + 1e-8) / MAX
    return saturated(x.float() / scale), scale


@spelling("not named: R1: no scale is applied before the cast")
def without_nan(x: Tensor) -> Pair:
    scale = x.abs().amax(-1, keepdim=True).float() / MAX
    return saturated(torch.nan_to_num(x.float() / scale)), scale


@spelling("not named: R5: math.sqrt in the scale")
def root_of_squares(x: Tensor) -> Pair:
    scale = x.float().square().amax(-1, keepdim=True).sqrt() / MAX
    return saturated(x.float() / scale), scale


@spelling("named quantize(int8 token)")
def int8_per_row(x: Tensor) -> Pair:
    scale = (x.abs().amax(-1, keepdim=True).float() / 127).clamp(min=EPS)
    return (x.float() / scale).round().clamp(-127, 127).to(torch.int8), scale


@spelling("named quantize(int8 token)")
def int8_with_its_least_value(x: Tensor) -> Pair:
    scale = x.abs().amax(-1, keepdim=True).float().clamp(min=1e-5) / 127
    return torch.round(x.float() / scale).clamp(-128, 127).to(torch.int8), scale


@spelling("named quantize(int8 token)")
def int8_by_a_product(x: Tensor) -> Pair:
    amax = x.abs().amax(-1, keepdim=True).float().clamp(min=1e-5)
    return torch.clamp(torch.round(x.float() * (127.0 / amax)), -127, 127).to(torch.int8), amax / 127


@spelling("named quantize(e4m3 group 128)")
def padded(x: Tensor) -> Pair:
    """K is padded to a multiple of the group, and the padding is cut off again."""
    rows, width = x.shape
    groups = F.pad(x[:, :-28], (0, 28)).view(rows, -1, 128).float()
    scale = (groups.abs().amax(-1, keepdim=True) / MAX).clamp(min=1e-8)
    return saturated(groups / scale).view(rows, width)[:, :-28].contiguous(), scale.squeeze(-1)
