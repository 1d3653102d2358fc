"""Launches Gluon kernels, or compiles them only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from epiq.codegen import Target
from epiq.errors import UnsupportedError

_HOPPER = Target(90)


def launch(
    kernel: Any,
    programs: int,
    arguments: Sequence[Any],
    constants: Mapping[str, Any],
    device: torch.device,
) -> None:
    """Launches a kernel for Hopper on `device`.

    Raises: UnsupportedError on another GPU.
    """
    with torch.cuda.device(device):
        if Target.current() != _HOPPER:
            raise UnsupportedError(f"the Gluon kernel is for {_HOPPER.name}")
        kernel[(programs,)](*arguments, **constants)


def compile_only(kernel: Any, arguments: Sequence[Any], constants: Mapping[str, Any]) -> Any:
    """What Triton compiles for such a launch: `asm` and `metadata`; needs no GPU."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler.compiler import make_backend
    from triton.experimental.gluon._runtime import GluonASTSource
    from triton.runtime.jit import create_function_from_signature

    target = GPUTarget("cuda", _HOPPER.arch, 32)
    backend = make_backend(target)
    binder = create_function_from_signature(kernel.signature, kernel.params, backend)
    bound, kinds, given = binder(*arguments, **constants)
    options, signature, constexprs, attributes = kernel._pack_args(backend, constants, bound, kinds, given)
    source = GluonASTSource(kernel, signature, constexprs, attributes)
    return triton.compile(source, target=target, options=options.__dict__)
