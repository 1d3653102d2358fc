"""`tt.elementwise_inline_asm`: a few PTX instructions that kernels are known to use.

One instruction from the tables below with registers `$0`, `$1` ... as operands, one element at a time; the
conversions of scaled_casts.py; or nothing but synchronization. Anything else is refused by name and line.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from torch import Tensor

from epiq.executor.frame import Frame
from epiq.executor.ops import math
from epiq.executor.ops.floats import maxnumf, minnumf
from epiq.executor.ops.scaled_casts import find_scaled_cast
from epiq.executor.registry import Op, Step, handler

Function = Callable[..., Tensor]

_NOTHING = re.compile(
    r"^(griddepcontrol\.\w+|membar\.\w+|fence\.[\w.]+|bar\.sync\s+\d+|nanosleep\.u32\s+\w+)$"
)
_INSTRUCTION = re.compile(r"^([a-z0-9_.]+)\s+(\$\d+(?:\s*,\s*\$\d+)*)$")


def _truncate_tf32(x: Tensor) -> Tensor:
    """Nearest tf32, halves away from zero."""
    bits = x.contiguous().view(torch.int32)
    return torch.where(x.isfinite(), ((bits + 0x1000) & ~0x1FFF), bits).view(torch.float32)


_FLOAT: dict[str, Function] = {
    "tanh": torch.tanh,
    "ex2": torch.exp2,
    "lg2": torch.log2,
    "rsqrt": torch.rsqrt,
    "sqrt": torch.sqrt,
    "rcp": torch.reciprocal,
    "sin": torch.sin,
    "cos": torch.cos,
    "abs": torch.abs,
    "neg": torch.neg,
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "max": maxnumf,
    "min": minnumf,
}
_INTEGER: dict[str, Function] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "and": torch.bitwise_and,
    "or": torch.bitwise_or,
    "xor": torch.bitwise_xor,
    "not": torch.bitwise_not,
    "popc": math.population_count,
    "clz": math.count_leading_zeros,
}
# Modifiers that change speed or the treatment of subnormals, not what is computed here.
_MODIFIERS = {"approx", "ftz", "rn", "full", "lo"}


def _find(op: Op, mnemonic: str) -> Function | None:
    name, *rest = mnemonic.split(".")
    kind = rest[-1] if rest else ""
    if mnemonic == "cvt.rna.tf32.f32":
        return _truncate_tf32
    if name == "mov":
        return lambda x: x.contiguous().view(op.element.dtype)
    if mnemonic.startswith("fma.rn."):
        return math.fused_multiply_add(op.element)
    if set(rest[:-1]) - _MODIFIERS:
        return None
    if kind in ("f32", "f64", "f16", "bf16"):
        function = _FLOAT.get(name)
        return None if function is None else math.in_f32(function)
    if kind in ("s32", "u32", "b32", "s64", "u64", "b64"):
        return _INTEGER.get(name)
    return None


@handler("tt.elementwise_inline_asm")
def inline_asm(op: Op) -> Step:
    text = op.string("asm_string")
    lines = [" ".join(line.split()) for line in re.split(r"[;\n]", text.replace("{", ";").replace("}", ";"))]
    lines = [line for line in lines if line and not line.startswith("//")]
    if all(_NOTHING.match(line) for line in lines):
        return _nothing(op)
    scaled = find_scaled_cast(text, op.integer("packed_element"), len(op.operands))
    if scaled is not None and len(op.results) == 1:
        return _calls(scaled, op.results[0], list(op.operands))
    match = _INSTRUCTION.match(lines[0]) if len(lines) == 1 else None
    if match is None or op.integer("packed_element") != 1 or len(op.results) != 1:
        raise op.unsupported(f"the inline assembly {text!r} is not known")
    function = _find(op, match.group(1))
    registers = [int(found) for found in re.findall(r"\$(\d+)", match.group(2))]
    if function is None or registers[0] != 0 or max(registers) > len(op.operands):
        raise op.unsupported(f"the inline assembly {text!r} is not known")
    return _calls(function, op.results[0], [op.operands[register - 1] for register in registers[1:]])


def _calls(function: Function, result: int, operands: list[int]) -> Step:
    def step(frame: Frame) -> None:
        frame.slots[result] = function(*[frame.slots[slot] for slot in operands])

    return step


def _nothing(op: Op) -> Step:
    """Synchronization between threads or kernels: a whole tile runs at once here. Results are 0."""
    kinds = list(zip(op.results, op.result_types, strict=True))

    def step(frame: Frame) -> None:
        for slot, kind in kinds:
            frame.slots[slot] = torch.zeros((1, *kind.shape), dtype=kind.element.dtype)

    return step
