"""`epiq.quantize` and `epiq.dequantize` in plain torch: what every fused kernel equals bit for bit.

Every step is written out, because the text below is also what the compiler recognizes when it is traced. A
constant divisor is a 0-d tensor on the device of `x`: CUDA kernels of torch replace a division by a Python
number by a multiplication with its reciprocal, which gives other bits than the division does elsewhere.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from epiq.formats.elements import LARGEST_EXPONENT, from_e2m1, to_e2m1, to_ue8m0
from epiq.formats.format import SCALE_DTYPES, QuantFormat

INPUT_DTYPES = (torch.bfloat16, torch.float16, torch.float32)


def quantize(
    x: Tensor,
    fmt: QuantFormat,
    scale: Tensor | float | None = None,
    global_scale: Tensor | float | None = None,
) -> tuple[Tensor, Tensor]:
    """Quantizes `x` to the format; computes the scales unless the format is static.

    Args: x: (.., K) bf16, f16 or f32. scale: static formats only, the multiplier that dequantizes, one f32.
      global_scale: formats with a global scale only (NVFP4), one f32; usually 448 * 6 / amax of the tensor.
    Returns: q: (.., K) in the format's element, row-major (K // 2 bytes when two values share one). scale:
      the scales, of shape `fmt.scale_shape(x.shape)`, x ≈ q * scale; a static scale is returned as it was
      given.
    Raises: TypeError for a dtype or type that the format does not take, ValueError if the group size does not
      divide K (and the format does not pad), a scale is missing, not wanted, of more than one value, or
      (where its value can be seen) not positive.
    Error: with e4m3, |q * scale - x| <= max(amax, 448 * floor) / 28, half an e4m3 step at 448 (NUMERICS.md).
    """
    _check_input(x, fmt)
    if fmt.static:
        given = _one_value("scale", scale, fmt, x)
        factor = _spread(given, x)
        return _cast(_apply(x.to(torch.float32), factor, fmt), fmt).contiguous(), given
    if scale is not None:
        raise ValueError(f"{fmt.name} computes its scales, got scale = {_describe(scale)}")
    multiplier = _spread(_one_value("global_scale", global_scale, fmt, x), x) if fmt.global_scale else None
    if multiplier is None and global_scale is not None:
        raise ValueError(f"{fmt.name} has no global scale, got global_scale = {_describe(global_scale)}")

    values = x.to(torch.float32)
    if fmt.granularity == "tensor":
        amax = values.abs().amax() if x.numel() != 0 else values.new_zeros(())
        scales = _scale_of(amax, fmt)
        return _cast(_apply(values, scales, fmt), fmt).contiguous(), scales
    if fmt.granularity == "token":
        scales = _scale_of(values.abs().amax(-1, keepdim=True), fmt)
        return _cast(_apply(values, scales, fmt), fmt).contiguous(), scales

    k = x.shape[-1]
    count = fmt.groups(k)
    missing = count * fmt.group_size - k
    padded = torch.nn.functional.pad(values, (0, missing)) if missing else values
    groups = torch.unflatten(padded, -1, (count, fmt.group_size))
    amax = groups.abs().amax(-1, keepdim=True)
    if multiplier is None:
        scales = _scale_of(amax, fmt)
        scaled = _apply(groups, scales, fmt)
    else:
        scales, scaled = _two_level(groups, amax, multiplier, fmt)
    q = _cast(scaled, fmt).flatten(-2)
    if missing:
        q = q.narrow(-1, 0, k // 2 if fmt.element == "f4E2M1FN" else k)
    return q.contiguous(), fmt.layout.lay_out(scales.squeeze(-1))


def dequantize(
    q: Tensor,
    scale: Tensor,
    fmt: QuantFormat,
    dtype: torch.dtype = torch.bfloat16,
    global_scale: Tensor | float | None = None,
) -> Tensor:
    """The values that `q` and its scales stand for, computed in f32 and rounded once to `dtype`.

    Args: q, scale: as `quantize` returns them. dtype: bf16, f16 or f32.
    Returns: (.., K) of `dtype`.
    Raises: TypeError for a dtype that is not the format's, ValueError for a scale whose shape or strides are
      not those that `quantize` gives a scale of `q`, a global scale that is missing or not wanted.
    """
    if q.dtype != fmt.value_dtype:
        raise TypeError(f"{fmt.name} holds {fmt.value_dtype}, got q of {q.dtype}")
    if scale.dtype != fmt.torch_scale_dtype:
        raise TypeError(f"{fmt.name} has scales of {fmt.torch_scale_dtype}, got {scale.dtype}")
    if dtype not in INPUT_DTYPES:
        raise TypeError(f"dtype must be one of {INPUT_DTYPES}, got {dtype}")
    values = from_e2m1(q) if fmt.element == "f4E2M1FN" else q.to(torch.float32)
    wanted = fmt.scale_shape(values.shape)
    if fmt.granularity == "tensor":
        if scale.numel() != 1:
            raise ValueError(f"{fmt.name} has one scale, got scale of shape {tuple(scale.shape)}")
        return (values * scale.to(torch.float32).reshape(())).to(dtype)
    if tuple(scale.shape) != wanted:
        raise ValueError(
            f"q of shape {tuple(q.shape)} needs scale of shape {wanted}, got {tuple(scale.shape)}"
        )
    if fmt.granularity == "token":
        return (values * scale.to(torch.float32)).to(dtype)
    _check_strides(q, scale, fmt.scale_strides(values.shape))
    leading, k = values.shape[:-1], values.shape[-1]
    count = fmt.groups(k)
    factors = fmt.layout.read_back(scale, leading, count, SCALE_DTYPES[fmt.scale_dtype]).to(torch.float32)
    missing = count * fmt.group_size - k
    padded = torch.nn.functional.pad(values, (0, missing)) if missing else values
    groups = torch.unflatten(padded, -1, (count, fmt.group_size)) * factors.unsqueeze(-1)
    if fmt.global_scale:
        groups = groups / _one_value("global_scale", global_scale, fmt, q).reshape(())
    elif global_scale is not None:
        raise ValueError(f"{fmt.name} has no global scale, got global_scale = {_describe(global_scale)}")
    return groups.flatten(-2).narrow(-1, 0, k).to(dtype)


def _check_strides(q: Tensor, scale: Tensor, wanted: tuple[int, ...]) -> None:
    """A dimension of size 1 may have any stride, and so may all of an empty tensor."""
    given = scale.stride()
    if scale.numel() != 0 and any(
        size > 1 and a != b for size, a, b in zip(scale.shape, given, wanted, strict=True)
    ):
        raise ValueError(f"q of shape {tuple(q.shape)} needs scale of strides {wanted}, got {given}")


def _check_input(x: Tensor, fmt: QuantFormat) -> None:
    if not isinstance(fmt, QuantFormat):
        raise TypeError(f"fmt must be a QuantFormat, got {type(fmt).__name__}")
    if not isinstance(x, Tensor):
        raise TypeError(f"x must be a Tensor, got {type(x).__name__}")
    if x.dtype not in INPUT_DTYPES:
        raise TypeError(f"x must be one of {INPUT_DTYPES}, got {x.dtype}")
    fmt.scale_shape(x.shape)
    if fmt.granularity == "token" and x.shape[-1] == 0:
        raise ValueError(f"{fmt.name} needs a value in each row, got x of shape {tuple(x.shape)}")


def _one_value(name: str, given: Tensor | float | None, fmt: QuantFormat, x: Tensor) -> Tensor:
    """`given` as an f32 tensor of one value on the device of `x`, or an error that says what is wrong."""
    if given is None:
        raise ValueError(f"{fmt.name} needs {name}, got None")
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        if not (math.isfinite(given) and given > 0.0):
            raise ValueError(f"{name} must be positive and finite, got {given}")
        return torch.full((), float(given), dtype=torch.float32, device=x.device)
    if not isinstance(given, Tensor):
        raise TypeError(f"{name} must be a Tensor or a number, got {type(given).__name__}")
    if given.dtype != torch.float32:
        raise TypeError(f"{name} must be float32, got {given.dtype}")
    if given.numel() != 1:
        raise ValueError(f"{name} must hold one value, got shape {tuple(given.shape)}")
    # The value of a traced tensor is unknown, and reading one from a GPU would wait for the GPU.
    if given.device.type == "cpu" and not torch.compiler.is_compiling() and not given.item() > 0.0:
        raise ValueError(f"{name} must be positive, got {given.item()}")
    return given


def _spread(given: Tensor, x: Tensor) -> Tensor:
    """One value in a shape that broadcasts: (1,) as it is, a reshape would be one more op to look through."""
    return given if given.dim() <= min(x.dim(), 1) else given.reshape(())


def _describe(value: Tensor | float) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)


def _constant(value: float, like: Tensor) -> Tensor:
    return torch.full((), value, dtype=torch.float32, device=like.device)


def _scale_of(amax: Tensor, fmt: QuantFormat) -> Tensor:
    """The scales in their stored dtype, from amax in f32."""
    if fmt.upper_bound is not None:
        amax = amax.clamp(max=fmt.upper_bound)
    if fmt.floor > 0.0 and fmt.floor_on == "amax":
        amax = amax.clamp(min=fmt.floor)
    if fmt.scale_rounding == "floor":
        return to_ue8m0(amax, round_up=False, less=LARGEST_EXPONENT[fmt.element])
    scale = amax / _constant(fmt.element_max, amax)
    if fmt.floor > 0.0 and fmt.floor_on == "scale":
        scale = scale.clamp(min=fmt.floor)
    return to_ue8m0(scale, round_up=True) if fmt.scale_rounding == "rceil" else scale


def _apply(values: Tensor, scale: Tensor, fmt: QuantFormat) -> Tensor:
    """Values in units of the scale, f32, before saturation."""
    factor = scale.to(torch.float32)
    return values / factor if fmt.division else values * factor.reciprocal()


def _two_level(groups: Tensor, amax: Tensor, multiplier: Tensor, fmt: QuantFormat) -> tuple[Tensor, Tensor]:
    """NVFP4: an e4m3 scale relative to the global scale; groups whose scale rounds to 0 hold zeros."""
    ideal = multiplier * amax / _constant(fmt.element_max, amax)
    scales = ideal.clamp(max=448.0).to(torch.float8_e4m3fn)
    factor = scales.to(torch.float32)
    scaled = groups * multiplier / factor
    return scales, torch.where(factor == 0.0, torch.zeros_like(scaled), scaled)


def _cast(scaled: Tensor, fmt: QuantFormat) -> Tensor:
    """Saturates, then rounds to nearest even."""
    if fmt.element == "f4E2M1FN":
        return to_e2m1(scaled)
    if fmt.element == "i8":
        scaled = scaled.round()
    return scaled.clamp(-fmt.element_max, fmt.element_max).to(fmt.value_dtype)
