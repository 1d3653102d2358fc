"""Shared by the tests of the Gluon attention: operands, and the f32 attention that it approaches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from epiq.kernels.gluon_attention_operands import Prefill


@dataclass
class Packed:
    """Sequences one behind the other: what q and k of each have, and where they start."""

    queries: list[int]
    keys: list[int]

    def starts(self, lengths: list[int], device: str) -> Tensor:
        total = [0]
        for length in lengths:
            total.append(total[-1] + length)
        return torch.tensor(total, dtype=torch.int32, device=device)


def prefill(
    lengths: tuple[int, int, int] | Packed,
    heads: tuple[int, int],
    head_dim: int,
    *,
    dtype: torch.dtype = torch.bfloat16,
    device: str = "cpu",
    spare: int = 0,
    **options: object,
) -> Prefill:
    """Random operands. lengths: batch, queries, keys; or those of packed sequences, with `spare` rows of NaN
    behind them."""
    torch.manual_seed(0)

    def random(batch: int, tokens: int, n_heads: int) -> Tensor:
        x = torch.randn(batch, tokens, n_heads, head_dim, device=device).to(dtype)
        if spare:
            x = torch.cat(
                [x, torch.full((1, spare, n_heads, head_dim), torch.nan, device=device).to(dtype)], 1
            )
        return x

    if isinstance(lengths, Packed):
        queries, keys, batch = sum(lengths.queries), sum(lengths.keys), 1
        options["cu_q"] = lengths.starts(lengths.queries, device)
        options["cu_k"] = lengths.starts(lengths.keys, device)
        options.setdefault("max_tokens", max(lengths.queries))
    else:
        batch, queries, keys = lengths
    q = random(batch, queries, heads[0])
    k, v = random(batch, keys, heads[1]), random(batch, keys, heads[1])
    return Prefill(q, k, v, float(head_dim) ** -0.5, **options)  # type: ignore[arg-type]


def reference(operands: Prefill) -> Tensor:
    """(tokens, heads * head_dim) in f32."""
    out = torch.zeros(operands.q.shape, dtype=torch.float32, device=operands.q.device)
    for b, rows, keys in _sequences(operands):
        q = operands.q[b, rows].float().transpose(0, 1)
        k, v = (
            x[b, keys].float().transpose(0, 1).repeat_interleave(operands.share, 0)
            for x in (operands.k, operands.v)
        )
        scores = q @ k.transpose(1, 2) * operands.softmax_scale
        if operands.softcap is not None:
            scores = operands.softcap * torch.tanh(scores / operands.softcap)
        scores = scores.masked_fill(~seen(operands, q.shape[1], k.shape[1]), -torch.inf)
        if operands.sinks is not None:
            sink = operands.sinks.float()[:, None, None].expand(-1, q.shape[1], 1)
            weights = torch.cat([scores, sink], -1).softmax(-1)[..., :-1]
        else:
            weights = scores.softmax(-1).nan_to_num(0.0)
        out[b, rows] = (weights @ v).transpose(0, 1)
    return out.flatten(0, 1).flatten(1)


def seen(operands: Prefill, queries: int, keys: int) -> Tensor:
    """Which keys the queries of a sequence see."""
    device = operands.q.device
    place = torch.arange(queries, device=device)[:, None] + keys - queries
    key = torch.arange(keys, device=device)[None]
    found = torch.ones(queries, keys, dtype=torch.bool, device=device)
    if operands.left is not None:
        found &= key >= place - operands.left
    if operands.right is not None:
        found &= key <= place + operands.right
    return found


def _sequences(operands: Prefill) -> list[tuple[int, slice, slice]]:
    if operands.cu_q is None or operands.cu_k is None:
        return [(b, slice(None), slice(None)) for b in range(operands.q.shape[0])]
    q, k = operands.cu_q.tolist(), operands.cu_k.tolist()
    return [(0, slice(q[i], q[i + 1]), slice(k[i], k[i + 1])) for i in range(len(q) - 1)]


def is_close(actual: Tensor, expected: Tensor, operands: Prefill) -> None:
    """Weights are rounded to the operands' dtype before the sum, the sum once more.

    Each of the two roundings is within half a step of the largest value: |y| <= max |v|.
    """
    step = 2.0**-8 if operands.q.dtype == torch.bfloat16 else 2.0**-11
    largest = operands.v.float().nan_to_num(0.0).abs().amax()
    error = (actual.float() - expected).abs()
    assert bool((error <= step * (expected.abs() + largest) + 1e-5).all()), float(error.max())
