"""What attention is given: shapes, dtypes, scales, sequences and masks, checked before a kernel sees them."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from epiq.errors import UnsupportedError

HALVES = (torch.bfloat16, torch.float16)
FP8 = torch.float8_e4m3fn
# Head dims that have kernels: as one power of two, or as the sum of two.
HEAD_DIMS = {32: (32, 0), 64: (64, 0), 96: (64, 32), 128: (128, 0), 192: (128, 64), 256: (256, 0)}
_ALIGNMENT = 16


@dataclass(frozen=True)
class Mask:
    """Which keys a query sees besides those of its sequence: from `left` before its own place to `right`
    after it; None is no limit. The last query stands at the last key."""

    left: int | None = None
    right: int | None = None

    @staticmethod
    def of(causal: bool, window: int | tuple[int, int] | None) -> Mask:
        """Args: window: the keys that a query sees, its own and those before it (and, if not causal, as many
        after it); or, as FlashAttention counts, how many before and how many after it, -1 being no limit.
        """
        right = 0 if causal else None
        if window is None:
            return Mask(None, right)
        if isinstance(window, int):
            if window < 1:
                raise ValueError(f"window must be at least 1, got {window}")
            return Mask(window - 1, 0 if causal else window - 1)
        before, after = window
        if before < -1 or after < -1:
            raise ValueError(f"window must be two numbers of -1 or more, got {tuple(window)}")
        after = 0 if causal else after
        return Mask(None if before < 0 else before, None if after < 0 else after)


@dataclass(frozen=True)
class Scale:
    """What FP8 values are multiplied by. kind: "none", "head" or "token". values: f32. strides: between
    tokens (for a cache: between pages, then tokens) and, last, between heads."""

    kind: str = "none"
    values: Tensor | None = None
    strides: tuple[int, ...] = ()


@dataclass(frozen=True)
class Options:
    """What does not depend on tensors' places: the mask, numbers, sinks."""

    mask: Mask
    softmax_scale: float
    softcap: float
    sinks: Tensor | None


@dataclass(frozen=True)
class Operands:
    """Checked operands of attention over whole sequences.

    q: (batch, tokens, heads, D). k, v: (batch, keys, KV heads, D) and (.., D_V). cu_q, cu_k: None, or where
    the sequences of a batch of one start. max_tokens: of a sequence.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    q_scale: Scale
    k_scale: Scale
    v_scale: Scale
    cu_q: Tensor | None
    cu_k: Tensor | None
    max_tokens: int
    options: Options

    @property
    def tokens(self) -> int:
        return int(self.q.shape[0] * self.q.shape[1])

    @property
    def heads(self) -> int:
        return int(self.q.shape[2])

    @property
    def group(self) -> int:
        """Heads of Q for one of K."""
        return self.heads // int(self.k.shape[2])

    @property
    def sequences(self) -> int:
        return int(self.q.shape[0]) if self.cu_q is None else int(self.cu_q.shape[0]) - 1

    @property
    def head_dim(self) -> int:
        return int(self.q.shape[3])

    @property
    def v_dim(self) -> int:
        return int(self.v.shape[3])

    @property
    def out_dtype(self) -> torch.dtype:
        return out_dtype(self.q, self.v)


def out_dtype(q: Tensor, v: Tensor) -> torch.dtype:
    """What the result is rounded to: the dtype of Q, or of V where Q is FP8, or bf16."""
    return next((x.dtype for x in (q, v) if x.dtype in HALVES), torch.bfloat16)


def check_operands(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_scale: Tensor | None,
    k_scale: Tensor | None,
    v_scale: Tensor | None,
    cu_seqlens: Tensor | None,
    cu_seqlens_k: Tensor | None,
    max_seqlen: int | None,
    options: Options,
) -> Operands:
    """Raises: TypeError, ValueError, both values in the message; UnsupportedError for head dims and dtypes
    that have no kernel."""
    check_tensors(q=q, k=k, v=v)
    ndim = 4 if cu_seqlens is None else 3
    if {q.ndim, k.ndim, v.ndim} != {ndim}:
        wanted = "(batch, tokens, heads, head_dim)" if ndim == 4 else "(tokens, heads, head_dim)"
        raise ValueError(
            f"q, k and v must be {wanted}, got shapes {tuple(q.shape)}, {tuple(k.shape)} and {tuple(v.shape)}"
        )
    if cu_seqlens is None:
        if cu_seqlens_k is not None:
            raise ValueError("cu_seqlens_k is given without cu_seqlens")
    else:
        cu_seqlens_k = cu_seqlens if cu_seqlens_k is None else cu_seqlens_k
        check_sequences("cu_seqlens", cu_seqlens, q.shape[0])
        check_sequences("cu_seqlens_k", cu_seqlens_k, k.shape[0])
        if cu_seqlens.shape != cu_seqlens_k.shape:
            raise ValueError(
                f"cu_seqlens has {cu_seqlens.shape[0] - 1} sequences, "
                f"cu_seqlens_k {cu_seqlens_k.shape[0] - 1}"
            )
        q, k, v = q.unsqueeze(0), k.unsqueeze(0), v.unsqueeze(0)
    if k.shape[:3] != v.shape[:3]:
        raise ValueError(
            f"k and v go together but for the head dim, got {tuple(k.shape)} and {tuple(v.shape)}"
        )
    if q.shape[0] != k.shape[0]:
        raise ValueError(f"q has a batch of {q.shape[0]}, k of {k.shape[0]}")
    check_heads(q, k, v)
    check_dtypes(q, k, v)
    for name, x in (("q", q), ("k", k), ("v", v)):
        _check_strides(name, x)
    check_device(q, k, v, q_scale, k_scale, v_scale, cu_seqlens, cu_seqlens_k, options.sinks)
    check_options(options, q.shape[2])
    return Operands(
        q, k, v,
        _token_scale("q_scale", q_scale, q), _token_scale("k_scale", k_scale, k),
        _token_scale("v_scale", v_scale, v),
        cu_seqlens, cu_seqlens_k,
        int(q.shape[1]) if max_seqlen is None else min(int(max_seqlen), int(q.shape[1])),
        options,
    )  # fmt: skip


def check_tensors(**tensors: Tensor) -> None:
    for name, value in tensors.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a tensor, got {type(value).__name__}")


def check_heads(q: Tensor, k: Tensor, v: Tensor) -> None:
    """Heads and head dims, which are the last two dimensions."""
    (heads, head_dim), (kv_heads, k_dim), v_dim = q.shape[-2:], k.shape[-2:], v.shape[-1]
    if kv_heads == 0 or heads % kv_heads != 0:
        raise ValueError(f"{heads} heads of q are no multiple of {kv_heads} heads of k")
    if head_dim != k_dim:
        raise ValueError(f"q has head dim {head_dim}, k {k_dim}")
    for name, dim in (("q and k", head_dim), ("v", v_dim)):
        if dim not in HEAD_DIMS:
            known = ", ".join(map(str, HEAD_DIMS))
            raise UnsupportedError(f"head dim {dim} of {name} has no kernel: there are {known}")


def check_dtypes(q: Tensor, k: Tensor, v: Tensor, cached: bool = False) -> None:
    """Q and K have one dtype, V too, or another one beside FP8; a cache may be FP8 beside bf16 or f16 Q."""
    for name, x in (("q", q), ("k", k), ("v", v)):
        if x.dtype not in (*HALVES, FP8):
            raise UnsupportedError(
                f"{name} of {x.dtype} has no kernel: there are bf16, f16 and float8_e4m3fn"
            )
    if q.dtype != k.dtype and not (cached and k.dtype == FP8):
        raise ValueError(f"q and k must have one dtype, got {q.dtype} and {k.dtype}")
    if v.dtype not in (k.dtype, *(HALVES if k.dtype == FP8 else ())):
        raise ValueError(f"k and v must have one dtype, got {k.dtype} and {v.dtype}")


def check_device(*tensors: Tensor | None) -> None:
    devices = {str(tensor.device) for tensor in tensors if tensor is not None}
    if len(devices) != 1:
        raise ValueError(f"the operands are on {' and '.join(sorted(devices))}")


def check_options(options: Options, heads: int) -> None:
    if not (math.isfinite(options.softmax_scale) and options.softmax_scale > 0.0):
        raise ValueError(f"scale must be positive and finite, got {options.softmax_scale}")
    if not (math.isfinite(options.softcap) and options.softcap >= 0.0):
        raise ValueError(f"softcap must be positive and finite, or 0 for none, got {options.softcap}")
    sinks = options.sinks
    if sinks is None:
        return
    if tuple(sinks.shape) != (heads,) or not sinks.is_contiguous():
        raise ValueError(
            f"sinks must be contiguous, one value for each of {heads} heads, got {tuple(sinks.shape)}"
        )
    if sinks.dtype not in (*HALVES, torch.float32):
        raise ValueError(f"sinks must be bf16, f16 or f32, got {sinks.dtype}")


def check_sequences(name: str, cu_seqlens: Tensor, tokens: int) -> None:
    """Where sequences start; the values are looked at on the CPU only: a GPU would have to be waited for."""
    if cu_seqlens.ndim != 1 or cu_seqlens.shape[0] < 2 or cu_seqlens.dtype != torch.int32:
        raise ValueError(
            f"{name} must be int32 of (sequences + 1,), got {cu_seqlens.dtype} of {tuple(cu_seqlens.shape)}"
        )
    if not cu_seqlens.is_contiguous():
        raise ValueError(f"{name} must be contiguous, got strides {tuple(cu_seqlens.stride())}")
    if cu_seqlens.device.type != "cpu":
        return
    starts = cu_seqlens.tolist()
    if starts[0] < 0 or starts[-1] > tokens or any(a > b for a, b in itertools.pairwise(starts)):
        raise ValueError(f"{name} must rise from 0 to at most {tokens} tokens, got {starts}")


def _check_strides(name: str, x: Tensor) -> None:
    """What a tensor descriptor asks for."""
    if x.stride(-1) != 1:
        raise ValueError(f"{name} must be contiguous along its head dim, got strides {tuple(x.stride())}")
    steps = [s * x.element_size() for s, size in zip(x.stride()[:-1], x.shape[:-1], strict=True) if size > 1]
    if any(step % _ALIGNMENT or step == 0 for step in steps):
        raise ValueError(
            f"heads of {name} must be apart and start at multiples of {_ALIGNMENT} bytes, got strides "
            f"{tuple(x.stride())} of {x.element_size()} bytes: give a contiguous tensor"
        )
    past = 0 if x.device.type == "meta" else x.data_ptr() % _ALIGNMENT
    if past:
        raise ValueError(f"{name} must start at a multiple of {_ALIGNMENT} bytes, got {past} more")


def _token_scale(name: str, scale: Tensor | None, x: Tensor) -> Scale:
    """A scale of q, k or v, (batch, tokens, heads, dim)."""
    if scale is None:
        return Scale(strides=(0, 0))
    heads = int(x.shape[2])
    found = head_scale(name, scale, x, heads, strides=2)
    if found is not None:
        return found
    if scale.ndim == 3 or (scale.ndim == 2 and x.shape[0] == 1):
        tokens = scale if scale.ndim == 3 else scale.unsqueeze(0)
        if tuple(tokens.shape) == tuple(x.shape[:3]):
            batch, step, by_head = tokens.stride()
            if tokens.shape[0] == 1 or batch == tokens.shape[1] * step:
                return Scale("token", scale, (step, by_head))
            raise ValueError(f"{name} must have tokens at one distance, got strides {tuple(scale.stride())}")
    raise ValueError(
        f"{name} must be one value, ({heads},) or {tuple(x.shape[:3])}, got shape {tuple(scale.shape)}"
    )


def head_scale(name: str, scale: Tensor, x: Tensor, heads: int, strides: int) -> Scale | None:
    """One value, or one for each head; None if it is neither."""
    check_tensors(**{name: scale})
    if x.dtype != FP8:
        raise ValueError(f"{name} is for {FP8}, got {x.dtype}")
    if scale.dtype != torch.float32:
        raise ValueError(f"{name} must be {torch.float32}, got {scale.dtype}")
    none = (0,) * (strides - 1)
    if scale.numel() == 1:
        return Scale("head", scale, (*none, 0))
    if tuple(scale.shape) == (heads,):
        return Scale("head", scale, (*none, scale.stride(0)))
    return None
