"""Attention inputs as servers and models spell them: rotary embedding, quantization, cache write."""

from __future__ import annotations

import torch
from torch import Tensor

E4M3 = torch.float8_e4m3fn
HEADS, KV_HEADS, HEAD_DIM = 4, 2, 32
BLOCKS, BLOCK_SIZE, POSITIONS = 8, 4, 64


def rotate_chunks(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Neox style, as vLLM's PyTorch code has it. cos, sin: (T, D / 2)."""
    lo, hi = x.chunk(2, -1)
    cos, sin = cos.unsqueeze(-2), sin.unsqueeze(-2)
    return torch.cat((lo * cos - hi * sin, hi * cos + lo * sin), -1)


def rotate_half(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Neox style, as transformers has it: cos and sin are repeated for both halves."""
    cos, sin = (torch.cat((part, part), -1).unsqueeze(-2) for part in (cos, sin))
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


def rotate_pairs(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Interleaved style, as GPT-J has it."""
    even, odd = x[..., ::2], x[..., 1::2]
    cos, sin = cos.unsqueeze(-2), sin.unsqueeze(-2)
    return torch.stack((even * cos - odd * sin, odd * cos + even * sin), -1).flatten(-2)


STYLES = {"chunks": rotate_chunks, "half": rotate_half, "pairs": rotate_pairs}


def quantized(x: Tensor, scale: Tensor) -> Tensor:
    return (x.float() / scale).clamp(-448, 448).to(E4M3)


def rope_cache(
    style: str,
    qkv: Tensor,
    positions: Tensor,
    table: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    slots: Tensor,
    scale: Tensor,
) -> Tensor:
    """Rotates q and k by `table[positions]`, cos beside sin, quantizes q, stores k and v in a paged cache."""
    q, k, v = qkv.split([HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM], -1)
    cos, sin = table[positions].chunk(2, -1)
    q = STYLES[style](q.view(-1, HEADS, HEAD_DIM), cos, sin)
    k = STYLES[style](k.view(-1, KV_HEADS, HEAD_DIM), cos, sin)
    v = v.view(-1, KV_HEADS, HEAD_DIM)
    for cache, rows in ((key_cache, k), (value_cache, v)):
        stored = quantized(rows, scale) if cache.dtype == E4M3 else rows
        cache.view(-1, KV_HEADS, HEAD_DIM)[slots] = stored
    return quantized(q, scale)


def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    wide = x.float()
    return weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype)


def quantized_heads(x: Tensor) -> tuple[Tensor, Tensor]:
    """A scale for each token and head."""
    scale = (x.float().abs().amax(-1, keepdim=True) / 448).clamp(min=1e-12)
    return quantized(x, scale), scale.squeeze(-1)


def norm_rope_cache(
    style: str,
    qkv: Tensor,
    positions: Tensor,
    table: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    slots: Tensor,
    scale: Tensor,
    q_weight: Tensor,
    k_weight: Tensor,
) -> tuple[Tensor, Tensor]:
    """As Qwen3: each head of q and k is normalized first. The table may be narrower than a head: then the
    first dims of each are rotated, the others are not. q has scales of its own.
    """
    dims = table.shape[-1]
    cos, sin = table[positions].chunk(2, -1)

    def rotated(x: Tensor) -> Tensor:
        first = STYLES[style](x[..., :dims], cos, sin)
        return first if dims == HEAD_DIM else torch.cat((first, x[..., dims:]), -1)

    q, k, v = (
        x.unflatten(-1, (-1, HEAD_DIM))
        for x in qkv.split([n * HEAD_DIM for n in (HEADS, *2 * (KV_HEADS,))], -1)
    )
    q, k = rotated(rms_norm(q, q_weight)), rotated(rms_norm(k, k_weight))
    for cache, rows in ((key_cache, k), (value_cache, v)):
        cache.view(-1, KV_HEADS, HEAD_DIM)[slots] = quantized(rows, scale)
    return quantized_heads(q)


def norm_rope_inputs(num_tokens: int, dims: int) -> list[Tensor]:
    """Those of `rope_inputs`, for the first `dims` of a head, with an e4m3 cache; weights for q and k."""
    given = rope_inputs(num_tokens, E4M3)
    generator = torch.Generator().manual_seed(1)
    angles = torch.rand(POSITIONS, dims // 2, generator=generator) * 6.28
    given[2] = torch.cat((angles.cos(), angles.sin()), -1).bfloat16()
    weights = 1.0 + 0.1 * torch.randn(2, HEAD_DIM, generator=generator)
    return [*given, *weights.bfloat16()]


def rope_inputs(num_tokens: int, cache_dtype: torch.dtype = torch.bfloat16) -> list[Tensor]:
    """qkv, positions, table, caches, slots (distinct, in no order), scale."""
    generator = torch.Generator().manual_seed(num_tokens)
    width = (HEADS + 2 * KV_HEADS) * HEAD_DIM
    angles = torch.rand(POSITIONS, HEAD_DIM // 2, generator=generator) * 6.28
    cache = torch.randn(BLOCKS, BLOCK_SIZE, KV_HEADS, HEAD_DIM, generator=generator).to(cache_dtype)
    return [
        torch.randn(num_tokens, width, generator=generator).bfloat16(),
        torch.randint(0, POSITIONS, (num_tokens,), generator=generator),
        torch.cat((angles.cos(), angles.sin()), -1).bfloat16(),
        cache,
        cache.clone(),
        torch.randperm(BLOCKS * BLOCK_SIZE, generator=generator)[:num_tokens],
        torch.tensor(0.02),
    ]


def in_one(style: str, how: str, *given: Tensor) -> Tensor:
    """Keys and values in one tensor, as servers have them: (2, blocks, block_size, heads, dim)."""
    both = given[3]
    caches = both.unbind(0) if how == "unbind" else (both[0], both[1])
    return rope_cache(style, *given[:3], *caches, *given[4:])


def in_one_inputs(num_tokens: int) -> list[Tensor]:
    given = rope_inputs(num_tokens, E4M3)
    return [*given[:3], torch.stack(given[3:5]), *given[5:]]
