"""Attention as a producer: our kernels for it, and the torch op that it was."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from epiq.attention import attend, paged
from epiq.attention.configs import Config
from epiq.attention.operands import Mask, Operands, Options, check_operands
from epiq.attention.outputs import Output
from epiq.attention.paged_operands import PagedOperands, check_cached
from epiq.codegen import Target
from epiq.errors import EpiqError
from epiq.producers.base import FusedKernel
from epiq.producers.errors import ProducerError
from epiq.producers.product import Call
from epiq.producers.tile import TileProgram, stand_in

# Queries that share a head of keys: up to so many make one tile, which a part of the keys is read for; up to
# so many, it may still be faster than a kernel for whole sequences.
_FEW, _SOME = 16, 64


@dataclass(frozen=True)
class Attention:
    """softmax(q @ k.T * scale + mask) @ v of inputs number q, k, v and mask.

    q: (batch, heads, tokens, dim); k, v: (batch, KV heads, keys, dim), which torch's op gets `repeats` times
    for each head. mask: broadcasts to (batch, heads, tokens, keys), bool for keys that are seen or added to
    scores; None without. call: of the torch op. scale: None for dim ** -0.5. rank: of the result, 4 for
    (batch, tokens, heads, dim), 3 for (batch, tokens, heads * dim), 2 for (batch * tokens, heads * dim).
    """

    call: Call
    q: int
    k: int
    v: int
    mask: int | None
    repeats: int
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
        given = list(inputs)
        if self.repeats > 1:
            for number in {self.k, self.v}:
                given[number] = inputs[number].repeat_interleave(self.repeats, dim=1)
        if self.mask is not None:
            (*sizes, _), keys = inputs[self.q].shape, inputs[self.k].shape[2]
            given[self.mask] = inputs[self.mask].expand(*sizes, keys)
        made: Any = self.call(given)
        by_head: Tensor = made[0] if isinstance(made, list | tuple) else made
        return [by_head.transpose(1, 2).reshape(self.shapes(inputs)[0])]

    def shapes(self, inputs: Sequence[Tensor]) -> list[tuple[int, ...]]:
        (batch, heads, tokens, _), dim = inputs[self.q].shape, inputs[self.v].shape[-1]
        if self.rank == 4:
            return [(batch, tokens, heads, dim)]
        return [(batch, tokens, heads * dim) if self.rank == 3 else (batch * tokens, heads * dim)]

    def check(self, inputs: Sequence[Tensor]) -> None:
        try:
            for way in self._ways(inputs):
                way.operands(self, inputs)
        except (ValueError, TypeError, EpiqError) as error:
            raise ProducerError(f"P1: {error}") from error

    def kernels(self, tile: TileProgram, inputs: Sequence[Tensor], device_type: str) -> list[FusedKernel]:
        found: list[FusedKernel] = []
        refusals: list[str] = []
        for way in self._ways(inputs):
            operands = way.operands(self, inputs)
            _check_rows(tile, operands)
            output = _stand_ins(tile, operands)
            for packs in way.configs(operands, device_type):
                config, refused = attend.first_that_fits(packs, _checking(way, operands, output))
                if config is not None:
                    found.append(FusedKernel(f"{way.prefix}{config}", self._launch(way, tile, config)))
                else:
                    refusals.append(str(refused).splitlines()[0])
        if not found:
            raise ProducerError(f"P6: {refusals[-1] if refusals else 'no config is for such attention'}")
        return found

    def compile_ahead(self, tile: TileProgram, inputs: Sequence[Tensor], target: Target) -> Any:
        refused: Exception | None = None
        for way in self._ways(inputs):
            operands = way.operands(self, inputs)
            output = _stand_ins(tile, operands)
            for packs in way.configs(operands, "cpu"):
                config, refused = attend.first_that_fits(packs, _checking(way, operands, output))
                if config is not None:
                    return way.specialized(operands, config, output).compiled(target)
        raise refused or ProducerError("P6: no config is for such attention")

    def _ways(self, inputs: Sequence[Tensor]) -> list[_Way]:
        """The kernels for so many queries, those first that should be the fastest."""
        (_, heads, queries, _), kv_heads = inputs[self.q].shape, inputs[self.k].shape[1]
        rows = int(queries) * (int(heads) // max(int(kv_heads), 1))
        if self.mask is not None:
            return [_CACHED]
        if queries == 1 and rows <= _FEW:
            return [_CACHED, _WHOLE]
        return [_WHOLE, _CACHED] if rows <= _SOME and not self.causal else [_WHOLE]

    def options(self, q: Tensor) -> Options:
        scale = 1.0 / math.sqrt(q.shape[-1]) if self.scale is None else self.scale
        return Options(Mask.of(self.causal, None), scale, 0.0, None)

    def by_token(self, inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v: (batch, tokens, heads, dim)."""
        q, k, v = (inputs[number].transpose(1, 2) for number in (self.q, self.k, self.v))
        return q, k, v

    def _launch(self, way: _Way, tile: TileProgram, config: Config) -> Callable[..., None]:
        def launch(inputs: list[Tensor], extra: list[Tensor], outputs: list[Tensor]) -> None:
            operands = way.operands(self, inputs)
            way.run(operands, config, _output(tile, operands, extra, outputs))

        return launch


@dataclass(frozen=True)
class _Way:
    """A kernel for attention: what it takes, its configs, how it is checked and run. prefix: of its name."""

    prefix: str
    operands: Callable[[Attention, Sequence[Tensor]], Any]
    configs: Callable[[Any, str], Iterator[Iterable[Config]]]
    check: Callable[[Any, Config, Output], Any]
    specialized: Callable[[Any, Config, Output], Any]
    run: Callable[[Any, Config, Output], None]


def _checking(way: _Way, operands: Any, output: Output) -> Callable[[Config], Any]:
    return lambda config: way.check(operands, config, output)


def _whole(attention: Attention, inputs: Sequence[Tensor]) -> Operands:
    q, k, v = attention.by_token(inputs)
    return check_operands(q, k, v, None, None, None, None, None, None, attention.options(q))


def _cached(attention: Attention, inputs: Sequence[Tensor]) -> PagedOperands:
    q, k, v = attention.by_token(inputs)
    mask = None if attention.mask is None else inputs[attention.mask]
    return check_cached(q, k, v, mask, attention.options(q))


# One tile of queries after the other over all keys; and few queries, many programs that share the keys.
_WHOLE = _Way("", _whole, attend.configs_of, attend.check, attend.specialized, attend.run)
_CACHED = _Way(
    "split keys, ", _cached, paged.configs_of, paged.specialized, paged.specialized, paged.run_first
)


def _output(
    tile: TileProgram,
    operands: Operands | PagedOperands,
    extra: Sequence[Tensor],
    outputs: Sequence[Tensor],
) -> Output:
    named = dict(zip(tile.input_names, extra, strict=True))
    shape = (operands.tokens, operands.heads, operands.v_dim)
    epilogue = tile.epilogue(0)
    return Output(epilogue, None, tuple(outputs), named, operands.out_dtype, operands.heads, False, shape)


def _stand_ins(tile: TileProgram, operands: Operands | PagedOperands) -> Output:
    rows = operands.tokens
    extra = [stand_in(spec, rows) for spec in tile.program.inputs[1:]]
    return _output(tile, operands, extra, [stand_in(spec, rows) for spec in tile.program.outputs])


def _check_rows(tile: TileProgram, operands: Operands | PagedOperands) -> None:
    columns = operands.heads * operands.v_dim
    if tile.columns != columns:
        raise ProducerError(
            f"P2: the program has rows of {tile.columns}, attention {operands.heads} heads of "
            f"{operands.v_dim} for a token"
        )
