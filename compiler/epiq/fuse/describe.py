"""An epilogue as graph-level IR: a row program, traced from its torch function."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from epiq import ir
from epiq.errors import UnsupportedError
from epiq.formats.layouts import LAYOUTS
from epiq.fuse.epilogue import Epilogue

# Rows of the traced example: a number that no width or group size has.
_ROWS = 67
# Dtypes whose bytes are stored as plain ones: Triton has no type for them.
_BYTES = tuple(
    getattr(torch, name) for name in ("float8_e8m0fnu", "float4_e2m1fn_x2") if hasattr(torch, name)
)
_HEAD = re.compile(r"module \{\n  func\.func @graph\((.*)\)(?: -> [^\n]*)? \{\n")
_ARGUMENT = re.compile(r"(%arg\d+): (tensor<[^>]*>)")
_SIZE = re.compile(r'^\s*epiq\.extern "aten\.sym_size[^"]*"\(.*\) -> \(\).*\n?', re.MULTILINE)
_EXTERN = re.compile(r'epiq\.extern "([^"]*)"')


@dataclass(frozen=True)
class Result:
    """One result of an epilogue.

    width: its columns for `Description.width` columns of the output. layout: how it lies in memory where the
    function says so, with the shape and dtype that this gives it; None where the strides of the tensor that
    is given for it say so. is_maximum: it is the largest value of the whole output, one number.
    """

    name: str
    dtype: torch.dtype
    width: int
    is_bytes: bool
    layout: str | None = None
    is_maximum: bool = False


@dataclass(frozen=True)
class Description:
    """A traced epilogue.

    text: a module with one row program whose layouts are `@LAYOUTS@`. width: columns of the row it was
    traced with. full_row: a reduction spans that row, so that `width` is the length of rows, and not
    only an example. results: in order.
    """

    text: str
    width: int
    full_row: bool
    results: tuple[Result, ...]

    def find(self, name: str) -> Result | None:
        """The result of a name."""
        return next((result for result in self.results if result.name == name), None)

    def with_layouts(self, layouts: Sequence[str]) -> str:
        return self.text.replace("@LAYOUTS@", ", ".join(f"#epiq.layout<{name}>" for name in layouts))


def describe(
    epilogue: Epilogue,
    dtypes: Sequence[torch.dtype],
    width: int,
    inputs: Sequence[tuple[torch.dtype, tuple[Any, ...]]],
) -> Description:
    """Traces `epilogue` for outputs of `dtypes` with rows of `width` columns.

    Args: inputs: dtype and shape of each further input; "M" in a shape stands for the rows, ("N", k)
      for k columns per `width` columns.
    Raises: what the function raises for such tensors; UnsupportedError for a torch op that cannot be
      part of an epilogue.
    """
    given: Description | None = epilogue.description(dtypes[0], width)
    if given is not None:
        return given
    found = _describe(epilogue, dtypes, width, inputs)
    if not found.full_row:
        return found
    # A group as wide as the row spans it too, but it has company in a row of twice the width.
    try:
        wider = _describe(epilogue, dtypes, 2 * width, inputs)
    except Exception:
        return found
    return found if wider.full_row else wider


def _describe(
    epilogue: Epilogue,
    dtypes: Sequence[torch.dtype],
    width: int,
    inputs: Sequence[tuple[torch.dtype, tuple[Any, ...]]],
) -> Description:
    named: dict[str, Tensor] = {}

    def traced(*tensors: Tensor) -> list[Tensor]:
        named.clear()
        named.update(epilogue.named(*tensors))
        return [r.view(torch.uint8) if r.dtype in _BYTES else r for r in named.values()]

    examples = [_example(dtype, ("M", ("N", 1.0)), width) for dtype in dtypes]
    examples += [_example(kind, shape, width) for kind, shape in inputs]
    text = _trace(traced, examples)
    text, layouts = _as_row_program(text)
    names = ", ".join(f"#epiq.layout<{layout.name}>" for layout in layouts)
    module = ir.parse(text.replace("@LAYOUTS@", names))
    remarks = ir.run_passes(module, "epiq-annotate-rows")
    program = _row_program(module)
    if program is None:
        reasons = "; ".join(remark.message for remark in remarks)
        raise UnsupportedError(f"the function cannot be an epilogue: {reasons}")
    return Description(
        text=text,
        width=width,
        full_row=bool(program.attributes["full_row"].value),
        results=tuple(
            _result(name, tensor, layout, maximum)
            for (name, tensor), layout, maximum in zip(
                named.items(), layouts, _maxima(program, len(named)), strict=True
            )
        ),
    )


def _result(name: str, tensor: Tensor, layout: _Layout, is_maximum: bool) -> Result:
    if is_maximum:
        return Result(name, tensor.dtype, 1, False, is_maximum=True)
    if layout.name in LAYOUTS and (LAYOUTS[layout.name].word > 1 or LAYOUTS[layout.name].tile):
        return Result(name, tensor.dtype, layout.width, tensor.dtype in _BYTES, layout.name)
    if tensor.ndim != 2 or isinstance(tensor.shape[1], torch.SymInt):
        raise ValueError(
            f"an epilogue returns matrices of the output's rows, or the largest of all values, got {name} of "
            f"shape {tuple(tensor.shape)}"
        )
    kept = layout.name if layout.name == "packed_e2m1" else None
    return Result(name, tensor.dtype, int(tensor.shape[1]), tensor.dtype in _BYTES, kept)


def _example(dtype: torch.dtype, shape: tuple[Any, ...], width: int) -> tuple[torch.dtype, list[int]]:
    sizes = []
    for size in shape:
        if size == "M":
            sizes.append(_ROWS)
        elif isinstance(size, tuple):
            columns = size[1] * width
            if columns != int(columns):
                raise ValueError(f"an input has {size[1]} values for each column of the output")
            sizes.append(int(columns))
        else:
            sizes.append(size)
    return dtype, sizes


def _trace(fn: Any, examples: Sequence[tuple[torch.dtype, list[int]]]) -> str:
    """The text of the module for `fn`, rows dynamic, all else static.

    Tensors are on the meta device: nothing can look at their values.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext

    mode = FakeTensorMode(shape_env=ShapeEnv())
    tensors = []
    for dtype, sizes in examples:
        dims = [DimDynamic.DYNAMIC if size == _ROWS else DimDynamic.STATIC for size in sizes]
        context: Any = StatelessSymbolicContext(dynamic_sizes=dims)  # type: ignore[arg-type]
        real = torch.empty(sizes, dtype=dtype, device="meta")
        tensors.append(mode.from_tensor(real, symbolic_context=context))
    with torch.no_grad():
        graph_module = make_fx(fn, tracing_mode="symbolic", _allow_non_fake_inputs=True)(*tensors)
    # A view of a constant's dtype is traced with a detach, which does nothing here.
    for node in list(graph_module.graph.nodes):
        if node.target is torch.ops.aten.detach.default:
            node.replace_all_uses_with(node.args[0])
    graph_module.graph.eliminate_dead_code()
    # The frontend has producers, whose epilogues are described here.
    from epiq.frontend.importer import import_graph

    return import_graph(graph_module.graph, graph_module).text


def _as_row_program(text: str) -> tuple[str, list[_Layout]]:
    """The imported function as one row program, quantizations and what else has a name named; and how its
    results lie in memory.

    Names are what says which bits are a rounding to a power of two, or halves of a byte.
    """
    module = ir.parse(text)
    ir.run_passes(module, "epiq-raise")
    _return_memory(module)
    layouts = _layouts(module)
    count = len(layouts)
    text = _SIZE.sub("", str(module.operation.get_asm(enable_debug_info=False)))
    unknown = _EXTERN.search(text)
    if unknown:
        raise UnsupportedError(f"{unknown[1]} cannot be part of an epilogue")
    head = _HEAD.match(text)
    assert head is not None, "the importer's function"
    body = text[head.end() :]
    body, _, returned = body.rpartition("    return ")
    returned = returned.split("\n", 1)[0]
    types = returned.split(" : ", 1)[1]
    arguments = _ARGUMENT.findall(head[1])
    outer = [f"%in{i}" for i in range(len(arguments))]
    inputs = ", ".join(kind for _, kind in arguments)
    block = ", ".join(f"{name}: {kind}" for name, kind in arguments)
    parameters = ", ".join(f"{name}: {kind}" for name, (_, kind) in zip(outer, arguments, strict=True))
    result = "%r" if count == 1 else f"%r:{count}"
    values = "%r" if count == 1 else ", ".join(f"%r#{i}" for i in range(count))
    program = (
        f"module {{\n  func.func @epilogue({parameters}) -> ({types}) {{\n"
        f"    {result} = epiq.row_program @epilogue ({', '.join(outer)}) {{layouts = [@LAYOUTS@]}} : "
        f"({inputs}) -> ({types}) {{\n    ^bb0({block}):\n{body}"
        f"    epiq.yield {returned}\n    }}\n    return {values} : {types}\n  }}\n}}\n"
    )
    return program, layouts


@dataclass(frozen=True)
class _Layout:
    """A layout that a traced function gives a result. width: columns of the value that lies so."""

    name: str
    width: int


def _last(block: Any) -> Any:
    return block.operations[len(block.operations) - 1].operation


def _return_memory(module: Any) -> None:
    """Takes views off what the one function of a module returns, where they only give the memory of a
    layout the shape of its tensor."""
    func = module.body.operations[0].operation
    returned = _last(func.regions[0].blocks[0])
    for i, value in enumerate(returned.operands):
        op = getattr(value.owner, "operation", None)
        if op is not None and op.name == "epiq.reshape" and _layout(op.operands[0]).name == "swizzled_128x4":
            returned.operands[i] = op.operands[0]
    mlir = ir.ir
    with module.context:
        inputs = [argument.type for argument in func.regions[0].blocks[0].arguments]
        kind = mlir.FunctionType.get(inputs, [value.type for value in returned.operands])
        func.attributes["function_type"] = mlir.TypeAttr.get(kind)


def _layouts(module: Any) -> list[_Layout]:
    """The layouts of what the one function of a module returns."""
    returned = _last(module.body.operations[0].operation.regions[0].blocks[0])
    return [_layout(value) for value in returned.operands]


def _layout(value: Any) -> _Layout:
    owner = value.owner
    op = getattr(owner, "operation", None)
    if op is not None and op.name == "epiq.composite":
        return _layout(_last(op.regions[0].blocks[0]).operands[ir.ir.OpResult(value).result_number])
    if op is None or op.name != "epiq.relayout":
        return _Layout("row_major", 0)
    shape = op.operands[0].type.shape
    return _Layout(str(op.attributes["layout"]).split("<")[1].rstrip(">"), int(shape[len(shape) - 1]))


def _maxima(program: Any, count: int) -> list[bool]:
    """Which results are maxima over all tokens."""
    if "output_zeroed" not in program.attributes:
        return [False] * count
    return [bool(flag) for flag in program.attributes["output_zeroed"]]


def _row_program(module: Any) -> Any:
    block = module.body.operations[0].operation.regions[0].blocks[0]
    programs = (op.operation for op in block.operations if op.operation.name == "epiq.row_program")
    return next(programs, None)
