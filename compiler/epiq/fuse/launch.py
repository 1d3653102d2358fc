"""Runs a fused kernel: in the executor on CPU tensors, through Triton on CUDA tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from epiq import codegen
from epiq.codegen import Compiled, Target
from epiq.fuse.kernel import Bound


class Runnable(Protocol):
    """A kernel made of a user's: its Triton IR, and it compiled. Its new arguments follow the kernel's."""

    @property
    def fused_text(self) -> str: ...

    def compiled(self, target: Target | str) -> Compiled: ...


@dataclass(frozen=True)
class Extra:
    """A tensor of the epilogue. distance: the argument that follows its pointer, if one does.
    starts_at_zero: set to zeros before the kernel runs, which does not store all of it."""

    tensor: Tensor
    distance: int | None
    starts_at_zero: bool = False


def launch(
    specialization: Runnable,
    bound: Bound,
    grid: tuple[int, int, int],
    extra: Sequence[Extra],
    device: torch.device,
) -> None:
    """Launches over `grid`.

    Raises: ValueError for tensors that are neither on the CPU nor on a CUDA device.
    """
    for each in extra:
        if each.starts_at_zero:
            each.tensor.zero_()
    if 0 in grid:
        return
    if device.type == "cpu":
        _run_on_cpu(specialization, bound, grid, extra)
    elif device.type == "cuda":
        _run_on_gpu(specialization, bound, grid, extra, device)
    else:
        raise ValueError(f"tensors must be on the CPU or a CUDA device to be computed, got {device}")


def _run_on_cpu(
    specialization: Runnable,
    bound: Bound,
    grid: tuple[int, int, int],
    extra: Sequence[Extra],
) -> None:
    from epiq.executor import run

    args: list[Any] = []
    for value, _ in bound.runtime_values:
        is_stand_in = isinstance(value, Tensor) and value.device.type == "meta"
        args.append(0 if is_stand_in else value)
        if hasattr(value, "block_shape"):
            args.extend(value.shape)
            args.extend(value.strides)
    for each in extra:
        args.append(each.tensor)
        if each.distance is not None:
            args.append(each.distance)
    # Users claim contiguity of lanes that they mask, where it does not hold and does not matter.
    run(specialization.fused_text, grid, args, claims=False)


def _run_on_gpu(
    specialization: Runnable,
    bound: Bound,
    grid: tuple[int, int, int],
    extra: Sequence[Extra],
    device: torch.device,
) -> None:
    args: list[Any] = []
    has_descriptors = any(hasattr(value, "block_shape") for value, _ in bound.runtime_values)
    for value, _ in bound.runtime_values:
        if isinstance(value, Tensor):
            args.append(0 if value.device.type == "meta" else value.data_ptr())
        else:
            args.append(value)
    for each in extra:
        args.append(each.tensor.data_ptr())
        if each.distance is not None:
            args.append(each.distance)
    with torch.cuda.device(device):
        target = Target.current()
        if target is None:
            raise ValueError(f"no kernels for {torch.cuda.get_device_name(device)}: sm_90 and sm_100 only")
        compiled = specialization.compiled(target)
        if has_descriptors:
            kinds = [kind for _, kind in bound.runtime_values]
            for each in extra:
                kinds += ["*i8"] if each.distance is None else ["*i8", "i64"]
            launch = codegen.load_with_descriptors(compiled, kinds)
            launch(grid, args, torch.cuda.current_stream(device).cuda_stream)
            return
        codegen.load(compiled)(grid, args, torch.cuda.current_stream(device).cuda_stream)
