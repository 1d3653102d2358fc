"""The fused kernels of vLLM, as contenders for the programs of programs.py.

They are ops of vLLM's extension libraries, loaded without vLLM itself. Ops write into tensors they are given,
and those that add a residual change it in place; each contender so has tensors of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from programs import E4M3, EPS
from torch import Tensor

Peer = Callable[[], tuple[Tensor, ...]]


def load_libraries(folder: Path) -> list[str]:
    """Loads vLLM's extension libraries found in `folder`; returns their names."""
    found = sorted(folder.glob("_C*.so"))
    for library in found:
        torch.ops.load_library(str(library))
    return [library.name for library in found]


def vllm_peer(program: str, inputs: Sequence[Tensor]) -> Peer | None:
    """vLLM's kernel for a program, on copies of its inputs; None where vLLM has none."""
    make = _PEERS.get(program)
    return None if make is None else make(*(tensor.clone() for tensor in inputs))


def _has(op: str) -> bool:
    return hasattr(torch.ops._C, op)


def _group(group_size: int) -> Callable[..., Peer | None]:
    def make(x: Tensor, r: Tensor, w: Tensor) -> Peer | None:
        if not _has("rms_norm_per_block_quant"):
            return None
        q = torch.empty_like(x, dtype=E4M3)
        scale = torch.empty(x.shape[0], x.shape[1] // group_size, device=x.device)
        op = torch.ops._C.rms_norm_per_block_quant

        def run() -> tuple[Tensor, ...]:
            op(q, x, w, scale, EPS, None, r, group_size, False)
            return r, q, scale

        return run

    return make


def _static(x: Tensor, r: Tensor, w: Tensor, scale: Tensor) -> Peer | None:
    if not _has("fused_add_rms_norm_static_fp8_quant"):
        return None
    q = torch.empty_like(x, dtype=E4M3)
    scale = scale.reshape(1)

    def run() -> tuple[Tensor, ...]:
        torch.ops._C.fused_add_rms_norm_static_fp8_quant(q, x, r, w, scale, EPS)
        return r, q

    return run


def _token(x: Tensor, r: Tensor, w: Tensor) -> Peer | None:
    if not _has("rms_norm_dynamic_per_token_quant"):
        return None
    q = torch.empty_like(x, dtype=E4M3)
    scale = torch.empty(x.shape[0], 1, device=x.device)

    def run() -> tuple[Tensor, ...]:
        torch.ops._C.rms_norm_dynamic_per_token_quant(q, x, w, scale, EPS, None, r)
        return r, q, scale

    return run


def _silu(gate_up: Tensor) -> Peer | None:
    if not _has("silu_and_mul_per_block_quant"):
        return None
    tokens, width = gate_up.shape[0], gate_up.shape[1] // 2
    q = torch.empty(tokens, width, dtype=E4M3, device=gate_up.device)
    scale = torch.empty(tokens, width // 128, device=gate_up.device)

    def run() -> tuple[Tensor, ...]:
        torch.ops._C.silu_and_mul_per_block_quant(q, gate_up, scale, 128)
        return q, scale

    return run


_PEERS: dict[str, Callable[..., Peer | None]] = {
    "add_rms_norm_group": _group(128),
    "add_rms_norm_group64": _group(64),
    "add_rms_norm_static": _static,
    "add_rms_norm_token": _token,
    "silu_mul_group": _silu,
}
