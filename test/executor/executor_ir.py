"""Builds one-op kernels: load the inputs, run the body, store the outputs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from epiq.executor import run, uninitialized

ELEMENTS = {
    torch.int8: "i8",
    torch.int16: "i16",
    torch.int32: "i32",
    torch.int64: "i64",
    torch.float16: "f16",
    torch.bfloat16: "bf16",
    torch.float32: "f32",
    torch.float64: "f64",
    torch.float8_e4m3fn: "f8E4M3FN",
    torch.float8_e5m2: "f8E5M2",
    torch.float8_e4m3fnuz: "f8E4M3FNUZ",
    torch.float8_e5m2fnuz: "f8E5M2FNUZ",
    torch.float8_e8m0fnu: "f8E8M0FNU",
    torch.uint8: "i8",
}


def tensor_type(shape: tuple[int, ...], element: str) -> str:
    """`tensor<4x8xf32>`."""
    return f"tensor<{'x'.join(map(str, shape))}x{element}>"


def _addresses(name: str, position: int, count: int, element: str) -> list[str]:
    pointers = f"tensor<{count}x!tt.ptr<{element}>>"
    return [
        f"%{name}r = tt.make_range {{end = {count} : i32, start = 0 : i32}} : tensor<{count}xi32>",
        f"%{name}s = tt.splat %arg{position} : !tt.ptr<{element}> -> {pointers}",
        f"%{name}p = tt.addptr %{name}s, %{name}r : {pointers}, tensor<{count}xi32>",
    ]


def kernel(body: str, inputs: list[Tensor], outputs: list[tuple[tuple[int, ...], torch.dtype]]) -> str:
    """The text of a kernel whose `body` computes %y0, %y1 ... from %x0, %x1 ..., of the given shapes."""
    lines, arguments = [], []
    for position, value in enumerate(inputs):
        element, count = ELEMENTS[value.dtype], value.numel()
        arguments.append(f"%arg{position}: !tt.ptr<{element}>")
        lines += _addresses(f"x{position}_", position, count, element)
        lines.append(f"%x{position}_v = tt.load %x{position}_p : tensor<{count}x!tt.ptr<{element}>>")
        lines.append(
            f"%x{position} = tt.reshape %x{position}_v : {tensor_type((count,), element)}"
            f" -> {tensor_type(tuple(value.shape), element)}"
        )
    lines.append(body)
    for number, (shape, dtype) in enumerate(outputs):
        position, element, count = len(inputs) + number, ELEMENTS[dtype], math.prod(shape)
        arguments.append(f"%arg{position}: !tt.ptr<{element}>")
        lines += _addresses(f"y{number}_", position, count, element)
        lines.append(
            f"%y{number}_v = tt.reshape %y{number} : {tensor_type(shape, element)}"
            f" -> {tensor_type((count,), element)}"
        )
        lines.append(f"tt.store %y{number}_p, %y{number}_v : tensor<{count}x!tt.ptr<{element}>>")
    inside = "\n    ".join(lines)
    return f"tt.func public @kernel({', '.join(arguments)}) {{\n    {inside}\n    tt.return\n}}\n"


def evaluate(
    body: str, inputs: list[Tensor], outputs: list[tuple[tuple[int, ...], torch.dtype]]
) -> list[Tensor]:
    """Runs a one-program kernel (see `kernel`) and returns its outputs."""
    inputs = [value.contiguous() for value in inputs]
    results = [uninitialized(shape, dtype) for shape, dtype in outputs]
    run(kernel(body, inputs, outputs), 1, [*inputs, *results])
    return results


def apply(op: str, *inputs: Tensor, result: torch.dtype | None = None, suffix: str | None = None) -> Tensor:
    """Runs one elementwise op written `op %x0, %x1 : T`, or `suffix` in place of the type."""
    shape, dtype = tuple(inputs[0].shape), result or inputs[0].dtype
    operands = ", ".join(f"%x{i}" for i in range(len(inputs)))
    kind = suffix or tensor_type(shape, ELEMENTS[inputs[0].dtype])
    return evaluate(f"%y0 = {op} {operands} : {kind}", list(inputs), [(shape, dtype)])[0]


def cast(op: str, value: Tensor, dtype: torch.dtype, options: str = "") -> Tensor:
    """Runs a cast, `op %x : T -> U` for tt and `to` for arith."""
    shape = tuple(value.shape)
    arrow = "->" if op.startswith("tt.") else "to"
    source, target = tensor_type(shape, ELEMENTS[value.dtype]), tensor_type(shape, ELEMENTS[dtype])
    return evaluate(f"%y0 = {op} %x0{options} : {source} {arrow} {target}", [value], [(shape, dtype)])[0]


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two float tensors are equal bit for bit, all NaNs being one."""
    if not a.dtype.is_floating_point:
        return torch.equal(a, b)
    integers = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
    nan_a, nan_b = a.to(torch.float32).isnan(), b.to(torch.float32).isnan()
    equal = (a.contiguous().view(integers) == b.contiguous().view(integers)) | (nan_a & nan_b)
    return a.dtype == b.dtype and bool(equal.all())


__all__ = ["ELEMENTS", "apply", "cast", "evaluate", "kernel", "run", "same", "tensor_type"]
