"""Calls gluon_matmul.py: descriptors, the epilogue as a Gluon function, the launch; or compiles it only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from epiq.codegen import Target
from epiq.errors import UnsupportedError
from epiq.fuse import Epilogue
from epiq.fuse.matrix import input_kind, output_matrix
from epiq.kernels.configs import Config
from epiq.kernels.gluon_epilogue import HALF, ROWS, gluon_function
from epiq.kernels.operands import FP8, Operands

_HOPPER = Target(90)
_NUM_WARPS = 4
# What the layout of shared memory spans, and a stage's depth along K.
_SWIZZLE_BYTES = 128


def run_gluon(
    operands: Operands,
    config: Config,
    epilogue: Epilogue,
    inputs: Mapping[str, Tensor],
    results: Sequence[Tensor],
    programs: int,
) -> None:
    """Launches the kernel on the operands' device.

    Args: epilogue: of a tile, both halves of it in the gate_up form.
    Raises: UnsupportedError where the epilogue has no form in Gluon, or off Hopper.
    """
    with torch.cuda.device(operands.a.device):
        if Target.current() != _HOPPER:
            raise UnsupportedError(f"the Gluon kernel is for {_HOPPER.name}")
        kernel, arguments, constants = call(operands, config, epilogue, inputs, results, programs)
        kernel[(constants["PROGRAMS"],)](*arguments, **constants)


def compile_gluon(
    operands: Operands,
    config: Config,
    epilogue: Epilogue,
    inputs: Mapping[str, Tensor],
    results: Sequence[Tensor],
    programs: int,
) -> Any:
    """What Triton compiles for such a launch: `asm` and `metadata`; needs no GPU."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler.compiler import make_backend
    from triton.experimental.gluon._runtime import GluonASTSource
    from triton.runtime.jit import create_function_from_signature

    kernel, arguments, constants = call(operands, config, epilogue, inputs, results, programs)
    target = GPUTarget("cuda", _HOPPER.arch, 32)
    backend = make_backend(target)
    binder = create_function_from_signature(kernel.signature, kernel.params, backend)
    bound, kinds, given = binder(*arguments, **constants)
    options, signature, constexprs, attributes = kernel._pack_args(backend, constants, bound, kinds, given)
    source = GluonASTSource(kernel, signature, constexprs, attributes)
    return triton.compile(source, target=target, options=options.__dict__)


def call(
    operands: Operands,
    config: Config,
    epilogue: Epilogue,
    inputs: Mapping[str, Tensor],
    results: Sequence[Tensor],
    programs: int,
) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """A launch: kernel, arguments, constants. programs: the most that work at a time."""
    from triton.experimental.gluon import language as gl

    from epiq.kernels import gluon_matmul

    tiles = config.tiles(operands)
    named = dict(zip(epilogue.names(results), results, strict=True))
    function = gluon_function(
        epilogue, operands.out_dtype, operands.m, operands.n, operands.gate_up, {**inputs, **named}
    )
    arguments = (
        _descriptor(operands.a, ROWS),
        _descriptor(operands.b, HALF),
        operands.a_scale,
        operands.b_scale,
        _extras(operands, epilogue, inputs, results),
        operands.m,
        operands.n,
        operands.k,
        *operands.scale_strides,
    )
    out_types = {torch.float16: gl.float16, torch.bfloat16: gl.bfloat16, torch.float32: gl.float32}
    constants = {
        "EPILOGUE": function,
        "OUT": out_types[operands.out_dtype],
        "SCALES": operands.scales,
        "GATE_UP": operands.gate_up,
        "GROUPS": config.block_m // ROWS,
        "STAGES": config.num_stages,
        "PROGRAMS": min(tiles, programs),
        "GROUP_M": config.group_m,
        "num_warps": _NUM_WARPS,
        # What a sum of the epilogue becomes must not depend on what is computed beside it; the kernel asks
        # for its own FMAs.
        "enable_fp_fusion": False,
    }
    return gluon_matmul.matmul, arguments, constants


def _descriptor(matrix: Tensor, rows: int) -> Any:
    from triton.experimental.gluon import language as gl
    from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

    bits = 8 * matrix.element_size()
    layout = gl.NVMMASharedLayout(swizzle_byte_width=_SWIZZLE_BYTES, element_bitwidth=bits, rank=2)
    block = [rows, _SWIZZLE_BYTES // matrix.element_size()]
    return TensorDescriptor(matrix, list(matrix.shape), list(matrix.stride()), block, layout)


def _extras(
    operands: Operands, epilogue: Epilogue, inputs: Mapping[str, Tensor], results: Sequence[Tensor]
) -> tuple[Any, ...]:
    """The epilogue's tensors and strides, in the order of epiq-fuse-epilogue's new arguments."""
    extras: list[Any] = []
    for name in epilogue.inputs:
        stride = input_kind(name, inputs[name], operands.m, operands.n).stride
        extras += [inputs[name]] if stride is None else [inputs[name], stride]
    for name, result in zip(epilogue.names(results), results, strict=True):
        if result.element_size() == 1 and result.dtype not in (FP8, torch.float8_e5m2):
            result = result.view(torch.uint8)
        extras += [result, output_matrix(name, result).stride]
    return tuple(extras)
