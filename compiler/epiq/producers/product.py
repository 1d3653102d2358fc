"""Matrix products as producers: mm, addmm, and the scaled forms of FP8."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from epiq.codegen import Compiled, Target
from epiq.errors import EpiqError
from epiq.kernels.configs import SMS, Config, ranked, resolve
from epiq.kernels.operands import BLOCK, Operands, check_operands, check_pair
from epiq.kernels.product import compile_into, run_into, run_of, sms_of, specialize_into
from epiq.producers.base import FusedKernel, Reading
from epiq.producers.errors import ProducerError
from epiq.producers.tile import TileProgram, stand_in

log = logging.getLogger("epiq")
aten = torch.ops.aten
_HALVES = (torch.bfloat16, torch.float16)
# How _scaled_mm_v2 numbers its scales: (of a, of b). Others are not computed by our kernels.
_BLOCKS_OF_B = 5
_RECIPES = {(0, 0): "tensor", (1, 1): "vector", (4, _BLOCKS_OF_B): "block"}
_NO_SWIZZLE = 0
_GLUON_ARCH = 90


@dataclass(frozen=True)
class Slot:
    """Stands for a tensor among the arguments of a call: the producer's input of that number."""

    index: int


@dataclass(frozen=True)
class Call:
    """A call of a torch op, its tensors taken out."""

    target: Any
    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...]

    def __call__(self, inputs: Sequence[Tensor]) -> Tensor:
        result: Tensor = self.target(*_filled(self.args, inputs), **_filled(dict(self.kwargs), inputs))
        return result

    def renumbered(self, moved: Mapping[int, int]) -> Call:
        """The call with other numbers of its inputs."""
        kwargs = tuple((name, _moved(value, moved)) for name, value in self.kwargs)
        return Call(self.target, _moved(self.args, moved), kwargs)

    def __repr__(self) -> str:
        return f"{self.target}{self.args}{self.kwargs}"


@dataclass(frozen=True)
class Product:
    """c = (a @ b) * scales [+ bias], or two such products of one `a`, side by side.

    calls: one or two. a, b, a_scale, b_scale, bias: numbers of inputs; two of `b` and of `b_scale` for two
    calls. out_dtype: of the results. has_padded_blocks: block scales of `b` are padded along K to a multiple
    of 4, as _scaled_mm_v2 wants them.
    """

    calls: tuple[Call, ...]
    a: int
    b: tuple[int, ...]
    a_scale: int | None
    b_scale: tuple[int, ...]
    bias: int | None
    out_dtype: torch.dtype
    has_padded_blocks: bool = False

    @property
    def name(self) -> str:
        return str(self.calls[0].target).removeprefix("aten.").split(".")[0].lstrip("_")

    @property
    def num_results(self) -> int:
        return len(self.calls)

    @property
    def has_bias(self) -> bool:
        return self.bias is not None

    def library(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        return [call(inputs) for call in self.calls]

    def shapes(self, inputs: Sequence[Tensor]) -> list[tuple[int, ...]]:
        return [(*inputs[self.a].shape[:-1], inputs[b].shape[-1]) for b in self.b]

    def check(self, inputs: Sequence[Tensor]) -> None:
        try:
            self.operands(inputs, "pair" if self.num_results == 2 else "whole")
        except (ValueError, TypeError) as error:
            raise ProducerError(f"P1: {error}") from error

    def kernels(self, tile: TileProgram, inputs: Sequence[Tensor], device_type: str) -> list[FusedKernel]:
        operands = self.operands(inputs, tile.form)
        found: list[FusedKernel] = []
        refusals: list[str] = []
        for config in ranked(operands, device_type):
            try:
                self._check_config(tile, operands, config)
            except (EpiqError, ValueError) as error:
                refusals.append(str(error).splitlines()[0])
                continue
            found.append(FusedKernel(str(config), self._launch(tile, config)))
        if not found:
            raise ProducerError(f"P6: {refusals[0] if refusals else 'no config is for such a product'}")
        return found

    def compile_ahead(
        self, tile: TileProgram, inputs: Sequence[Tensor], target: Target
    ) -> list[tuple[str, Compiled]]:
        operands = self.operands(inputs, tile.form)
        found: dict[str, tuple[str, Compiled]] = {}
        extra, outputs = _stand_ins(tile, operands)
        for config in ranked(operands, "cuda" if target.arch == _GLUON_ARCH else "cpu"):
            if config.kernel in found:
                continue
            resolved = resolve(config, operands, SMS)
            try:
                epilogue = tile.epilogue(run_of(config))
                compiled = compile_into(operands, resolved, epilogue, extra, outputs, target)
            except (EpiqError, ValueError) as error:
                log.info("%s is left out: %s", config, error)
                continue
            found[config.kernel] = (str(config), _as_compiled(compiled, target))
        return list(found.values())

    def operands(self, inputs: Sequence[Tensor], form: str) -> Operands:
        """The tensors as the kernels take them. Raises: ValueError for what they do not take."""
        a, b = inputs[self.a], [inputs[index] for index in self.b]
        a_scale = None if self.a_scale is None else inputs[self.a_scale]
        b_scale: list[Tensor | None] = [None] * len(b)
        if self.b_scale:
            blocks = -(-int(a.shape[1]) // BLOCK) if self.has_padded_blocks else None
            b_scale = [inputs[index][:blocks] if blocks else inputs[index] for index in self.b_scale]
        if form == "pair":
            found = check_pair(a, (b[0], b[1]), a_scale, (b_scale[0], b_scale[1]))
        else:
            found = check_operands(a, b[0], a_scale, b_scale[0], form != "whole")
        return replace(found, rounded_to=torch.float32 if self.has_bias else self.out_dtype)

    def _check_config(self, tile: TileProgram, operands: Operands, config: Config) -> None:
        """Raises: where the epilogue does not fit a tile of this config."""
        if config.kernel == "gluon":
            return
        extra, outputs = _stand_ins(tile, operands)
        config = resolve(config, operands, sms_of(operands.a.device))
        specialize_into(operands, config, tile.epilogue(run_of(config)), extra, outputs)

    def _launch(self, tile: TileProgram, config: Config) -> Callable[..., None]:
        epilogue = tile.epilogue(run_of(config))
        names = tile.input_names

        def launch(inputs: list[Tensor], extra: list[Tensor], outputs: list[Tensor]) -> None:
            operands = self.operands(inputs, tile.form)
            if self.bias is not None:
                extra = [inputs[self.bias].reshape(-1), *extra]
            chosen = resolve(config, operands, sms_of(operands.a.device))
            run_into(operands, chosen, epilogue, dict(zip(names, extra, strict=True)), outputs)

        return launch


def _filled(value: Any, inputs: Sequence[Tensor]) -> Any:
    if isinstance(value, Slot):
        return inputs[value.index]
    if isinstance(value, tuple):
        return tuple(_filled(item, inputs) for item in value)
    if isinstance(value, list):
        return [_filled(item, inputs) for item in value]
    if isinstance(value, dict):
        return {name: _filled(item, inputs) for name, item in value.items()}
    return value


def _as_compiled(kernel: Any, target: Target) -> Compiled:
    """What was compiled as ours; Triton's own class is what it makes of Gluon."""
    if isinstance(kernel, Compiled):
        return kernel
    asm, metadata = kernel.asm, kernel.metadata._asdict()
    return Compiled(metadata["name"], target, asm["ttgir"], asm["ptx"], asm["cubin"], metadata, kernel.hash)


def _moved(value: Any, moved: Mapping[int, int]) -> Any:
    if isinstance(value, Slot):
        return Slot(moved[value.index])
    return tuple(_moved(item, moved) for item in value) if isinstance(value, tuple) else value


def _stand_ins(tile: TileProgram, operands: Operands) -> tuple[dict[str, Tensor], list[Tensor]]:
    """The epilogue's further inputs and its outputs, by name, on the meta device."""
    rows = operands.m
    specs = tile.program.inputs[tile.num_produced :]
    extra = [stand_in(spec, rows) for spec in specs]
    if tile.with_bias:
        extra.insert(0, torch.empty(operands.n, dtype=tile.bias_dtype, device="meta"))
    outputs = [stand_in(spec, rows) for spec in tile.program.outputs]
    return dict(zip(tile.input_names, extra, strict=True)), outputs


# What a reader finds: the nodes of a, b, a_scale, b_scale, bias, each None where there is none.
_Parts = tuple[Any, Any, Any, Any, Any]
_Reader = Callable[[Node], _Parts]


def _mm(node: Node) -> _Parts:
    a, b = node.args
    return a, b, None, None, None


def _bmm(node: Node) -> _Parts:
    batches = node.meta["val"].shape[0]
    raise ProducerError(f"P1: bmm multiplies {batches} pairs of matrices, the kernels one")


def _addmm(node: Node) -> _Parts:
    args: Any = node.args
    bias, a, b = args
    factors = [node.kwargs.get(name, 1) for name in ("beta", "alpha")]
    if factors != [1, 1]:
        raise ProducerError(
            f"P1: addmm with beta = {factors[0]}, alpha = {factors[1]}, the kernels have 1, 1"
        )
    shape = bias.meta["val"].shape
    if len(shape) != 1 or shape[0] != node.meta["val"].shape[-1]:
        raise ProducerError(
            f"P1: addmm adds a tensor of shape {tuple(shape)}, the kernels one value a column"
        )
    return a, b, None, None, bias


def _scaled_mm(node: Node) -> _Parts:
    names = ("self", "mat2", "scale_a", "scale_b", "bias", "scale_result", "out_dtype", "use_fast_accum")
    given = dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
    if given.get("scale_result") is not None:
        raise ProducerError("P1: _scaled_mm with scale_result, which the kernels do not have")
    return given["self"], given["mat2"], given["scale_a"], given["scale_b"], given.get("bias")


def _v2_arguments(node: Node) -> dict[str, Any]:
    names = (
        "self", "mat2", "scale_a", "recipe_a", "swizzle_a", "scale_b", "recipe_b", "swizzle_b", "bias",
        "out_dtype", "contraction_dim", "use_fast_accum",
    )  # fmt: skip
    return dict(zip(names, node.args, strict=False)) | dict(node.kwargs)


def _scaled_mm_v2(node: Node) -> _Parts:
    given = _v2_arguments(node)
    recipes = tuple(tuple(given[name]) for name in ("recipe_a", "recipe_b"))
    if any(len(recipe) != 1 for recipe in recipes) or (recipes[0][0], recipes[1][0]) not in _RECIPES:
        raise ProducerError(f"P1: scaled_mm with recipes {recipes[0]} and {recipes[1]}, which no kernel has")
    swizzles = [*given["swizzle_a"], *given["swizzle_b"]]
    if any(swizzle != _NO_SWIZZLE for swizzle in swizzles):
        raise ProducerError(f"P1: scaled_mm with swizzled scales {swizzles}, which no kernel reads")
    if list(given.get("contraction_dim") or []) not in ([], [1, 0]):
        raise ProducerError(f"P1: scaled_mm contracts dimensions {given['contraction_dim']}, not 1 and 0")
    return given["self"], given["mat2"], given["scale_a"][0], given["scale_b"][0], given.get("bias")


_READERS: dict[str, _Reader] = {
    "mm": _mm,
    "bmm": _bmm,
    "addmm": _addmm,
    "_scaled_mm": _scaled_mm,
    "_scaled_mm_v2": _scaled_mm_v2,
}
# The overloads that this torch has.
PRODUCTS: dict[Any, _Reader] = {
    getattr(aten, name).default: reader for name, reader in _READERS.items() if hasattr(aten, name)
}


def read_product(node: Node) -> Reading:
    """A node of one of `PRODUCTS`. Raises: ProducerError, P1."""
    a, b, a_scale, b_scale, bias = PRODUCTS[node.target](node)
    out = node.meta["val"]
    if out.dtype not in (*_HALVES, torch.float32):
        raise ProducerError(f"P1: {node.target} makes {out.dtype}, the kernels bf16, f16 and f32")
    if bias is not None and bias.meta["val"].dtype != out.dtype:
        raise ProducerError(f"P1: a bias of {bias.meta['val'].dtype} for a product of {out.dtype}")
    listed = list(dict.fromkeys(node.all_input_nodes))
    # The bias comes last: it is an input of the epilogue.
    if bias is not None:
        listed.remove(bias)
        listed.append(bias)
    slots = {each: Slot(index) for index, each in enumerate(listed)}
    call = Call(
        node.target,
        plain(node.args, slots),
        tuple((name, plain(value, slots)) for name, value in node.kwargs.items()),
    )

    def at(source: Any) -> int | None:
        return None if source is None else slots[source].index

    found = Product(
        calls=(call,),
        a=slots[a].index,
        b=(slots[b].index,),
        a_scale=at(a_scale),
        b_scale=() if b_scale is None else (slots[b_scale].index,),
        bias=at(bias),
        out_dtype=out.dtype,
        has_padded_blocks=_has_padded_blocks(node),
    )
    return Reading(node, found, tuple(listed))


def _has_padded_blocks(node: Node) -> bool:
    if PRODUCTS[node.target] is not _scaled_mm_v2:
        return False
    return tuple(_v2_arguments(node)["recipe_b"]) == (_BLOCKS_OF_B,)


def side_by_side(first: Reading, second: Reading) -> Reading | None:
    """Two products of one `a` with matrices of one shape; None for others."""
    one, two = first.producer, second.producer
    if not isinstance(one, Product) or not isinstance(two, Product) or one.has_bias or two.has_bias:
        return None
    shared = {_input(first, one.a), _input(first, one.a_scale)}
    is_alike = shared == {_input(second, two.a), _input(second, two.a_scale)}
    sizes = [_shape(reading, product.b[0]) for reading, product in ((first, one), (second, two))]
    if first.node.target is not second.node.target or not is_alike or sizes[0] != sizes[1]:
        return None
    inputs = tuple(dict.fromkeys((*first.inputs, *second.inputs)))
    moved = {index: inputs.index(node) for index, node in enumerate(second.inputs)}
    both = replace(
        one,
        calls=(*one.calls, *(call.renumbered(moved) for call in two.calls)),
        b=(*one.b, *(moved[index] for index in two.b)),
        b_scale=(*one.b_scale, *(moved[index] for index in two.b_scale)),
    )
    return Reading(second.node, both, inputs)


def _input(reading: Reading, index: int | None) -> Node | None:
    return None if index is None else reading.inputs[index]


def _shape(reading: Reading, index: int) -> list[str]:
    return [str(size) for size in reading.inputs[index].meta["val"].shape]


def plain(value: Any, slots: Mapping[Node, Slot]) -> Any:
    """An argument with slots for nodes, and tuples for lists, which do not hash."""
    if isinstance(value, Node):
        return slots[value]
    if isinstance(value, list | tuple):
        return tuple(plain(item, slots) for item in value)
    return value
