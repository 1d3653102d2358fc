"""What a product is given: shapes, dtypes, strides and scales, checked before a kernel sees them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

HALVES = (torch.bfloat16, torch.float16)
FP8 = torch.float8_e4m3fn
# The groups of block scales along K, and the blocks of `b` along N.
BLOCK = 128
_ALIGNMENT = 16


@dataclass(frozen=True)
class Operands:
    """Checked operands of c = (a @ b) * scales.

    a: (M, K). b: (N, K), the transpose of what the caller gave. scales: "none", "tensor", "vector" or
    "block"; the scale tensors are f32, a number each, (M,) and (N,), or (M, K / 128) and
    (N / 128, K / 128). gate_up: the first half of the rows of `b` is the gate. rounded_to: what tiles are
    given to the epilogue in, where it is not the operands' own dtype. up, up_scale: the other half where it
    is a matrix of its own; `b` and `b_scale` are then the gate's.
    """

    a: Tensor
    b: Tensor
    scales: str
    a_scale: Tensor | None
    b_scale: Tensor | None
    gate_up: bool
    rounded_to: torch.dtype | None = None
    up: Tensor | None = None
    up_scale: Tensor | None = None

    @property
    def m(self) -> int:
        return int(self.a.shape[0])

    @property
    def n(self) -> int:
        return int(self.b.shape[0]) * (1 if self.up is None else 2)

    @property
    def k(self) -> int:
        return int(self.a.shape[1])

    @property
    def out_dtype(self) -> torch.dtype:
        """What the product is rounded to: `rounded_to`, or the operands' dtype, bf16 for FP8."""
        if self.rounded_to is not None:
            return self.rounded_to
        return torch.bfloat16 if self.a.dtype == FP8 else self.a.dtype

    @property
    def scale_strides(self) -> tuple[int, int, int, int]:
        """Of block scales: of `a` along M and K, of `b` along N and K; zeros for other scales."""
        if self.scales != "block" or self.a_scale is None or self.b_scale is None:
            return 0, 0, 0, 0
        (am, ak), (bn, bk) = self.a_scale.stride(), self.b_scale.stride()
        return am, ak, bn, bk

    @cached_property
    def kind(self) -> tuple[str, str, bool]:
        """What configs are chosen by, besides sizes."""
        dtype = "fp8" if self.a.dtype == FP8 else "half"
        return dtype, "block" if self.scales == "block" else "any", self.gate_up


def check_operands(
    a: Tensor, b: Tensor, a_scale: Tensor | None, b_scale: Tensor | None, gate_up: bool
) -> Operands:
    """Checks the arguments of `matmul`, of which it is the docstring.

    Raises: TypeError for what is no tensor, ValueError for dtypes, shapes and strides that do not fit.
    """
    for name, value in (("a", a), ("b", b), ("a_scale", a_scale), ("b_scale", b_scale)):
        if not isinstance(value, Tensor) and (value is not None or name in ("a", "b")):
            raise TypeError(f"{name} must be a tensor, got {type(value).__name__}")
    if a.ndim != 2 or b.ndim != 2:
        raise ValueError(f"a and b must be matrices, got shapes {tuple(a.shape)} and {tuple(b.shape)}")
    if a.shape[1] != b.shape[0]:
        raise ValueError(f"a has {a.shape[1]} columns, b has {b.shape[0]} rows")
    if a.dtype != b.dtype or a.dtype not in (*HALVES, FP8):
        raise ValueError(f"a and b must both be bf16, f16 or float8_e4m3fn, got {a.dtype} and {b.dtype}")
    if 0 in a.shape or 0 in b.shape:
        raise ValueError(f"a and b must not be empty, got shapes {tuple(a.shape)} and {tuple(b.shape)}")
    _check_device(a, b, a_scale, b_scale)
    _check_strides("a", a)
    _check_strides("b.t()", b.t())
    if gate_up and b.shape[1] % 2:
        raise ValueError(f"b of gate and up has {b.shape[1]} columns, which is odd")
    scales, a_scale, b_scale = _check_scales(a, b, a_scale, b_scale, gate_up)
    return Operands(a, b.t(), scales, a_scale, b_scale, gate_up)


def check_pair(
    a: Tensor, b: tuple[Tensor, Tensor], a_scale: Tensor | None, b_scale: tuple[Tensor | None, Tensor | None]
) -> Operands:
    """Checks operands of the gate_up form whose gate and up are two matrices, (K, N / 2) each.

    Raises: as check_operands, and ValueError where the two differ in shape, or in the layout of block scales.
    """
    gate = check_operands(a, b[0], a_scale, b_scale[0], False)
    up = check_operands(a, b[1], a_scale, b_scale[1], False)
    if gate.b.shape != up.b.shape or gate.scales != up.scales or gate.scale_strides != up.scale_strides:
        raise ValueError(
            f"gate and up must be alike, got b of {tuple(b[0].shape)} and {tuple(b[1].shape)}, scales "
            f"{gate.scales} {gate.scale_strides} and {up.scales} {up.scale_strides}"
        )
    if gate.scales == "block" and gate.n % BLOCK:
        raise ValueError(f"{gate.n} columns of gate and of up are not whole blocks of {BLOCK}")
    return replace(gate, gate_up=True, up=up.b, up_scale=up.b_scale)


def _check_device(*tensors: Tensor | None) -> None:
    devices = {str(tensor.device) for tensor in tensors if tensor is not None}
    if len(devices) != 1:
        raise ValueError(f"the operands are on {' and '.join(sorted(devices))}")


def _check_strides(name: str, matrix: Tensor) -> None:
    """What a tensor descriptor asks for."""
    rows, columns = matrix.shape
    outer, inner = matrix.stride()
    if columns > 1 and inner != 1:
        raise ValueError(f"{name} must be contiguous along K, got strides {tuple(matrix.stride())}")
    row_bytes = outer * matrix.element_size()
    if row_bytes % _ALIGNMENT or (rows > 1 and outer < columns):
        raise ValueError(
            f"rows of {name} must be apart and start at multiples of {_ALIGNMENT} bytes, got {row_bytes} "
            f"bytes between rows of {columns * matrix.element_size()}"
        )
    past = 0 if matrix.device.type == "meta" else matrix.data_ptr() % _ALIGNMENT
    if past:
        raise ValueError(f"{name} must start at a multiple of {_ALIGNMENT} bytes, got {past} more")


def _check_scales(
    a: Tensor, b: Tensor, a_scale: Tensor | None, b_scale: Tensor | None, gate_up: bool
) -> tuple[str, Tensor | None, Tensor | None]:
    if a_scale is None and b_scale is None:
        return "none", None, None
    if a_scale is None or b_scale is None:
        missing = "a_scale" if a_scale is None else "b_scale"
        raise ValueError(f"a_scale and b_scale are given together or not at all, got no {missing}")
    for name, scale in (("a_scale", a_scale), ("b_scale", b_scale)):
        if scale.dtype != torch.float32:
            raise ValueError(f"{name} must be {torch.float32}, got {scale.dtype}")
    (m, k), n = a.shape, b.shape[1]
    if a_scale.numel() == 1 and b_scale.numel() == 1:
        return "tensor", a_scale.reshape(1), b_scale.reshape(1)
    if tuple(a_scale.shape) in ((m, 1), (m,)) and tuple(b_scale.shape) in ((1, n), (n,)):
        return "vector", a_scale.reshape(m), b_scale.reshape(n)
    groups, blocks = -(-k // BLOCK), -(-n // BLOCK)
    if tuple(a_scale.shape) == (m, groups) and tuple(b_scale.shape) == (groups, blocks):
        if a.dtype != FP8:
            raise ValueError(f"block scales are for {FP8}, got {a.dtype}")
        if gate_up and n % (2 * BLOCK):
            raise ValueError(f"{n} columns of gate and up are not two times whole blocks of {BLOCK}")
        return "block", a_scale, b_scale.t()
    raise ValueError(
        f"a of {(m, k)} and b of {(k, n)} take scales of one value each, of {(m, 1)} and {(1, n)}, or of "
        f"{(m, groups)} and {(groups, blocks)}, got {tuple(a_scale.shape)} and {tuple(b_scale.shape)}"
    )
