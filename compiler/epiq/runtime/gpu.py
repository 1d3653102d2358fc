"""Launchers on a CUDA device: lowered, compiled and loaded once, then a few Python calls a launch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from epiq import codegen, pipeline
from epiq.codegen import Target

if TYPE_CHECKING:
    from epiq.pipeline.program import RowProgram, Schedule

# Runs a program: fitted inputs, outputs, number of rows, row strides of the row-like inputs.
Launcher = Callable[[list[Tensor], list[Tensor], int, list[int]], None]


def device_target(device: torch.device) -> Target | None:
    """The target of a CUDA device, None for one that kernels cannot be compiled for."""
    major, minor = torch.cuda.get_device_capability(device)
    arch = major * 10 + minor
    return Target(arch) if arch in codegen.SUPPORTED else None


def default_launcher(program: RowProgram, num_rows: int, device: torch.device) -> Launcher:
    """The launcher with the schedule that `program` starts with.

    Raises: ValueError on a device that kernels cannot be compiled for.
    """
    target = device_target(device)
    if target is None:
        major, minor = torch.cuda.get_device_capability(device)
        raise ValueError(f"no kernels for sm_{major}{minor}: {program.name} runs on {_supported()}")
    return make_launcher(program, pipeline.default_schedule(program, num_rows, target), device)


def make_launcher(program: RowProgram, schedule: Schedule, device: torch.device) -> Launcher:
    """Lowers, compiles and loads `program` with `schedule` for `device`."""
    target = device_target(device)
    assert target is not None
    compiled = compile_program(program, schedule, target)
    index = torch.cuda.current_device() if device.index is None else device.index
    with torch.cuda.device(index):
        kernel = codegen.load(compiled, index)
    return _bind(kernel, schedule, program, index)


def compile_program(program: RowProgram, schedule: Schedule, target: Target) -> codegen.Compiled:
    """The kernel of `program` for `target`; needs no GPU."""
    text = pipeline.lower(program, schedule, target=target)
    return codegen.compile_ttir(text, target, num_warps=schedule.num_warps, num_stages=schedule.num_stages)


def _bind(kernel: Any, schedule: Schedule, program: RowProgram, index: int) -> Launcher:
    block_rows, row_multiple = schedule.block_rows, program.row_multiple
    columns = program.columns(schedule.block_cols)
    stream_of = torch._C._cuda_getCurrentRawStream

    def launch(inputs: list[Tensor], outputs: list[Tensor], num_rows: int, strides: list[int]) -> None:
        args = [x.data_ptr() for x in inputs]
        args += [x.data_ptr() for x in outputs]
        args.append(num_rows)
        args += strides
        rows = -(-num_rows // row_multiple) * row_multiple
        grid = (-(-rows // block_rows) * columns, 1, 1)
        if torch._C._cuda_getDevice() == index:
            kernel(grid, args, stream_of(index))
            return
        with torch.cuda.device(index):
            kernel(grid, args, stream_of(index))

    return launch


def _supported() -> str:
    return ", ".join(f"sm_{arch}" for arch in codegen.SUPPORTED)
