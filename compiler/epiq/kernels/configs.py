"""Which kernel computes a product, with which tiles: a table for Hopper, by kind of product and tokens."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from epiq.kernels.operands import Operands

TABLE = Path(__file__).parent / "hopper.json"
KERNELS = ("triton", "gluon")
# Of H100 and H200: what the table is for, and what is taken for the CPU.
SMS = 132
_MAX_SPLIT = 8
# Parts of K shorter than this are not worth adding up again.
_LEAST_DEPTH = 1024


@dataclass(frozen=True)
class Config:
    """One way to compute a product.

    kernel: "triton", or "gluon" for the warp-specialized one of Hopper, whose tiles are 64 or 128 x 256 and
    whose warps are its own affair. persistent: as many programs as multiprocessors, taking tiles in turn.
    split_k: programs that share a tile; 0 chooses them so that all multiprocessors work.
    """

    block_m: int
    block_n: int
    block_k: int
    num_warps: int
    num_stages: int
    group_m: int = 8
    persistent: bool = False
    split_k: int = 1
    kernel: str = "triton"

    def __post_init__(self) -> None:
        for name in ("block_m", "block_n", "block_k", "num_warps"):
            value = getattr(self, name)
            if value < 1 or value & (value - 1):
                raise ValueError(f"{name} must be a power of two, got {value}")
        if self.kernel not in KERNELS:
            raise ValueError(f"kernel must be one of {', '.join(KERNELS)}, got {self.kernel!r}")
        if self.kernel == "gluon" and (self.block_m not in (64, 128) or self.block_n != 256):
            raise ValueError(
                f"the Gluon kernel has tiles of 64 or 128 x 256, got {self.block_m} x {self.block_n}"
            )
        if self.persistent and self.split_k != 1:
            raise ValueError(f"a persistent kernel does not split K, got split_k = {self.split_k}")

    def tiles(self, operands: Operands) -> int:
        return -(-operands.m // self.block_m) * -(-operands.n // self.block_n)

    def __str__(self) -> str:
        """`triton 128x256x128, 8 warps, 4 stages, persistent`."""
        text = f"{self.kernel} {self.block_m}x{self.block_n}x{self.block_k}, {self.num_warps} warps"
        text += f", {self.num_stages} stages" + (", persistent" if self.persistent else "")
        if self.split_k == 1:
            return text
        return text + (f", K in {self.split_k} parts" if self.split_k else ", K in parts")

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Rule:
    """A row of the table: for products of a kind with up to `max_m` rows of `a`."""

    dtype: str
    scales: str
    gate_up: bool
    max_m: int
    config: Config


@functools.cache
def table() -> tuple[Rule, ...]:
    """The rules, from the file."""
    rules = []
    names = {field.name for field in fields(Config)}
    for row in json.loads(TABLE.read_text())["rules"]:
        config = Config(**{name: row.pop(name) for name in list(row) if name in names})
        rules.append(Rule(config=config, **row))
    return tuple(rules)


def choose(operands: Operands, sms: int = SMS) -> Config:
    """The first config of the table for these operands, on the CPU the first one of a Triton kernel."""
    return next(candidates(operands, sms))


def candidates(operands: Operands, sms: int = SMS) -> Iterator[Config]:
    """The configs of the table for this kind, those for the number of rows at hand first."""
    seen = set()
    for ranked_config in ranked(operands, operands.a.device.type):
        config = resolve(ranked_config, operands, sms)
        if config not in seen:
            seen.add(config)
            yield config


def ranked(operands: Operands, device_type: str) -> list[Config]:
    """The configs of `candidates` as the table has them, for any number of rows; what `resolve` takes."""
    rules = [rule for rule in table() if (rule.dtype, rule.scales, rule.gate_up) == operands.kind]
    rules.sort(key=lambda rule: (rule.max_m < operands.m, abs(rule.max_m - operands.m)))
    configs = [rule.config for rule in rules if rule.config.kernel != "gluon" or device_type != "cpu"]
    return list(dict.fromkeys(configs))


def resolve(config: Config, operands: Operands, sms: int) -> Config:
    """`config` with split_k chosen: as many parts as let each multiprocessor have one."""
    if config.split_k:
        return config
    tiles = config.tiles(operands)
    split = 1
    while split < _MAX_SPLIT and 2 * split * tiles <= sms and operands.k >= 2 * split * _LEAST_DEPTH:
        split *= 2
    return replace(config, split_k=split)
