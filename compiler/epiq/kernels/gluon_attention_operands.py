"""What the Gluon attention is given: shapes, dtypes, strides and masks, checked beforehand."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from epiq.errors import UnsupportedError

HEAD_DIMS = (64, 128)
HALVES = (torch.bfloat16, torch.float16)
_ALIGNMENT = 16
_MOST_ROWS = (1 << 31) - 1


@dataclass(frozen=True)
class Prefill:
    """What attention over whole sequences is given.

    q: (batch, tokens, heads, head_dim), bf16 or f16; k, v: (batch, keys, KV heads, head_dim); any strides
    that are multiples of 16 bytes, with a head's values next to each other. cu_q, cu_k: None, or int32
    (sequences + 1,), where the sequences of a batch of one start; some may be empty. max_tokens: of a
    sequence of q, or None. left, right: query i of n sees keys i + m - n - left to i + m - n + right of m;
    None is no limit, right=0 is causal. softmax_scale: positive. softcap: scores become
    softcap * tanh(score / softcap). sinks: (heads,), a score for each head that takes part in the softmax and
    adds nothing.
    Raises: ValueError, TypeError for operands that do not go together; UnsupportedError for those without a
      kernel.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    softmax_scale: float
    cu_q: Tensor | None = None
    cu_k: Tensor | None = None
    max_tokens: int | None = None
    left: int | None = None
    right: int | None = None
    softcap: float | None = None
    sinks: Tensor | None = None

    def __post_init__(self) -> None:
        _check_shapes(self.q, self.k, self.v)
        _check_sequences(self)
        _check_numbers(self)
        for name in ("q", "k", "v"):
            _check_strides(name, getattr(self, name))

    @property
    def tokens(self) -> int:
        return int(self.q.shape[0] * self.q.shape[1])

    @property
    def heads(self) -> int:
        return int(self.q.shape[2])

    @property
    def head_dim(self) -> int:
        return int(self.q.shape[3])

    @property
    def share(self) -> int:
        """Heads of q for one of k."""
        return self.heads // int(self.k.shape[2])

    @property
    def sequences(self) -> int:
        return int(self.q.shape[0]) if self.cu_q is None else int(self.cu_q.shape[0]) - 1

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence, or more."""
        return int(self.q.shape[1]) if self.max_tokens is None else self.max_tokens


def _check_shapes(q: Tensor, k: Tensor, v: Tensor) -> None:
    for name, x in (("q", q), ("k", k), ("v", v)):
        if not isinstance(x, Tensor):
            raise TypeError(f"{name} must be a tensor, got {type(x).__name__}")
        if x.ndim != 4:
            raise ValueError(f"{name} must be (batch, tokens, heads, head_dim), got shape {tuple(x.shape)}")
        if x.dtype not in HALVES or x.dtype != q.dtype or x.device != q.device:
            raise UnsupportedError(
                f"q, k and v must be bf16 or f16 alike, on one device; got q of {q.dtype} on {q.device}, "
                f"{name} of {x.dtype} on {x.device}"
            )
        if x.shape[3] != q.shape[3] or x.shape[3] not in HEAD_DIMS:
            raise UnsupportedError(
                f"heads of q, k and v must alike be of {' or '.join(map(str, HEAD_DIMS))}, got {q.shape[3]} "
                f"for q, {x.shape[3]} for {name}"
            )
        if 0 in x.shape:
            raise UnsupportedError(f"{name} of shape {tuple(x.shape)} is empty")
        if x.shape[0] * x.shape[1] > _MOST_ROWS:
            raise UnsupportedError(f"{name} has {x.shape[0] * x.shape[1]} rows, more than {_MOST_ROWS}")
    if k.shape != v.shape or q.shape[0] != k.shape[0] or q.shape[2] % k.shape[2]:
        raise ValueError(
            f"q, k and v do not go together: shapes {tuple(q.shape)}, {tuple(k.shape)}, {tuple(v.shape)}"
        )


def _check_sequences(operands: Prefill) -> None:
    cu_q, cu_k = operands.cu_q, operands.cu_k
    if (cu_q is None) != (cu_k is None):
        missing = "cu_q" if cu_q is None else "cu_k"
        raise ValueError(f"cu_q and cu_k are given together or not at all, got no {missing}")
    if cu_q is None or cu_k is None:
        return
    for name, cu in (("cu_q", cu_q), ("cu_k", cu_k)):
        if cu.dtype != torch.int32 or cu.ndim != 1 or not cu.is_contiguous() or cu.shape[0] < 2:
            raise ValueError(
                f"{name} must be a contiguous vector of {torch.int32}, one longer than there are sequences, "
                f"got {cu.dtype} of shape {tuple(cu.shape)}"
            )
    if cu_q.shape != cu_k.shape or operands.q.shape[0] != 1:
        raise ValueError(
            f"cu_q of {cu_q.shape[0]} and cu_k of {cu_k.shape[0]} must be alike and split a batch of one, "
            f"got {operands.q.shape[0]}"
        )


def _check_numbers(operands: Prefill) -> None:
    if not operands.softmax_scale > 0.0:
        raise UnsupportedError(f"softmax_scale must be positive, got {operands.softmax_scale}")
    if operands.softcap is not None and not operands.softcap > 0.0:
        raise ValueError(f"softcap must be positive, got {operands.softcap}")
    for name in ("left", "right"):
        value = getattr(operands, name)
        if value is not None and value < 0:
            raise ValueError(f"{name} must be 0 or more, or None, got {value}")
    sinks = operands.sinks
    if sinks is not None and (tuple(sinks.shape) != (operands.heads,) or not sinks.is_contiguous()):
        raise ValueError(f"sinks must be a contiguous ({operands.heads},), got {tuple(sinks.shape)}")


def _check_strides(name: str, x: Tensor) -> None:
    """What a tensor descriptor asks for."""
    apart = [x.stride(i) * x.element_size() for i in range(3) if x.shape[i] > 1]
    if x.stride(3) != 1 or any(n <= 0 or n % _ALIGNMENT for n in apart):
        raise UnsupportedError(
            f"{name} must have heads of contiguous values, and all else at multiples of {_ALIGNMENT} bytes; "
            f"got strides {tuple(x.stride())}"
        )
    past = 0 if x.device.type == "meta" else x.data_ptr() % _ALIGNMENT
    if past:
        raise UnsupportedError(f"{name} must start at a multiple of {_ALIGNMENT} bytes, got {past} more")
