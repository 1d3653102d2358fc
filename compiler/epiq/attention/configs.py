"""Which tiles attention is computed with: a table for Hopper, by head dim and dtype."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parent / "hopper.json"
KERNELS = ("triton", "gluon")
_MOST_PACKED = 8


@dataclass(frozen=True)
class Config:
    """One way to compute attention.

    block_m: queries of a tile, those of `pack` heads counted each; block_n: keys at a time. kernel: "triton",
    or "gluon" for the warp-specialized one of Hopper. pack: neighbouring heads of Q in a tile, which share a
    head of K, so that a group of values may span them. splits: of a paged cache, the programs that share the
    keys of a sequence; 0 chooses them so that all multiprocessors work. combine_heads: heads that a program
    of `combine` makes, 0 all.
    """

    block_m: int
    block_n: int
    num_warps: int
    num_stages: int
    kernel: str = "triton"
    pack: int = 1
    splits: int = 1
    combine_heads: int = 4

    def __post_init__(self) -> None:
        for name in ("block_m", "block_n", "num_warps", "pack"):
            value = getattr(self, name)
            if value < 1 or value & (value - 1):
                raise ValueError(f"{name} must be a power of two, got {value}")
        if self.kernel not in KERNELS:
            raise ValueError(f"kernel must be one of {', '.join(KERNELS)}, got {self.kernel!r}")
        if self.block_m < max(16, self.pack) or self.block_n < 16:
            raise ValueError(
                f"tiles have at least 16 queries, those of {self.pack} heads, and 16 keys, "
                f"got {self.block_m} and {self.block_n}"
            )

    def __str__(self) -> str:
        """`triton 128x64, 8 warps, 3 stages, 2 heads a tile`."""
        text = (
            f"{self.kernel} {self.block_m}x{self.block_n}, {self.num_warps} warps, {self.num_stages} stages"
        )
        return text + (f", {self.pack} heads a tile" if self.pack > 1 else "")

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@functools.cache
def _table() -> tuple[tuple[dict[str, Any], Config], ...]:
    names = {field.name for field in fields(Config)}
    rules = []
    for row in json.loads(TABLE.read_text())["rules"]:
        config = Config(**{name: row.pop(name) for name in list(row) if name in names})
        rules.append((row, config))
    return tuple(rules)


def candidates(
    form: str, fp8: bool, head_dim: int, v_dim: int, queries: int, on_gpu: bool = False
) -> Iterator[Config]:
    """The table's configs for "prefill" or "paged", those for so many queries first; Gluon's for a GPU only.

    queries: of all heads and sequences, which say how many tiles there are.
    """
    dtype, widest = "fp8" if fp8 else "half", max(head_dim, v_dim)
    found = []
    for rule, config in _table():
        fits = widest in rule["dims"] if "dims" in rule else widest <= rule["max_dim"]
        if rule["form"] != form or rule["dtype"] not in (dtype, "any") or not fits:
            continue
        if config.kernel == "gluon" and (not on_gpu or head_dim != v_dim):
            continue
        found.append((rule.get("max_queries", queries) < queries, rule.get("max_dim", widest), config))
    # The sort keeps the table's order where there is nothing to choose by.
    nearest = min((dim for _, dim, config in found if config.kernel == "triton"), default=widest)
    found = [each for each in found if each[2].kernel == "gluon" or each[1] == nearest]
    for _, _, config in sorted(found, key=lambda each: (each[2].kernel != "gluon", each[0])):
        yield config


def packed(config: Config, group: int) -> Iterator[Config]:
    """`config`, and with more heads in a tile, as far as they share keys."""
    pack = config.pack
    while pack <= _MOST_PACKED and group % pack == 0:
        yield replace(config, pack=pack)
        pack *= 2
