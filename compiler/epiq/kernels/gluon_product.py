"""Calls gluon_matmul.py: descriptors, the epilogue as a Gluon function, the launch; or compiles it only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from epiq.fuse import Epilogue
from epiq.kernels.configs import Config
from epiq.kernels.gluon_epilogue import HALF, ROWS, extras, gluon_function
from epiq.kernels.gluon_launch import compile_only, launch
from epiq.kernels.operands import Operands

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
    kernel, arguments, constants = call(operands, config, epilogue, inputs, results, programs)
    launch(kernel, constants["PROGRAMS"], arguments, constants, operands.a.device)


def compile_gluon(
    operands: Operands,
    config: Config,
    epilogue: Epilogue,
    inputs: Mapping[str, Tensor],
    results: Sequence[Tensor],
    programs: int,
) -> Any:
    """What Triton compiles for such a launch: `asm` and `metadata`; needs no GPU."""
    return compile_only(*call(operands, config, epilogue, inputs, results, programs))


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
    tile = (ROWS, 2 * HALF if operands.gate_up else HALF)
    function = gluon_function(
        epilogue, operands.out_dtype, operands.n, tile, operands.gate_up, {**inputs, **named}
    )
    arguments = (
        _descriptor(operands.a, ROWS),
        _descriptor(operands.b, HALF),
        _descriptor(operands.b if operands.up is None else operands.up, HALF),
        operands.a_scale,
        operands.b_scale,
        operands.b_scale if operands.up is None else operands.up_scale,
        extras(epilogue, inputs, results, operands.m, operands.n),
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
        "APART": operands.up is not None,
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
