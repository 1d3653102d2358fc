"""Calls gluon_attention.py: tiles by a table, descriptors, the epilogue, the launch; or compiles it only."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from epiq.errors import UnsupportedError
from epiq.fuse import Epilogue
from epiq.kernels.gluon_attention_operands import Prefill
from epiq.kernels.gluon_epilogue import ROWS, extras, gluon_function
from epiq.kernels.gluon_launch import compile_only, launch

TABLE = Path(__file__).parent / "hopper_attention.json"
_NUM_WARPS = 4
_SWIZZLE_BYTES = 128
# Keys and values of the heads of a section: what stays in the L2 cache of 50 MB beside queries and results.
_SECTION_BYTES = 32 << 20


@dataclass(frozen=True)
class Tiles:
    """How the kernel is cut.

    groups: of consumer warps, each with 64 rows of a tile: 1, 2 or 3. block_n: keys at a time; stages: such
    blocks in shared memory. registers: of a consumer's thread. pack: neighbouring heads of q in a tile, which
    share a head of k: a group of values may span them, and few tokens fill a tile. overlap: whether the
    softmax of a block is computed during the sum over the one before, which takes registers.
    """

    groups: int
    block_n: int
    stages: int
    registers: int
    pack: int = 1
    overlap: bool = True

    def __post_init__(self) -> None:
        if self.groups not in (1, 2, 3):
            raise ValueError(f"a tile has 1, 2 or 3 groups of warps, got {self.groups}")
        if self.pack not in (1, 2, 4, 8, 16):
            raise ValueError(f"pack must be a power of two up to 16, got {self.pack}")

    @property
    def tokens(self) -> int:
        """Of a sequence, in a tile."""
        return ROWS * self.groups // self.pack

    def most(self, operands: Prefill) -> int:
        """How many there are, or more where only the device knows where sequences start."""
        lanes = operands.heads // self.pack
        if operands.cu_q is None:
            return -(-int(operands.q.shape[1]) // self.tokens) * lanes * operands.sequences
        return (operands.tokens // self.tokens + operands.sequences) * lanes


def tiles_of(operands: Prefill, pack: int = 1) -> Tiles:
    """The tiles that the table has for these operands; pack: as `Tiles` has it."""
    rows = operands.longest * pack
    for rule in _table():
        if rule["head_dim"] == operands.head_dim and rows <= rule["max_tokens"]:
            return Tiles(rule["groups"], rule["block_n"], rule["stages"], rule["registers"], pack)
    raise UnsupportedError(f"no tiles for {rows} rows of head dim {operands.head_dim}")


def run_gluon_attention(
    operands: Prefill,
    tiles: Tiles,
    epilogue: Epilogue,
    inputs: Mapping[str, Tensor],
    results: Sequence[Tensor],
    programs: int,
) -> None:
    """Launches the kernel on the operands' device.

    Args: epilogue: of the output as a matrix (tokens, heads * head_dim) in the dtype of q. inputs: its
      further tensors, by name. results: tensors for what it returns, whose strides say how they are laid
      out; rows that belong to no sequence are left as they are. programs: the most that work at a time.
    Raises: FusionError where the epilogue does not fit a tile, UnsupportedError where it has no form in
      Gluon, or off Hopper.
    """
    kernel, grid, arguments, constants = call(operands, tiles, epilogue, inputs, results, programs)
    launch(kernel, grid, arguments, constants, operands.q.device)


def compile_gluon_attention(
    operands: Prefill,
    tiles: Tiles,
    epilogue: Epilogue,
    inputs: Mapping[str, Tensor],
    results: Sequence[Tensor],
    programs: int,
) -> Any:
    """What Triton compiles for such a launch: `asm` and `metadata`; needs no GPU, tensors may be meta."""
    kernel, _, arguments, constants = call(operands, tiles, epilogue, inputs, results, programs)
    return compile_only(kernel, arguments, constants)


def call(
    operands: Prefill,
    tiles: Tiles,
    epilogue: Epilogue,
    inputs: Mapping[str, Tensor],
    results: Sequence[Tensor],
    programs: int,
) -> tuple[Any, int, tuple[Any, ...], dict[str, Any]]:
    """A launch: kernel, programs, arguments, constants."""
    from triton.experimental.gluon import language as gl

    from epiq.kernels import gluon_attention

    if operands.share % tiles.pack:
        raise ValueError(f"{tiles.pack} heads of a tile do not divide the {operands.share} that share keys")
    dim, columns = operands.head_dim, operands.heads * operands.head_dim
    named = dict(zip(epilogue.names(results), results, strict=True))
    tile = (ROWS // tiles.pack, tiles.pack * dim)
    function = gluon_function(epilogue, operands.q.dtype, columns, tile, False, {**inputs, **named})
    lanes = operands.heads // tiles.pack
    arguments = (
        _descriptor(operands.q, ROWS // tiles.pack, tiles.pack),
        _descriptor(operands.k, tiles.block_n, 1),
        _descriptor(operands.v, tiles.block_n, 1),
        _counter(operands.q.device),
        operands.cu_q,
        operands.cu_k,
        operands.sinks,
        extras(epilogue, inputs, results, operands.tokens, columns),
        operands.sequences,
        int(operands.q.shape[1]),
        int(operands.k.shape[1]),
        operands.left,
        operands.right,
        operands.softmax_scale,
        operands.softcap,
        _section(operands, tiles),
    )
    constants = {
        "EPILOGUE": function,
        "OUT": gl.float16 if operands.q.dtype == torch.float16 else gl.bfloat16,
        "FLAT": _layout(2),
        "LANES": lanes,
        "SHARE": operands.share,
        "GROUPS": tiles.groups,
        "STAGES": tiles.stages,
        "OVERLAP": tiles.overlap,
        "REGISTERS": tiles.registers,
        "num_warps": _NUM_WARPS,
        # What a sum of the epilogue becomes must not depend on what is computed beside it. In the softmax
        # the one FMA that counts, score * scale - maximum, is asked for.
        "enable_fp_fusion": False,
    }
    return gluon_attention.attention, min(tiles.most(operands), programs), arguments, constants


def _section(operands: Prefill, tiles: Tiles) -> int:
    """Heads of q, by `pack`, whose keys and values stay in the L2 cache while their tiles are computed."""
    keys = int(operands.k.shape[1])
    if operands.cu_q is not None:
        keys = min(keys, operands.longest)
    of_a_head = max(2 * keys * operands.head_dim * operands.k.element_size(), 1)
    return max(_SECTION_BYTES // of_a_head, 1) * operands.share // tiles.pack


@functools.cache
def _table() -> list[dict[str, int]]:
    rules: list[dict[str, int]] = json.loads(TABLE.read_text())["rules"]
    return rules


def _layout(rank: int) -> Any:
    from triton.experimental.gluon import language as gl

    return gl.NVMMASharedLayout(swizzle_byte_width=_SWIZZLE_BYTES, element_bitwidth=16, rank=rank)


def _descriptor(x: Tensor, tokens: int, heads: int) -> Any:
    """A descriptor for blocks of one sequence."""
    from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

    strides = list(x.stride())
    # How far apart things would be of which there is one is nobody's business but the checks'.
    for i in (2, 1, 0):
        if x.shape[i] == 1:
            strides[i] = strides[i + 1] * int(x.shape[i + 1])
    return TensorDescriptor(x, list(x.shape), strides, [1, tokens, heads, int(x.shape[3])], _layout(4))


_counters: dict[tuple[torch.device, int], Tensor] = {}


def _counter(device: torch.device) -> Tensor:
    """A zero, which every launch leaves as a zero; that of a stream is used by one launch at a time."""
    if device.type != "cuda":
        return torch.zeros(1, dtype=torch.int32, device=device)
    key = (device, torch.cuda.current_stream(device).cuda_stream)
    if key in _counters:
        return _counters[key]
    counter = torch.zeros(1, dtype=torch.int32, device=device)
    # One that a graph makes is a zero only when the graph runs.
    return counter if torch.cuda.is_current_stream_capturing() else _counters.setdefault(key, counter)
