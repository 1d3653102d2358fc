"""Attention as a producer: what torch makes of scaled_dot_product_attention, its heads put side by side.

The torch ops give (batch, heads, tokens, dim); a program whose rows are tokens reads a transpose of that, and
perhaps a copy of it. All of it up to the program is one producer: its kernel stores tokens as rows anyway.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.fx.experimental.symbolic_shapes import statically_known_true

from epiq.attention.attend import check, configs_of, first_that_fits, run, specialized
from epiq.attention.configs import Config
from epiq.attention.operands import Mask, Operands, Options, check_operands
from epiq.attention.outputs import Output
from epiq.codegen import Target
from epiq.errors import EpiqError
from epiq.producers.base import FusedKernel, Reading
from epiq.producers.errors import ProducerError
from epiq.producers.product import Call, Slot, plain
from epiq.producers.tile import TileProgram, stand_in

aten = torch.ops.aten
# Ops of torch with a result of (batch, heads, tokens, dim), the first one where they have several.
_NAMES = (
    "scaled_dot_product_attention",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
)
_OPS = frozenset(getattr(aten, name).default for name in _NAMES if hasattr(aten, name))
# What stands between attention and a program: these do not change the order of elements,
_KEEPING_ORDER = (
    aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.clone.default,
)  # fmt: skip
# and these put tokens before heads.
_TRANSPOSES = (aten.permute.default, aten.transpose.int)
LAYOUTS = (*_KEEPING_ORDER, *_TRANSPOSES, operator.getitem)


@dataclass(frozen=True)
class Attention:
    """softmax(q @ k.T * scale) @ v of inputs number q, k, v, (batch, heads, tokens, dim).

    call: of the torch op. scale: None for dim ** -0.5. rank: of the result, 4 for
    (batch, tokens, heads, dim), 3 for (batch, tokens, heads * dim), 2 for (batch * tokens, heads * dim).
    """

    call: Call
    q: int
    k: int
    v: int
    causal: bool
    scale: float | None
    rank: int

    @property
    def name(self) -> str:
        return "attention"

    @property
    def num_results(self) -> int:
        return 1

    @property
    def has_bias(self) -> bool:
        return False

    def library(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        made: Any = self.call(inputs)
        by_head: Tensor = made[0] if isinstance(made, list | tuple) else made
        return [by_head.transpose(1, 2).reshape(self.shapes(inputs)[0])]

    def shapes(self, inputs: Sequence[Tensor]) -> list[tuple[int, ...]]:
        (batch, heads, tokens, _), dim = inputs[self.q].shape, inputs[self.v].shape[-1]
        if self.rank == 4:
            return [(batch, tokens, heads, dim)]
        return [(batch, tokens, heads * dim) if self.rank == 3 else (batch * tokens, heads * dim)]

    def check(self, inputs: Sequence[Tensor]) -> None:
        try:
            self.operands(inputs)
        except (ValueError, TypeError, EpiqError) as error:
            raise ProducerError(f"P1: {error}") from error

    def kernels(self, tile: TileProgram, inputs: Sequence[Tensor], device_type: str) -> list[FusedKernel]:
        operands = self.operands(inputs)
        _check_rows(tile, operands)
        found: list[FusedKernel] = []
        refusals: list[str] = []
        output = _stand_ins(tile, operands)
        for packs in configs_of(operands, device_type):
            config, refused = first_that_fits(packs, lambda config: check(operands, config, output))
            if config is not None:
                found.append(FusedKernel(str(config), self._launch(tile, config)))
            else:
                refusals.append(str(refused).splitlines()[0])
        if not found:
            raise ProducerError(f"P6: {refusals[-1] if refusals else 'no config is for such attention'}")
        return found

    def compile_ahead(self, tile: TileProgram, inputs: Sequence[Tensor], target: Target) -> Any:
        operands = self.operands(inputs)
        output = _stand_ins(tile, operands)
        refused: Exception | None = None
        for packs in configs_of(operands, "cpu"):
            config, refused = first_that_fits(packs, lambda config: check(operands, config, output))
            if config is not None:
                return specialized(operands, config, output).compiled(target)
        raise refused or ProducerError("P6: no config is for such attention")

    def operands(self, inputs: Sequence[Tensor]) -> Operands:
        """The tensors as the kernels take them. Raises: ValueError, UnsupportedError."""
        q, k, v = (inputs[number].transpose(1, 2) for number in (self.q, self.k, self.v))
        scale = 1.0 / math.sqrt(q.shape[-1]) if self.scale is None else self.scale
        options = Options(Mask.of(self.causal, None), scale, 0.0, None)
        return check_operands(q, k, v, None, None, None, None, None, None, options)

    def _launch(self, tile: TileProgram, config: Config) -> Callable[..., None]:
        def launch(inputs: list[Tensor], extra: list[Tensor], outputs: list[Tensor]) -> None:
            operands = self.operands(inputs)
            run(operands, config, _output(tile, operands, extra, outputs))

        return launch


def _output(
    tile: TileProgram, operands: Operands, extra: Sequence[Tensor], outputs: Sequence[Tensor]
) -> Output:
    named = dict(zip(tile.input_names, extra, strict=True))
    shape = (operands.tokens, operands.heads, operands.v_dim)
    epilogue = tile.epilogue(0)
    return Output(epilogue, None, tuple(outputs), named, operands.out_dtype, operands.heads, False, shape)


def _stand_ins(tile: TileProgram, operands: Operands) -> Output:
    rows = operands.tokens
    extra = [stand_in(spec, rows) for spec in tile.program.inputs[1:]]
    return _output(tile, operands, extra, [stand_in(spec, rows) for spec in tile.program.outputs])


def _check_rows(tile: TileProgram, operands: Operands) -> None:
    columns = operands.heads * operands.v_dim
    if tile.columns != columns:
        raise ProducerError(
            f"P2: the program has rows of {tile.columns}, attention {operands.heads} heads of "
            f"{operands.v_dim} for a token"
        )


def read_attention(node: Node) -> Reading | None:
    """A node that puts the heads of attention side by side, None for one that has other inputs.

    Raises: ProducerError: P1 for a form that the kernels do not compute, P2 for another order of the result,
    P3 where something else reads a step on the way.
    """
    way: list[Node] = [node]
    while way[-1].target not in _OPS:
        below = way[-1].args[0] if way[-1].target in LAYOUTS and way[-1].args else None
        if not isinstance(below, Node):
            return None
        way.append(below)
    op = way[-1]
    layouts = [each for each in way[:-1] if each.target is not operator.getitem]
    if any(each.target is operator.getitem and each.args[1] != 0 for each in way):
        return None
    if any(each.target in _TRANSPOSES for each in layouts[:-1]) or not _puts_tokens_first(layouts):
        raise ProducerError("P2: the program does not read the tokens of attention as rows")
    _check_readers(way)
    given = _arguments(op)
    inputs = tuple(dict.fromkeys(op.all_input_nodes))
    slots = {each: Slot(number) for number, each in enumerate(inputs)}
    call = Call(
        op.target,
        plain(op.args, slots),
        tuple((name, plain(value, slots)) for name, value in op.kwargs.items()),
    )
    q, k, v = (slots[given[name]].index for name in ("query", "key", "value"))
    scale = given.get("scale")
    found = Attention(call, q, k, v, bool(given["is_causal"]), scale, _rank(node, op))
    return Reading(node, found, inputs, within=tuple(way[1:]))


def _puts_tokens_first(layouts: Sequence[Node]) -> bool:
    """Whether the first step after the op swaps heads and tokens."""
    if not layouts:
        return False
    first = layouts[-1]
    if first.target is aten.permute.default:
        return list(first.args[1]) == [0, 2, 1, 3]  # type: ignore[arg-type]
    return first.target is aten.transpose.int and sorted(int(dim) % 4 for dim in first.args[1:]) == [1, 2]  # type: ignore[arg-type]


def _check_readers(way: Sequence[Node]) -> None:
    """All of the way is computed for the program alone; `way` starts with what the program reads."""
    for reader, node in itertools.pairwise(way):
        for user in node.users:
            # The further results of an op, such as the log-sum-exp, are there even where nothing reads them.
            if user is not reader and (user.users or user.op != "call_function"):
                raise ProducerError(f"P3: {user.name} reads {node.name} too")


def _arguments(op: Node) -> dict[str, Any]:
    """The arguments by their names. Raises: ProducerError, P1."""
    schema = op.target._schema.arguments  # type: ignore[union-attr]
    given: dict[str, Any] = {each.name: each.default_value for each in schema if each.has_default_value()}
    given |= dict(zip((each.name for each in schema), op.args, strict=False)) | dict(op.kwargs)
    mask = given.get("attn_mask", given.get("attn_bias"))
    if mask is not None:
        raise ProducerError("P1: attention with a mask in a tensor, which the kernels do not read")
    if given.get("dropout_p", 0.0) != 0.0:
        raise ProducerError(f"P1: attention with a dropout of {given['dropout_p']}")
    shapes = [given[name].meta["val"].shape for name in ("query", "key", "value")]
    if any(len(shape) != 4 for shape in shapes):
        ranks = ", ".join(str(len(shape)) for shape in shapes)
        raise ProducerError(f"P1: attention of tensors of ranks {ranks}, the kernels take 4")
    queries, keys = shapes[0][2], shapes[1][2]
    if given["is_causal"] and not statically_known_true(queries == keys):
        raise ProducerError(
            f"P1: torch's causal mask of {queries} queries and {keys} keys starts at the first key, ours "
            "ends at the last one"
        )
    scale = given.get("scale")
    if scale is not None and not isinstance(scale, int | float):
        raise ProducerError("P1: the softmax scale is not a number but a symbol")
    return given


def _rank(node: Node, op: Node) -> int:
    """Of the result, as Attention has it. Raises: ProducerError, P2, for another shape."""
    batch, heads, tokens, _ = op.args[0].meta["val"].shape  # type: ignore[union-attr]
    dim = op.args[2].meta["val"].shape[-1]  # type: ignore[union-attr]
    shape = tuple(node.meta["val"].shape)
    wanted = {
        4: (batch, tokens, heads, dim),
        3: (batch, tokens, heads * dim),
        2: (batch * tokens, heads * dim),
    }.get(len(shape))
    if wanted is None or not all(statically_known_true(a == b) for a, b in zip(shape, wanted, strict=True)):
        raise ProducerError(
            f"P2: the program reads the result of attention as {shape}, not as rows of tokens"
        )
    return len(shape)
