"""The Gluon attention as machine code, without a GPU: no spills, tensor cores, 16-byte stores."""

from __future__ import annotations

import re

import pytest
import torch
from machine_code import check_gluon, sass

import epiq
from epiq.formats import FP8_GROUP64, FP8_GROUP128
from epiq.kernels.gluon_attention_call import compile_gluon_attention, tiles_of
from epiq.kernels.gluon_attention_operands import Prefill

IDENTITY = epiq.Epilogue(lambda y: y)


def meta(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def prefill(head_dim: int, packed: bool, **options: object) -> Prefill:
    q, k, v = (meta(1, 4096, heads, head_dim) for heads in (8, 2, 2))
    if packed:
        starts = meta(5, dtype=torch.int32)
        options |= {"cu_q": starts, "cu_k": starts, "max_tokens": 4096}
    return Prefill(q, k, v, 0.1, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("head_dim", "packed", "options", "fmt", "registers"),
    [
        # Two groups of consumers and a producer in 3 * 128 threads, three of them in 4 * 128.
        (128, False, {"right": 0}, FP8_GROUP128, 168),
        (64, True, {"left": 1000, "right": 0, "sinks": meta(8)}, FP8_GROUP64, 128),
    ],
    ids=["dense, causal, 128", "packed, window, 64"],
)
def test_gluon(head_dim, packed, options, fmt, registers):
    given = prefill(head_dim, packed, **options)
    epilogue = epiq.Quantize(fmt)
    results = epilogue.compute(meta(4096, 8 * head_dim))
    compiled = compile_gluon_attention(given, tiles_of(given), epilogue, {}, results, 132)
    said = check_gluon(compiled)
    assert f"Used {registers} registers" in said
    assert compiled.metadata.shared <= 227 << 10
    # The tile's values, its scales, and the counter: nothing is stored twice.
    groups = tiles_of(given).groups
    stores = 64 * head_dim // 16 // 128 + 1
    assert len(re.findall(r"st\.global", compiled.asm["ptx"])) == groups * stores + 1


def test_the_softmax_comes_before_the_wait_for_the_sum():
    """Else nothing runs on the tensor cores meanwhile, for all that ptxas says."""
    given = prefill(128, False, right=0)
    compiled = compile_gluon_attention(given, tiles_of(given), IDENTITY, {}, (meta(4096, 1024),), 132)
    loops = re.split(r"WARPGROUP\.DEPBAR\.LE gsb0, 0x1\b", sass(compiled.asm["cubin"]))[1:]
    assert len(loops) == tiles_of(given).groups
    for loop in loops:
        before = loop[: loop.index("WARPGROUP.DEPBAR.LE gsb0, 0x0")]
        assert before.count("MUFU.EX2") >= 64
