"""What a quantization format is: one frozen dataclass, read by the reference, the passes and the reports.

A format says which element a value becomes, which values share a scale, and how that scale is computed,
rounded and laid out. Vary one with `dataclasses.replace(FP8_GROUP128, scale_layout="tma_aligned")`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch

from epiq.formats.layouts import LAYOUTS, ScaleLayout

# Element type -> (largest finite magnitude, torch dtype of the stored values). Names are MLIR's.
ELEMENTS: dict[str, tuple[float, torch.dtype]] = {
    "f8E4M3FN": (448.0, torch.float8_e4m3fn),
    "f8E5M2": (57344.0, torch.float8_e5m2),
    "f4E2M1FN": (6.0, torch.float4_e2m1fn_x2),
    "i8": (127.0, torch.int8),
}
SCALE_DTYPES: dict[str, torch.dtype] = {
    "f32": torch.float32,
    "f8E8M0FNU": torch.float8_e8m0fnu,
    "f8E4M3FN": torch.float8_e4m3fn,
}
GRANULARITIES = ("tensor", "token", "group")
SCALE_ROUNDINGS = ("none", "rceil", "floor")
PARTIAL_GROUPS = ("refuse", "pad")


@dataclass(frozen=True)
class QuantFormat:
    """One quantization format; `x` is about `q * scale` (`q * scale / global_scale` with a global scale).

    Fields:
      name: how reports call it; two formats are equal only if all fields are.
      element: stored values, a key of ELEMENTS.
      granularity: what shares a scale: the whole tensor, a token (a row), a group of `group_size` along K.
      group_size: values that share a scale along K; 0 unless granularity is "group".
      scale_dtype: stored scales, a key of SCALE_DTYPES.
      static: the scale is given, not computed.
      floor, floor_on: the least scale, or the least amax, whichever `floor_on` names; 0 is no floor.
      upper_bound: amax is cut to it first; None is no bound.
      division: the value is x / scale if true, x * (1 / scale) with the reciprocal rounded to f32 if false.
      scale_rounding: how a power-of-two scale is chosen: `rceil` rounds amax / max up to one, `floor` takes
        floor(log2(amax)) minus the element's largest exponent (OCP MX); `none` for other scales.
      scale_layout: how the scales lie in memory, a key of LAYOUTS (NUMERICS.md has the table).
      global_scale: a second scale, f32, one for the tensor, that multiplies x on the way in (NVFP4).
      partial_groups: what becomes of a K that groups do not divide: `refuse` it, or `pad` the last group with
        zeros; q has K columns all the same.
    Raises: ValueError if the fields do not make a format.
    """

    name: str
    element: str
    granularity: str
    group_size: int = 0
    scale_dtype: str = "f32"
    static: bool = False
    floor: float = 0.0
    floor_on: str = "scale"
    upper_bound: float | None = None
    division: bool = True
    scale_rounding: str = "none"
    scale_layout: str = "row_major"
    global_scale: bool = False
    partial_groups: str = "refuse"

    def __post_init__(self) -> None:
        _check_choice("element", self.element, ELEMENTS)
        _check_choice("granularity", self.granularity, GRANULARITIES)
        _check_choice("scale_dtype", self.scale_dtype, SCALE_DTYPES)
        _check_choice("floor_on", self.floor_on, ("scale", "amax"))
        _check_choice("scale_rounding", self.scale_rounding, SCALE_ROUNDINGS)
        _check_choice("scale_layout", self.scale_layout, LAYOUTS)
        _check_choice("partial_groups", self.partial_groups, PARTIAL_GROUPS)
        if (self.granularity == "group") != (self.group_size > 0):
            raise ValueError(
                f"granularity {self.granularity!r} does not go with group_size {self.group_size}"
            )
        if self.element == "f4E2M1FN" and self.group_size % 2:
            raise ValueError(
                f"group_size {self.group_size} is odd, but {self.element} packs two values a byte"
            )
        if self.static and self.granularity != "tensor":
            raise ValueError(f"a static scale is one for the tensor, got granularity {self.granularity!r}")
        if not (math.isfinite(self.floor) and self.floor >= 0.0):
            raise ValueError(f"floor must be finite and not negative, got {self.floor}")
        if self.upper_bound is not None and not self.upper_bound > 0.0:
            raise ValueError(f"upper_bound must be positive, got {self.upper_bound}")
        if (self.scale_dtype == "f8E8M0FNU") != (self.scale_rounding != "none"):
            raise ValueError(
                f"scale_dtype {self.scale_dtype!r} does not go with scale_rounding {self.scale_rounding!r}"
            )
        if (self.scale_dtype == "f8E4M3FN") != self.global_scale:
            raise ValueError(
                f"scale_dtype {self.scale_dtype!r} does not go with global_scale {self.global_scale}"
            )
        if self.scale_rounding == "floor" and self.floor > 0.0 and self.floor_on != "amax":
            raise ValueError(f"scale_rounding 'floor' has its floor on amax, got floor_on {self.floor_on!r}")
        if self.scale_dtype == "f32" and not self.static and self.floor == 0.0:
            raise ValueError("floor 0.0 leaves a group of zeros with scale 0, and so with NaN values")
        self._check_layout()

    def _check_layout(self) -> None:
        if self.scale_layout != "row_major" and self.granularity != "group":
            raise ValueError(
                f"scale_layout {self.scale_layout!r} needs several scales a row, "
                f"got granularity {self.granularity!r}"
            )
        dtypes = _LAYOUT_DTYPES.get(self.scale_layout, tuple(SCALE_DTYPES))
        if self.scale_dtype not in dtypes:
            raise ValueError(
                f"scale_layout {self.scale_layout!r} is one of scales of {' or '.join(dtypes)}, "
                f"got scale_dtype {self.scale_dtype!r}"
            )

    @property
    def element_max(self) -> float:
        """The largest finite magnitude of an element: where values saturate."""
        return ELEMENTS[self.element][0]

    @property
    def value_dtype(self) -> torch.dtype:
        """Dtype of the stored values; f4E2M1FN packs two in one, so K halves."""
        return ELEMENTS[self.element][1]

    @property
    def layout(self) -> ScaleLayout:
        """How the scales lie in memory."""
        return LAYOUTS[self.scale_layout]

    @property
    def torch_scale_dtype(self) -> torch.dtype:
        """Dtype of the stored scales; packed_ue8m0 holds four in an int32."""
        return torch.int32 if self.layout.word > 1 else SCALE_DTYPES[self.scale_dtype]

    def groups(self, k: int) -> int:
        """Groups of a row of K values.

        Raises: ValueError if they do not divide K and the format has no partial ones, or if K is odd and two
          values share a byte.
        """
        if k % self.group_size != 0 and self.partial_groups == "refuse":
            raise ValueError(f"group_size {self.group_size} does not divide K = {k}")
        if self.element == "f4E2M1FN" and k % 2 != 0:
            raise ValueError(f"K = {k} is odd, but {self.element} packs two values a byte")
        return -(-k // self.group_size)

    def scale_shape(self, x_shape: Sequence[int]) -> tuple[int, ...]:
        """Shape of the stored scales of an `x` of that shape: (), (.., 1), or what the layout makes of
        (.., groups).

        Raises: ValueError if the shape does not fit the format.
        """
        if self.granularity == "tensor":
            return ()
        if len(x_shape) == 0:
            raise ValueError(f"{self.name} needs rows along K, got a tensor of shape ()")
        if self.granularity == "token":
            return (*x_shape[:-1], 1)
        return self.layout.shape(x_shape[:-1], self.groups(x_shape[-1]))

    def scale_strides(self, x_shape: Sequence[int]) -> tuple[int, ...]:
        """Strides of the stored scales, in elements. Raises: ValueError as `scale_shape` does."""
        if self.granularity != "group":
            return (1,) * len(self.scale_shape(x_shape))
        return self.layout.strides(x_shape[:-1], self.groups(x_shape[-1]))


# The scales that a layout is made for; any where it is not named here.
_LAYOUT_DTYPES = {
    "tma_aligned": ("f32",),
    "packed_ue8m0": ("f8E8M0FNU",),
    "swizzled_128x4": ("f8E8M0FNU", "f8E4M3FN"),
}


def _check_choice(field: str, value: str, choices: Collection[str]) -> None:
    if value not in choices:
        raise ValueError(f"{field} {value!r} is not one of {', '.join(choices)}")


# The least scale of fused server kernels: a row whose amax is under 1/512 is quantized as if it were 1/512.
FP8_SCALE_FLOOR = 1.0 / (448.0 * 512.0)
F32_EPS = 2.0**-23

FP8_STATIC = QuantFormat("fp8_static", "f8E4M3FN", "tensor", static=True, division=False)
FP8_PER_TENSOR = QuantFormat("fp8_per_tensor", "f8E4M3FN", "tensor", floor=FP8_SCALE_FLOOR, division=False)
FP8_PER_TOKEN = QuantFormat("fp8_per_token", "f8E4M3FN", "token", floor=FP8_SCALE_FLOOR)
FP8_GROUP128 = QuantFormat("fp8_group128", "f8E4M3FN", "group", 128, floor=FP8_SCALE_FLOOR)
FP8_GROUP64 = QuantFormat("fp8_group64", "f8E4M3FN", "group", 64, floor=FP8_SCALE_FLOOR)
INT8_PER_TOKEN = QuantFormat("int8_per_token", "i8", "token", floor=F32_EPS)
MXFP8 = QuantFormat("mxfp8", "f8E4M3FN", "group", 32, "f8E8M0FNU", scale_rounding="rceil")
MXFP4 = QuantFormat("mxfp4", "f4E2M1FN", "group", 32, "f8E8M0FNU", scale_rounding="floor")
NVFP4 = QuantFormat("nvfp4", "f4E2M1FN", "group", 16, "f8E4M3FN", global_scale=True)

ALL: tuple[QuantFormat, ...] = (
    FP8_STATIC, FP8_PER_TENSOR, FP8_PER_TOKEN, FP8_GROUP128, FP8_GROUP64, INT8_PER_TOKEN, MXFP8, MXFP4, NVFP4,
)  # fmt: skip
