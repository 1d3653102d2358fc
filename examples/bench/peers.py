"""Fused kernels of other projects, as contenders for the programs of programs.py.

vLLM's are ops of its extension libraries, loaded without vLLM itself; Helion's are its pretuned kernels,
which take the same arguments. Both write into tensors they are given and change a residual in place, which
spares them a tensor; each contender has tensors of its own.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from programs import E4M3, EPS
from torch import Tensor

Peer = Callable[[], tuple[Tensor, ...]]
# Finds a project's kernel by the name of vLLM's op; None where it has none.
Lookup = Callable[[str], Callable[..., Any] | None]


def vllm_kernels(folder: Path) -> Lookup:
    """The ops of vLLM's extension libraries, _C*.so in `folder`."""
    for library in sorted(folder.glob("_C*.so")):
        torch.ops.load_library(str(library))
    return lambda name: getattr(torch.ops._C, name, None)


def helion_kernels(folder: Path) -> Lookup:
    """Helion's pretuned kernels: `folder` is pretuned_kernels of its repository. Needs helion installed."""

    def lookup(name: str) -> Callable[..., Any] | None:
        path = folder / name / f"{name}.py"
        if not path.exists():
            return None
        module_name = f"pretuned_{name}"
        if module_name not in sys.modules:
            spec = importlib.util.spec_from_file_location(module_name, path)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[module_name] = module
            spec.loader.exec_module(module)
        found: Callable[..., Any] = getattr(sys.modules[module_name], name)
        return found

    return lookup


def load_peers(vllm: Path | None, helion: Path | None) -> dict[str, Lookup]:
    """The projects whose folders are given, by name."""
    found: dict[str, Lookup] = {}
    if vllm is not None:
        found["vllm"] = vllm_kernels(vllm)
    if helion is not None:
        found["helion"] = helion_kernels(helion)
    return found


def peer_of(lookup: Lookup, program: str, inputs: Sequence[Tensor]) -> Peer | None:
    """A project's kernel for a program, on copies of its inputs; None where it has none."""
    if program not in _PEERS:
        return None
    name, make = _PEERS[program]
    op = lookup(name)
    return None if op is None else make(op, *(tensor.clone() for tensor in inputs))


def _group(group_size: int) -> Callable[..., Peer]:
    def make(op: Callable[..., Any], x: Tensor, r: Tensor, w: Tensor) -> Peer:
        q = torch.empty_like(x, dtype=E4M3)
        scale = torch.empty(x.shape[0], x.shape[1] // group_size, device=x.device)

        def run() -> tuple[Tensor, ...]:
            op(q, x, w, scale, EPS, None, r, group_size, False)
            return r, q, scale

        return run

    return make


def _static(op: Callable[..., Any], x: Tensor, r: Tensor, w: Tensor, scale: Tensor) -> Peer:
    q = torch.empty_like(x, dtype=E4M3)
    scale = scale.reshape(1)

    def run() -> tuple[Tensor, ...]:
        op(q, x, r, w, scale, EPS)
        return r, q

    return run


def _token(op: Callable[..., Any], x: Tensor, r: Tensor, w: Tensor) -> Peer:
    q = torch.empty_like(x, dtype=E4M3)
    scale = torch.empty(x.shape[0], 1, device=x.device)

    def run() -> tuple[Tensor, ...]:
        op(q, x, w, scale, EPS, None, r)
        return r, q, scale

    return run


def _silu(op: Callable[..., Any], gate_up: Tensor) -> Peer:
    tokens, width = gate_up.shape[0], gate_up.shape[1] // 2
    q = torch.empty(tokens, width, dtype=E4M3, device=gate_up.device)
    scale = torch.empty(tokens, width // 128, device=gate_up.device)

    def run() -> tuple[Tensor, ...]:
        op(q, gate_up, scale, 128)
        return q, scale

    return run


_PEERS: dict[str, tuple[str, Callable[..., Peer]]] = {
    "add_rms_norm_group": ("rms_norm_per_block_quant", _group(128)),
    "add_rms_norm_group64": ("rms_norm_per_block_quant", _group(64)),
    "add_rms_norm_static": ("fused_add_rms_norm_static_fp8_quant", _static),
    "add_rms_norm_token": ("rms_norm_dynamic_per_token_quant", _token),
    "silu_mul_group": ("silu_and_mul_per_block_quant", _silu),
}
