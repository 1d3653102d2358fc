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
    """One result of an epilogue. width: its columns for `Description.width` columns of the output."""

    name: str
    dtype: torch.dtype
    width: int
    is_bytes: bool


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
    epilogue: Epilogue, dtype: torch.dtype, width: int, inputs: Sequence[tuple[torch.dtype, tuple[Any, ...]]]
) -> Description:
    """Traces `epilogue` for an output of `dtype` with rows of `width` columns.

    Args: inputs: dtype and shape of each further input; "M" in a shape stands for the rows, ("N", k)
      for k columns per `width` columns.
    Raises: what the function raises for such tensors; UnsupportedError for a torch op that cannot be
      part of an epilogue.
    """
    given: Description | None = epilogue.description(dtype, width)
    if given is not None:
        return given
    found = _describe(epilogue, dtype, width, inputs)
    if not found.full_row:
        return found
    # A group as wide as the row spans it too, but it has company in a row of twice the width.
    try:
        wider = _describe(epilogue, dtype, 2 * width, inputs)
    except Exception:
        return found
    return found if wider.full_row else wider


def _describe(
    epilogue: Epilogue, dtype: torch.dtype, width: int, inputs: Sequence[tuple[torch.dtype, tuple[Any, ...]]]
) -> Description:
    named: dict[str, Tensor] = {}

    def traced(*tensors: Tensor) -> list[Tensor]:
        named.clear()
        named.update(epilogue.named(*tensors))
        return [r.view(torch.uint8) if r.dtype in _BYTES else r for r in named.values()]

    examples = [_example(dtype, ("M", ("N", 1.0)), width)]
    examples += [_example(kind, shape, width) for kind, shape in inputs]
    text = _trace(traced, examples)
    results = list(named.values())
    for result in results:
        if result.ndim != 2 or isinstance(result.shape[1], torch.SymInt):
            raise ValueError(
                f"an epilogue returns matrices of the output's rows, got shape {tuple(result.shape)}"
            )
    text = _as_row_program(text, len(results))
    module = ir.parse(text.replace("@LAYOUTS@", ", ".join(["#epiq.layout<row_major>"] * len(results))))
    remarks = ir.run_passes(module, "epiq-annotate-rows")
    program = _row_program(module)
    if program is None:
        reasons = "; ".join(remark.message for remark in remarks)
        raise UnsupportedError(f"the function cannot be an epilogue: {reasons}")
    return Description(
        text=text,
        width=width,
        full_row=bool(program.attributes["full_row"].value),
        results=tuple(Result(name, r.dtype, int(r.shape[1]), r.dtype in _BYTES) for name, r in named.items()),
    )


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


def _as_row_program(text: str, count: int) -> str:
    """The imported function as one row program, quantizations and what else has a name named.

    Names are what says which bits are a rounding to a power of two, or halves of a byte.
    """
    module = ir.parse(text)
    ir.run_passes(module, "epiq-raise")
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
    return (
        f"module {{\n  func.func @epilogue({parameters}) -> ({types}) {{\n"
        f"    {result} = epiq.row_program @epilogue ({', '.join(outer)}) {{layouts = [@LAYOUTS@]}} : "
        f"({inputs}) -> ({types}) {{\n    ^bb0({block}):\n{body}"
        f"    epiq.yield {returned}\n    }}\n    return {values} : {types}\n  }}\n}}\n"
    )


def _row_program(module: Any) -> Any:
    block = module.body.operations[0].operation.regions[0].blocks[0]
    programs = (op.operation for op in block.operations if op.operation.name == "epiq.row_program")
    return next(programs, None)
