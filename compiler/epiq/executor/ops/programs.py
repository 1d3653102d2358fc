"""Program ids, calls, printing and assertions, and ops that only synchronize.

Barriers do nothing: a whole tile runs at once, and programs run in the order of their ids or side by
side, so that a launch waits for nothing that comes before it.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from epiq.executor.frame import Frame
from epiq.executor.registry import Op, Step, handler

_AXES = {0: "x", 1: "y", 2: "z"}
_AXIS = {"x": 0, "y": 1, "z": 2}


@handler("tt.get_program_id")
def get_program_id(op: Op) -> Step:
    axis = _AXIS[op.enum("axis", _AXES)]
    result = op.results[0]

    def step(frame: Frame) -> None:
        x, y, _ = frame.launch.grid
        if frame.launch.grid[axis] == 1:
            frame.slots[result] = torch.zeros(1, dtype=torch.int32)
            return
        stride = (1, x, x * y)[axis]
        ids = torch.div(frame.programs, stride, rounding_mode="floor") % frame.launch.grid[axis]
        frame.slots[result] = ids.to(torch.int32)

    return step


@handler("tt.get_num_programs")
def get_num_programs(op: Op) -> Step:
    axis = _AXIS[op.enum("axis", _AXES)]
    result = op.results[0]

    def step(frame: Frame) -> None:
        frame.slots[result] = torch.tensor([frame.launch.grid[axis]], dtype=torch.int32)

    return step


@handler("tt.call", "func.call")
def call(op: Op) -> Step:
    function = op.callee(op.string("callee"))
    operands, results = op.operands, op.results

    def step(frame: Frame) -> None:
        values = function.call(frame, [frame.slots[slot] for slot in operands])
        for slot, value in zip(results, values, strict=True):
            frame.slots[slot] = value

    return step


@handler(
    "gpu.barrier",
    "ttg.barrier",
    "ttg.local_barrier",
    "tt.grid_dependency_wait",
    "tt.grid_dependency_launch_dependents",
    "tt.launch_dependents",
    "nvvm.barrier0",
    "nvvm.griddepcontrol.wait",
    "nvvm.griddepcontrol.launch.dependents",
    "ttng.fence",
)
def barrier(op: Op) -> Step:
    return lambda frame: None


@handler("llvm.intr.assume")
def assume(op: Op) -> Step:
    """A false assumption lets the compiler do anything, so it is an error."""
    condition = op.operands[0]

    def step(frame: Frame) -> None:
        if frame.launch.check:
            _require(frame, op, frame.slots[condition], "the assumption is false")

    return step


@handler("tt.assert", "cf.assert")
def assertion(op: Op) -> Step:
    message = op.string("message" if op.name == "tt.assert" else "msg")
    condition = op.operands[0]

    def step(frame: Frame) -> None:
        _require(frame, op, frame.slots[condition], f"assertion failed: {message}")

    return step


def _require(frame: Frame, op: Op, condition: Tensor, reason: str) -> None:
    if not bool(condition.all()):
        row = int(torch.nonzero(~condition)[0, 0])
        raise frame.error(reason, op.site, row)


@handler("tt.print")
def tt_print(op: Op) -> Step:
    """One line a program and operand, kept in the report."""
    prefix, is_hex = op.string("prefix"), op.flag("hex")
    signs = op.ints("isSigned")
    operands = list(zip(op.operands, op.operand_types, strict=True))

    def step(frame: Frame) -> None:
        for row, linear in enumerate(frame.programs.tolist()):
            program = frame.launch.program_id(linear)
            lines = frame.launch.printed
            if not operands:
                lines.append(f"pid {program}{prefix}")
            for position, (slot, kind) in enumerate(operands):
                value = frame.slots[slot]
                value = value[row if value.shape[0] > 1 else 0]
                is_signed = position >= len(signs) or signs[position] != 0
                lines.append(f"pid {program}{prefix}{_format(value, kind.element.bits, is_hex, is_signed)}")

    return step


def _format(value: Tensor, bits: int, is_hex: bool, is_signed: bool) -> str:
    if value.is_floating_point():
        if is_hex:
            integers = {16: torch.int16, 32: torch.int32, 64: torch.int64}
            value = value.contiguous().view(integers.get(bits, torch.uint8))
        else:
            return str(value.to(torch.float64).tolist())
    mask = (1 << bits) - 1

    def one(number: int) -> str:
        if is_hex:
            return f"0x{number & mask:0{bits // 4}x}"
        return str(number if is_signed else number & mask)

    numbers = value.to(torch.int64).tolist()
    if isinstance(numbers, int):
        return one(numbers)
    return re.sub(r"-?\d+", lambda match: one(int(match.group())), str(numbers))
