"""What attention over a cache is given, checked before a kernel sees it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from epiq.attention.operands import (
    HALVES,
    Options,
    Scale,
    check_device,
    check_dtypes,
    check_heads,
    check_options,
    check_sequences,
    check_tensors,
    head_scale,
    out_dtype,
)
from epiq.errors import UnsupportedError


@dataclass(frozen=True)
class PagedOperands:
    """Checked operands of attention over a paged cache, or one that holds each sequence in one piece.

    q: (tokens, heads, D), `seq_q` a sequence, or from `cu_q[i]` on; or (sequences, queries, heads, D).
    k, v: (pages, page size, KV heads, D) and (.., D_V). block_table: (sequences, pages of one). seq_lens:
    (sequences,). Both are None where page i is all of sequence i. max_tokens: of q, a sequence. bias:
    (sequences, heads, queries, keys), uint8 for keys that are seen or not, or what is added to scaled scores.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    q_scale: Scale
    k_scale: Scale
    v_scale: Scale
    block_table: Tensor | None
    seq_lens: Tensor | None
    cu_q: Tensor | None
    seq_q: int
    max_tokens: int
    options: Options
    bias: Tensor | None = None

    @property
    def tokens(self) -> int:
        return math.prod(self.q.shape[:-2])

    @property
    def heads(self) -> int:
        return int(self.q.shape[-2])

    @property
    def kv_heads(self) -> int:
        return int(self.k.shape[2])

    @property
    def group(self) -> int:
        """Heads of Q for one of K."""
        return self.heads // self.kv_heads

    @property
    def sequences(self) -> int:
        return int(self.k.shape[0] if self.seq_lens is None else self.seq_lens.shape[0])

    @property
    def page(self) -> int:
        """Tokens of a page; 0 where there is no table of pages."""
        return 0 if self.block_table is None else int(self.k.shape[1])

    @property
    def max_keys(self) -> int:
        """At most, of a sequence."""
        return int(self.k.shape[1]) * (1 if self.block_table is None else int(self.block_table.shape[1]))

    @property
    def head_dim(self) -> int:
        return int(self.q.shape[-1])

    @property
    def v_dim(self) -> int:
        return int(self.v.shape[3])

    @property
    def out_dtype(self) -> torch.dtype:
        return out_dtype(self.q, self.v)


def check_paged(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    block_table: Tensor,
    seq_lens: Tensor,
    q_scale: Tensor | None,
    k_scale: Tensor | None,
    v_scale: Tensor | None,
    cu_seqlens: Tensor | None,
    max_seqlen: int | None,
    options: Options,
) -> PagedOperands:
    """Raises: TypeError, ValueError, both values in the message; UnsupportedError for head dims and dtypes
    that have no kernel."""
    check_tensors(q=q, k_cache=k, v_cache=v, block_table=block_table, seq_lens=seq_lens)
    if q.ndim not in (3, 4) or (q.ndim == 4 and cu_seqlens is not None):
        raise ValueError(
            "q must be (sequences, heads, head_dim), (sequences, queries, heads, head_dim), or, with "
            f"cu_seqlens, (tokens, heads, head_dim), got shape {tuple(q.shape)}"
        )
    if k.ndim != 4 or k.shape[:3] != v.shape[:3] or v.ndim != 4:
        raise ValueError(
            "k_cache and v_cache must be (pages, page size, KV heads, head_dim), got shapes "
            f"{tuple(k.shape)} and {tuple(v.shape)}"
        )
    for name, x, ndim in (("block_table", block_table, 2), ("seq_lens", seq_lens, 1)):
        if x.ndim != ndim or x.dtype != torch.int32 or (x.numel() > 1 and x.stride(-1) != 1):
            raise ValueError(
                f"{name} must be int32 of {ndim} dimensions, its last contiguous, got {x.dtype} of "
                f"{tuple(x.shape)} with strides {tuple(x.stride())}"
            )
    sequences = int(seq_lens.shape[0])
    if block_table.shape[0] != sequences:
        raise ValueError(f"block_table has {block_table.shape[0]} sequences, seq_lens {sequences}")
    seq_q = 1 if q.ndim == 3 else int(q.shape[1])
    if cu_seqlens is None and q.shape[0] != sequences:
        raise ValueError(f"q has {q.shape[0]} sequences, seq_lens {sequences}")
    if cu_seqlens is not None:
        check_sequences("cu_seqlens", cu_seqlens, q.shape[0])
        if cu_seqlens.shape[0] != sequences + 1:
            raise ValueError(f"cu_seqlens has {cu_seqlens.shape[0] - 1} sequences, seq_lens {sequences}")
    check_heads(q, k, v)
    check_dtypes(q, k, v, cached=True)
    for name, x in (("q", q), ("k_cache", k), ("v_cache", v)):
        if x.stride(-1) != 1:
            raise ValueError(f"{name} must be contiguous along its head dim, got strides {tuple(x.stride())}")
    check_device(q, k, v, block_table, seq_lens, q_scale, k_scale, v_scale, cu_seqlens, options.sinks)
    check_options(options, q.shape[-2])
    rows = q if q.ndim == 3 else _flat("q", q)
    longest = int(rows.shape[0]) if cu_seqlens is not None else seq_q
    return PagedOperands(
        rows, k, v,
        _query_scale(q_scale, q, rows), _cache_scale("k_scale", k_scale, k),
        _cache_scale("v_scale", v_scale, v),
        block_table, seq_lens, cu_seqlens, seq_q,
        longest if max_seqlen is None else min(int(max_seqlen), longest),
        options,
    )  # fmt: skip


def check_cached(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, options: Options) -> PagedOperands:
    """The operands of attention over keys that lie in one piece for each sequence.

    Args: q: (sequences, queries, heads, D). k, v: (sequences, keys, KV heads, D) and (.., D_V). bias: a mask
      that broadcasts to (sequences, heads, queries, keys): bool, True for keys that are seen, or bf16, f16 or
      f32, added to the scaled scores.
    Raises: as `check_paged`.
    """
    check_tensors(q=q, k=k, v=v)
    if {q.ndim, k.ndim, v.ndim} != {4} or k.shape[:3] != v.shape[:3] or q.shape[0] != k.shape[0]:
        raise ValueError(
            "q must be (sequences, queries, heads, head_dim), k and v (sequences, keys, KV heads, head_dim), "
            f"got shapes {tuple(q.shape)}, {tuple(k.shape)} and {tuple(v.shape)}"
        )
    check_heads(q, k, v)
    check_dtypes(q, k, v)
    if q.dtype not in HALVES:
        raise UnsupportedError(f"q of {q.dtype} has no kernel over a cache: there are bf16 and f16")
    for name, x in (("q", q), ("k", k), ("v", v)):
        if x.stride(-1) != 1:
            raise ValueError(f"{name} must be contiguous along its head dim, got strides {tuple(x.stride())}")
    check_device(q, k, v, bias, options.sinks)
    check_options(options, q.shape[2])
    sequences, queries, heads, _ = q.shape
    none = Scale(strides=(0, 0, 0))
    return PagedOperands(
        q, k, v, Scale(strides=(0, 0)), none, none, None, None, None,
        int(queries), int(queries), options,
        None if bias is None else _bias(bias, (sequences, heads, queries, k.shape[1])),
    )  # fmt: skip


def _bias(bias: Tensor, shape: tuple[int, ...]) -> Tensor:
    if bias.dtype not in (torch.bool, *HALVES, torch.float32):
        raise ValueError(f"a mask must be bool, bf16, f16 or f32, got {bias.dtype}")
    try:
        full = bias.expand(shape)
    except RuntimeError as error:
        raise ValueError(
            f"a mask of shape {tuple(bias.shape)} does not broadcast to (sequences, heads, queries, keys) = "
            f"{shape}"
        ) from error
    return full.view(torch.uint8) if bias.dtype == torch.bool else full


def _flat(name: str, x: Tensor) -> Tensor:
    """(sequences, queries, ..) as (tokens, ..)."""
    if min(x.shape[:2]) > 1 and x.stride(0) != x.shape[1] * x.stride(1):
        raise ValueError(f"{name} must have tokens at one distance, got strides {tuple(x.stride())}")
    return x.flatten(0, 1)


def _query_scale(scale: Tensor | None, q: Tensor, rows: Tensor) -> Scale:
    if scale is None:
        return Scale(strides=(0, 0))
    found = head_scale("q_scale", scale, rows, int(rows.shape[1]), strides=2)
    if found is not None:
        return found
    if scale.shape != q.shape[:-1]:
        raise ValueError(
            f"q_scale must be one value, ({rows.shape[1]},) or {tuple(q.shape[:-1])}, "
            f"got {tuple(scale.shape)}"
        )
    flat = scale if scale.ndim == 2 else _flat("q_scale", scale)
    return Scale("token", flat, flat.stride())


def _cache_scale(name: str, scale: Tensor | None, cache: Tensor) -> Scale:
    if scale is None:
        return Scale(strides=(0, 0, 0))
    found = head_scale(name, scale, cache, int(cache.shape[2]), strides=3)
    if found is not None:
        return found
    if scale.shape != cache.shape[:3]:
        raise ValueError(
            f"{name} must be one value, ({cache.shape[2]},) or {tuple(cache.shape[:3])}, "
            f"got {tuple(scale.shape)}"
        )
    return Scale("token", scale, scale.stride())
