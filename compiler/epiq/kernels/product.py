"""`matmul`: a product and its epilogue in one kernel, on a GPU or, slowly, in the executor."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from epiq.codegen import Target
from epiq.errors import UnsupportedError
from epiq.fuse import Epilogue, Fused, Specialization
from epiq.fuse import fuse as fuse_epilogue
from epiq.fuse.kernel import UserKernel
from epiq.kernels import triton_matmul as kernels
from epiq.kernels.configs import SMS, Config, candidates, resolve
from epiq.kernels.gluon_epilogue import HALF
from epiq.kernels.gluon_product import compile_gluon, run_gluon
from epiq.kernels.operands import Operands, check_operands, check_pair

log = logging.getLogger("epiq")
_OUTPUT = "c_ptr"
_IDENTITY = Epilogue(lambda y: y)


def matmul(
    a: Tensor,
    b: Tensor | tuple[Tensor, Tensor],
    *,
    a_scale: Tensor | None = None,
    b_scale: Tensor | tuple[Tensor, Tensor] | None = None,
    epilogue: Epilogue | None = None,
    inputs: Mapping[str, Tensor] | None = None,
    gate_up: bool = False,
    config: Config | None = None,
    autotune: bool = False,
) -> Tensor | tuple[Tensor, ...]:
    """epilogue((a @ b) * a_scale * b_scale), the product rounded to bf16 (or f16) first, in one kernel.

    Args:
      a: (M, K) bf16, f16 or float8_e4m3fn. b: (K, N) of that dtype, the transpose of a weight: both have
        K contiguous, and rows that start at multiples of 16 bytes.
      a_scale, b_scale: None, or f32 that multiply: a value each; (M, 1) and (1, N); or, with FP8,
        (M, K / 128) and (K / 128, N / 128), rounded up, for groups of 128 along K and 128 x 128 blocks.
      epilogue: what is computed of the product; None stores it. inputs: its further tensors, by name.
      gate_up: the columns of `b` are those of a gate and of as many values; the epilogue then gets
        silu(gate) * values, rounded as torch rounds it, of (M, N / 2). `b` may then be two matrices, the gate
        and the values, (K, N / 2) each, and `b_scale`, if given, two tensors.
      config: tiles and warps; by default those of the table for Hopper. autotune: time the table's
        configs for this shape once, on a GPU, and keep the fastest.
    Returns: what the epilogue returns, or the product.
    Raises: TypeError, ValueError for operands that do not go together; FusionError where the epilogue
      does not fit a tile of the config.
    """
    operands = _operands(a, b, a_scale, b_scale, gate_up)
    if epilogue is not None and not isinstance(epilogue, Epilogue):
        raise TypeError(f"epilogue must be epiq.Quantize or epiq.Epilogue, got {type(epilogue).__name__}")
    if inputs and (epilogue is None or set(inputs) != set(epilogue.inputs)):
        wanted = ", ".join(epilogue.inputs) if epilogue else "no inputs"
        raise ValueError(f"the epilogue takes {wanted or 'no inputs'}, got {', '.join(inputs)}")
    if config is not None:
        config = resolve(config, operands, sms_of(a.device))
    elif autotune and a.device.type == "cuda":
        from epiq.kernels.tune import tuned

        config = tuned(operands, epilogue, inputs or {})
    else:
        return _run_first(operands, epilogue, inputs or {})
    return run(operands, config, epilogue, inputs or {})


def _operands(
    a: Tensor,
    b: Tensor | tuple[Tensor, Tensor],
    a_scale: Tensor | None,
    b_scale: Tensor | tuple[Tensor, Tensor] | None,
    gate_up: bool,
) -> Operands:
    if isinstance(b, Tensor) and not isinstance(b_scale, tuple):
        return check_operands(a, b, a_scale, b_scale, gate_up)
    if not gate_up:
        raise ValueError("two matrices for b are a gate and its values: they take gate_up=True")
    if not isinstance(b, tuple) or not isinstance(b_scale, tuple | None):
        raise TypeError("b and b_scale are two tensors each, or one each")
    return check_pair(a, b, a_scale, b_scale or (None, None))


def _run_first(
    operands: Operands, epilogue: Epilogue | None, inputs: Mapping[str, Tensor]
) -> Tensor | tuple[Tensor, ...]:
    """The product with the first config of the table whose kernel can have this epilogue."""
    for config in candidates(operands, sms_of(operands.a.device)):
        try:
            return run(operands, config, epilogue, inputs)
        except UnsupportedError as error:
            if config.kernel == "triton":
                raise
            log.info("%s is left out: %s", config, error)
    raise AssertionError(f"no rule for {operands.kind}")


def run(
    operands: Operands, config: Config, epilogue: Epilogue | None, inputs: Mapping[str, Tensor]
) -> Tensor | tuple[Tensor, ...]:
    """The product with this config, on the operands' device."""
    if epilogue is None and not operands.gate_up and config.kernel == "triton":
        c = torch.empty(operands.m, operands.n, dtype=operands.out_dtype, device=operands.a.device)
        _run_plain(operands, config, c)
        return c
    composed = _composed(epilogue or _IDENTITY, operands.gate_up, run_of(config))
    results = _results(operands, epilogue, inputs)
    run_into(operands, config, composed, inputs, results)
    return results[0] if len(results) == 1 else results


def run_into(
    operands: Operands,
    config: Config,
    epilogue: Epilogue,
    inputs: Mapping[str, Tensor],
    results: Sequence[Tensor],
) -> None:
    """The product with this config; what the epilogue makes of it is written to `results`.

    Args: epilogue: of the tiles; in the gate_up form their columns alternate between the halves of `b` every
      `run_of(config)` columns.
    """
    device = operands.a.device
    if config.kernel == "gluon":
        if device.type != "cuda":
            raise ValueError(f"the Gluon kernel runs on a GPU, got tensors on {device}")
        run_gluon(operands, config, epilogue, inputs, results, sms_of(device))
        return
    kernel, grid, arguments, constants = call(operands, config, None)
    outputs = dict(zip(epilogue.names(results), results, strict=True))
    _fused(kernel, epilogue, operands.out_dtype)[grid](*arguments, **constants, **inputs, **outputs)


def run_of(config: Config) -> int:
    """In the gate_up form, how many columns of one half of `b` a tile holds before those of the other."""
    return HALF if config.kernel == "gluon" else config.block_n // 2


def specialize(
    operands: Operands, config: Config, epilogue: Epilogue | None, inputs: Mapping[str, Tensor]
) -> Specialization:
    """The fused Triton kernel that `run` would launch; needs no GPU, tensors may be on the meta device."""
    composed = _composed(epilogue, operands.gate_up, run_of(config))
    return specialize_into(operands, config, composed, inputs, _results(operands, epilogue, inputs))


def specialize_into(
    operands: Operands,
    config: Config,
    epilogue: Epilogue,
    inputs: Mapping[str, Tensor],
    results: Sequence[Tensor],
) -> Specialization:
    """The fused Triton kernel that `run_into` would launch; tensors may be on the meta device."""
    kernel, _, arguments, constants = call(operands, config, None)
    outputs = dict(zip(epilogue.names(results), results, strict=True))
    return _fused(kernel, epilogue, operands.out_dtype).specialize(
        *arguments, **constants, **inputs, **outputs
    )


def compile_ahead(
    operands: Operands,
    config: Config,
    epilogue: Epilogue | None,
    inputs: Mapping[str, Tensor],
    sms: int = SMS,
) -> Any:
    """What `run` would compile on Hopper, with its `ptx`; needs no GPU, tensors may be on the meta device."""
    composed = _composed(epilogue or _IDENTITY, operands.gate_up, run_of(config))
    results = _results(operands, epilogue, inputs)
    return compile_into(operands, config, composed, inputs, results, Target(90), sms)


def compile_into(
    operands: Operands,
    config: Config,
    epilogue: Epilogue,
    inputs: Mapping[str, Tensor],
    results: Sequence[Tensor],
    target: Target,
    sms: int = SMS,
) -> Any:
    """What `run_into` would compile for `target`; the Gluon kernel is for Hopper."""
    if config.kernel == "triton":
        return specialize_into(operands, config, epilogue, inputs, results).compiled(target)
    return compile_gluon(operands, config, epilogue, inputs, results, sms)


def call(
    operands: Operands, config: Config, c: Tensor | None
) -> tuple[Any, tuple[int, ...], tuple[Any, ...], dict[str, Any]]:
    """A launch of one of triton_matmul.py's kernels: kernel, grid, arguments, constants and options."""
    m, n, k = operands.m, operands.n, operands.k
    scales = (operands.a_scale, operands.b_scale, operands.up_scale)
    descriptors = _descriptors(operands, config)
    stride_cm = c.stride(0) if c is not None else n
    tail = (m, n, k, stride_cm, *operands.scale_strides)
    constants: dict[str, Any] = {
        "SCALES": operands.scales,
        "GATE_UP": operands.gate_up,
        "APART": operands.up is not None,
        "BLOCK_M": config.block_m,
        "BLOCK_N": config.block_n,
        "BLOCK_K": config.block_k,
        "GROUP_M": config.group_m,
        "num_warps": config.num_warps,
        "num_stages": config.num_stages,
    }
    tiles = config.tiles(operands)
    if config.split_k > 1:
        size = tiles * config.split_k * config.block_m * config.block_n
        partials = torch.empty(size, dtype=torch.float32, device=operands.a.device)
        scratch = (partials, _tickets(operands.a.device, tiles))
        constants["SPLIT_K"] = config.split_k
        arguments = (*descriptors, c, *scales, *scratch, *tail)
        return kernels.matmul_split_k, (tiles, config.split_k), arguments, constants
    programs = min(tiles, sms_of(operands.a.device)) if config.persistent else 0
    constants["PROGRAMS"] = programs
    return kernels.matmul, (programs or tiles,), (*descriptors, c, *scales, *tail), constants


def silu_mul(y: Tensor, run: int) -> Tensor:
    """silu(gate) * up of a matrix whose columns alternate between the two in blocks of `run`."""
    pairs = torch.unflatten(y, -1, (-1, 2, run))
    return torch.flatten(F.silu(pairs[..., 0, :]) * pairs[..., 1, :], -2)


def _descriptors(operands: Operands, config: Config) -> tuple[Any, Any, Any]:
    """Of `a`, `b`, and of the other half where that is a matrix of its own, else None."""
    from triton.tools.tensor_descriptor import TensorDescriptor

    a, b = operands.a, operands.b
    a_desc = TensorDescriptor(a, list(a.shape), list(a.stride()), [config.block_m, config.block_k])
    if not operands.gate_up:
        block = [config.block_n, config.block_k]
        return a_desc, TensorDescriptor(b, list(b.shape), list(b.stride()), block), None
    if operands.up is not None:
        block = [1, config.block_n // 2, config.block_k]
        gate, up = (
            TensorDescriptor(x, [1, *x.shape], [x.shape[0] * x.stride(0), *x.stride()], block)
            for x in (b, operands.up)
        )
        return a_desc, gate, up
    n, row = b.shape[0], b.stride(0)
    halves = 1 if operands.scales == "block" else 2
    block = [halves, config.block_n // 2, config.block_k]
    shape, strides = [2, n // 2, b.shape[1]], [n // 2 * row, row, 1]
    return a_desc, TensorDescriptor(b, shape, strides, block), None


def _composed(epilogue: Epilogue | None, gate_up: bool, half: int) -> Epilogue:
    if not gate_up:
        assert epilogue is not None
        return epilogue
    return _after_silu_mul(epilogue, half)


@functools.lru_cache(256)
def _after_silu_mul(epilogue: Epilogue | None, half: int) -> Epilogue:
    """The epilogue of silu_mul of a tile."""
    if epilogue is None:
        return Epilogue(lambda y: silu_mul(y, half))
    inner: Callable[..., Any] = epilogue.fn

    def fn(y: Tensor, *inputs: Any) -> Any:
        return inner(silu_mul(y, half), *inputs)

    # epiq.Epilogue reads the names of its inputs from the signature.
    fn.__signature__ = inspect.signature(inner)  # type: ignore[attr-defined]
    return Epilogue(fn, epilogue.outputs)


@functools.lru_cache(256)
def _fused(kernel: Any, epilogue: Epilogue, dtype: torch.dtype) -> Fused:
    return fuse_epilogue(kernel, _OUTPUT, epilogue, output_dtype=dtype)


def _results(
    operands: Operands, epilogue: Epilogue | None, inputs: Mapping[str, Tensor]
) -> tuple[Tensor, ...]:
    """Empty tensors for what the epilogue returns, with its strides."""
    n = operands.n // 2 if operands.gate_up else operands.n
    key = tuple((name, x.dtype, tuple(x.shape)) for name, x in inputs.items())
    specs = _result_specs(epilogue, operands.m, n, operands.out_dtype, key)
    device = operands.a.device
    return tuple(
        torch.empty_strided(shape, stride, dtype=dtype, device=device) for shape, stride, dtype in specs
    )


@functools.lru_cache(1024)
def _result_specs(
    epilogue: Epilogue | None,
    m: int,
    n: int,
    dtype: torch.dtype,
    inputs: tuple[tuple[str, torch.dtype, tuple[int, ...]], ...],
) -> list[tuple[tuple[int, ...], tuple[int, ...], torch.dtype]]:
    y = torch.empty(m, n, dtype=dtype, device="meta")
    if epilogue is None:
        return [((m, n), (n, 1), dtype)]
    given = {name: torch.empty(shape, dtype=kind, device="meta") for name, kind, shape in inputs}
    missing = [name for name in epilogue.inputs if name not in given]
    if missing:
        raise ValueError(
            f"the epilogue needs tensors for {', '.join(missing)}, got {', '.join(given) or 'none'}"
        )
    results = epilogue.compute(y, *(given[name] for name in epilogue.inputs))
    return [(tuple(r.shape), tuple(r.stride()), r.dtype) for r in results]


def _run_plain(operands: Operands, config: Config, c: Tensor) -> None:
    kernel, grid, arguments, constants = call(operands, config, c)
    if c.device.type == "cuda":
        with torch.cuda.device(c.device):
            kernel[grid](*arguments, **constants)
        return
    from triton.backends.compiler import GPUTarget

    from epiq.executor import run as execute

    bound = UserKernel(kernel).bind(arguments, constants, GPUTarget("cuda", Target(90).arch, 32))
    values: list[Any] = []
    for name in bound.runtime_names:
        value = bound.values[name]
        values.append(value)
        if hasattr(value, "block_shape"):
            values.extend(value.shape)
            values.extend(value.strides)
    execute(bound.ttir(), (*grid, 1, 1)[:3], values)


_kept_tickets: dict[tuple[Any, int], Tensor] = {}


def _tickets(device: torch.device, tiles: int) -> Tensor:
    """Zeros, which every launch leaves as zeros; those of a stream are used by one launch at a time."""
    if device.type != "cuda":
        return torch.zeros(tiles, dtype=torch.int32, device=device)
    size = 1 << (tiles - 1).bit_length()
    stream = torch.cuda.current_stream(device).cuda_stream
    key = ((device, stream), size)
    if key not in _kept_tickets:
        _kept_tickets[key] = torch.zeros(size, dtype=torch.int32, device=device)
    return _kept_tickets[key]


@functools.cache
def sms_of(device: torch.device) -> int:
    if device.type != "cuda":
        return SMS
    return int(torch.cuda.get_device_properties(device).multi_processor_count)
