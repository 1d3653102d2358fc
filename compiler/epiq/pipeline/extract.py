"""Row programs out of a grouped module, each as a module of its own.

Equal programs must get equal text, so that a model's layers share one kernel: the copy carries no
locations, and its symbol is made from what it computes, not from its place in the graph.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

from epiq.formats.layouts import LAYOUTS
from epiq.ir import ir as mlir
from epiq.pipeline.parts import unfused_parts
from epiq.pipeline.program import Layout, RowProgram, TensorSpec
from epiq.pipeline.tensor_type import parse_tensor_type, static_size


def extract_programs(module: Any) -> tuple[RowProgram, ...]:
    """Returns the row programs of `module`, an annotated one, in the order of their ops."""
    return tuple(_extract(op) for op in row_program_ops(module))


def row_program_ops(module: Any) -> Iterator[Any]:
    """The `epiq.row_program` ops of a module: they stand in functions, never in one another."""
    for func in module.body.operations:
        if func.operation.name != "func.func":
            continue
        for block in func.operation.regions[0]:
            for op in block.operations:
                if op.operation.name == "epiq.row_program":
                    yield op.operation


def _extract(op: Any) -> RowProgram:
    symbol = op.attributes["sym_name"].value
    row_width = op.attributes["row_width"].value
    full_row = op.attributes["full_row"].value
    row_like = [flag.value for flag in op.attributes["input_row_like"]]
    composites = tuple(_composite_names(op))
    name = kernel_name(symbol, row_width)

    in_types = [parse_tensor_type(str(value.type)) for value in op.operands]
    out_types = [parse_tensor_type(str(value.type)) for value in op.results]
    layouts = _output_layouts(op, len(out_types))
    leading = _leading_size(op, row_width, in_types, row_like, out_types)
    indexed = _numbers(op, "input_indexed", len(in_types), 0)
    buffers = _numbers(op, "output_buffer", len(out_types), -1)
    inputs = tuple(
        TensorSpec(dtype, shape, rows, static_size(shape) // (leading if rows else 1), indexed=width)
        for (dtype, shape), rows, width in zip(in_types, row_like, indexed, strict=True)
    )
    shared, zeroed = _flags(op, "output_shared"), _flags(op, "output_zeroed")
    outputs = tuple(
        TensorSpec(
            dtype,
            shape,
            not shared[index],
            static_size(shape) if shared[index] else _stored_width(op, index, shape, leading),
            layouts[index],
            zeroed[index],
        )
        if buffers[index] < 0
        else _stored_in(inputs[buffers[index]], buffers[index])
        for index, (dtype, shape) in enumerate(out_types)
    )
    text = _standalone(op, name)
    return RowProgram(
        name=name,
        symbol=symbol,
        ir=text,
        inputs=inputs,
        outputs=outputs,
        row_width=row_width,
        full_row=full_row,
        composites=composites,
        key=hashlib.sha256(text.encode()).hexdigest(),
        num_rows=_num_rows(
            [spec.shape for spec in inputs + outputs if spec.row_like and spec.buffer < 0], leading
        ),
        parts=unfused_parts(op, row_like, leading),
        column_unit=_column_unit(op),
        segment_widths=tuple(_numbers(op, "segment_widths", 0, 0)),
    )


def _stored_in(memory: TensorSpec, index: int) -> TensorSpec:
    """What is stored by index in the memory of an input."""
    return replace(memory, row_like=True, row_width=memory.indexed, buffer=index)


def kernel_name(symbol: str, row_width: int) -> str:
    """`fused_add_rms_norm_quantize_7` -> `epiq_add_rms_norm_quantize_4096`, which profilers show.

    The number at the end counts the graph's programs; without it equal programs have equal names.
    """
    parts = re.sub(r"_?\d+$", "", symbol.removeprefix("fused_"))
    return re.sub(r"\W", "_", "_".join(filter(None, ("epiq", parts, str(row_width)))))


def _flags(op: Any, name: str) -> list[bool]:
    """An annotation of the results; False for each where there is none."""
    if name not in op.attributes:
        return [False] * len(op.results)
    return [flag.value for flag in op.attributes[name]]


def _numbers(op: Any, name: str, count: int, otherwise: int) -> list[int]:
    """An annotation of one number each; `count` times `otherwise` where there is none."""
    if name not in op.attributes:
        return [otherwise] * count
    return [number.value for number in op.attributes[name]]


def _column_unit(op: Any) -> int:
    """From the annotation; 0 when there is none."""
    return int(op.attributes["column_unit"].value) if "column_unit" in op.attributes else 0


def _composite_names(op: Any) -> Iterator[str]:
    for inner in op.regions[0].blocks[0].operations:
        if inner.operation.name == "epiq.composite":
            yield inner.operation.attributes["kind"].value


def _output_layouts(op: Any, count: int) -> list[Layout]:
    if "layouts" not in op.attributes:
        return ["row_major"] * count
    return [cast(Layout, _layout_name(layout)) for layout in op.attributes["layouts"]]


def _layout_name(attribute: Any) -> str:
    """`#epiq.layout<row_major>`, or as the generic form has it, -> `row_major`."""
    return str(re.findall(r"\w+", str(attribute))[-1])


def _stored_width(op: Any, index: int, shape: tuple[int | None, ...], leading: int) -> int:
    """Elements of one row of a result; its tiles mix rows where they are swizzled."""
    block = op.regions[0].blocks[0]
    value = block.operations[len(block.operations) - 1].operands[index]
    owner = value.owner
    if isinstance(owner, mlir.Block) or owner.operation.name != "epiq.relayout":
        return static_size(shape) // leading
    layout = LAYOUTS.get(_layout_name(owner.operation.attributes["layout"]))
    if layout is None or layout.tile is None:
        return static_size(shape) // leading
    _, matrix = parse_tensor_type(str(owner.operation.operands[0].type))
    groups = matrix[-1]
    assert groups is not None, "the verifier of relayout wants rows of a static width"
    return -(-groups // layout.tile[1]) * layout.tile[1]


def _leading_size(
    op: Any,
    row_width: int,
    in_types: list[tuple[str, tuple[int | None, ...]]],
    row_like: list[bool],
    out_types: list[tuple[str, tuple[int | None, ...]]],
) -> int:
    """The product of the token dimensions that are static (1 when all are dynamic).

    The annotation says it. Without one it is read off a value that fills the row, outputs first:
    an input may be wider than the row, since a slice of it may be all that is read.
    """
    if "num_rows" in op.attributes:
        return int(op.attributes["num_rows"].value)
    outputs = [shape for _, shape in out_types]
    inputs = [shape for (_, shape), rows in zip(in_types, row_like, strict=True) if rows]
    sizes = [static_size(shape) for shape in outputs + inputs]
    for shapes in (outputs, inputs):
        candidates = {
            static_size(shape[:split])
            for shape in shapes
            for split in range(len(shape) + 1)
            if None not in shape[split:] and static_size(shape[split:]) == row_width
        }
        fitting = [n for n in candidates if n and all(size % n == 0 for size in sizes)]
        if fitting:
            return max(fitting)
    raise ValueError(f"no tensor of {op.attributes['sym_name']} fills its row of {row_width}")


def _num_rows(shapes: list[tuple[int | None, ...]], leading: int) -> int | None:
    if any(None in shape for shape in shapes):
        return None
    return 0 if any(0 in shape for shape in shapes) else leading


def _standalone(op: Any, name: str) -> str:
    """The text of a module with one function that holds a copy of `op`, named `name`."""
    types = [str(value.type) for value in op.operands]
    results = ", ".join(str(value.type) for value in op.results)
    shell = f"module {{ func.func private @{name}({', '.join(types)}) -> ({results}) }}"
    with op.context, mlir.Location.unknown():
        module = mlir.Module.parse(shell)
        func = module.body.operations[0].operation
        del func.attributes["sym_visibility"]
        block = mlir.Block.create_at_start(func.regions[0], [value.type for value in op.operands])
        point = mlir.InsertionPoint(block)
        copy = op.clone(point)
        for index, argument in enumerate(block.arguments):
            copy.operands[index] = argument
        copy.attributes["sym_name"] = mlir.StringAttr.get(name)
        mlir.Operation.create("func.return", operands=list(copy.results), ip=point)
        module.operation.verify()
        text: str = module.operation.get_asm(enable_debug_info=False)
    return text
