"""The warp-specialized kernel of Hopper behind `attention`: what it is given of checked operands."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from epiq.attention.configs import Config
from epiq.attention.operands import Operands
from epiq.attention.outputs import Output
from epiq.errors import UnsupportedError
from epiq.fuse import Epilogue

if TYPE_CHECKING:
    from epiq.kernels.gluon_attention_call import Tiles
    from epiq.kernels.gluon_attention_operands import Prefill

# Of H100 and H200.
_SMS = 132
_IDENTITY = Epilogue(lambda y: y)


def run_gluon(operands: Operands, config: Config, output: Output) -> None:
    """Raises: UnsupportedError for operands that this kernel is not for, or off Hopper; FusionError where
    the epilogue does not fit a tile."""
    from epiq.kernels.gluon_attention_call import run_gluon_attention

    if operands.q.device.type != "cuda":
        raise UnsupportedError(f"the Gluon kernel runs on a GPU, got tensors on {operands.q.device}")
    sms = torch.cuda.get_device_properties(operands.q.device).multi_processor_count
    prefill, tiles, epilogue, results = _given(operands, config, output)
    run_gluon_attention(prefill, tiles, epilogue, output.inputs, results, sms)


def check_gluon(operands: Operands, config: Config, output: Output) -> None:
    """Raises: as `run_gluon`, without a GPU; tensors may be on the meta device."""
    from epiq.kernels.gluon_attention_call import call

    prefill, tiles, epilogue, results = _given(operands, config, output)
    call(prefill, tiles, epilogue, output.inputs, results, _SMS)


def compile_gluon(operands: Operands, config: Config, output: Output) -> Any:
    """What Triton compiles for such a launch on Hopper; needs no GPU, tensors may be on the meta device."""
    from epiq.kernels.gluon_attention_call import compile_gluon_attention

    prefill, tiles, epilogue, results = _given(operands, config, output)
    return compile_gluon_attention(prefill, tiles, epilogue, output.inputs, results, _SMS)


def _given(
    operands: Operands, config: Config, output: Output
) -> tuple[Prefill, Tiles, Epilogue, Sequence[Tensor]]:
    # epiq.kernels offers `attention` itself.
    from epiq.kernels.gluon_attention_call import tiles_of
    from epiq.kernels.gluon_attention_operands import Prefill

    if operands.head_dim != operands.v_dim:
        raise UnsupportedError(
            f"the Gluon kernel has heads of one dim, got {operands.head_dim} and {operands.v_dim}"
        )
    options = operands.options
    prefill = Prefill(
        operands.q,
        operands.k,
        operands.v,
        options.softmax_scale,
        operands.cu_q,
        operands.cu_k,
        operands.max_tokens,
        options.mask.left,
        options.mask.right,
        options.softcap or None,
        options.sinks,
    )
    epilogue, results = output.epilogue or _IDENTITY, output.results
    if output.kept is not None:
        results = (*results, output.kept)
        epilogue = _keeping(epilogue) if output.epilogue is not None else epilogue
    return prefill, tiles_of(prefill, config.pack), epilogue, results


@functools.lru_cache(256)
def _keeping(epilogue: Epilogue) -> Epilogue:
    """`epilogue` with the output as one more result."""

    def fn(y: Tensor, *inputs: Any) -> tuple[Tensor, ...]:
        return (*epilogue.compute(y, *inputs), y)

    # epiq.Epilogue reads the names of its inputs from the signature.
    fn.__signature__ = inspect.signature(epilogue.fn)  # type: ignore[attr-defined]
    outputs = None if epilogue.outputs is None else (*epilogue.outputs, "kept_output")
    return Epilogue(fn, outputs)
