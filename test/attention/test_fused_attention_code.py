"""Fused attention as machine code, without a GPU: no spills, tensor cores, TMA or asynchronous copies."""

from __future__ import annotations

import re

import pytest
import torch

import epiq
from epiq import codegen
from epiq.attention import attend, paged
from epiq.attention.launch import specialize
from epiq.attention.operands import Mask, Options, check_operands
from epiq.attention.outputs import output_of
from epiq.attention.paged_operands import check_paged
from epiq.formats import FP8_GROUP128

QUANTIZE = epiq.Quantize(FP8_GROUP128)
CAUSAL = Options(Mask(None, 0), 0.1, 0.0, None)


def meta(*shape, dtype=torch.bfloat16):
    return torch.empty(shape, dtype=dtype, device="meta")


def output(rows, heads, v_dim):
    return output_of(
        QUANTIZE, None, per_head=False, keep_output=False, shape=(rows, heads, v_dim), dtype=torch.bfloat16,
        device=torch.device("meta"),
    )  # fmt: skip


def check_code(specialization, target, needs):
    compiled = specialization.compiled(target)
    resources = codegen.ptxas_report(compiled)
    assert (resources.spill_stores, resources.spill_loads) == (0, 0)
    for text in needs:
        assert text in compiled.ptx
    assert re.search(r"st\.global(\.\w+)*\.v4\.b32", compiled.ptx)
    assert not re.search(r"st\.global\.b8", compiled.ptx)


# The widest tile has the most registers, and the commonest is the one that matters.
@pytest.mark.parametrize(
    ("target", "dim", "dot"), [("sm_90a", 128, "wgmma.mma_async"), ("sm_100a", 256, "tcgen05.mma")]
)
def test_prefill(target, dim, dot):
    given = [meta(1, 4096, heads, dim) for heads in (32, 8, 8)]
    operands = check_operands(*given, None, None, None, None, None, None, CAUSAL)
    config = next(iter(next(attend.configs_of(operands))))
    specialization = attend.specialized(operands, config, output(4096, 32, dim))
    check_code(specialization, target, [dot, "cp.async.bulk.tensor"])


def test_decode():
    """An FP8 cache, the output quantized by the kernel that attends."""
    cache = meta(64, 16, 8, 128, dtype=torch.float8_e4m3fn)
    table, lengths = meta(32, 128, dtype=torch.int32), meta(32, dtype=torch.int32)
    scale = meta(1, dtype=torch.float32)
    operands = check_paged(
        meta(32, 32, 128), cache, cache, table, lengths, None, scale, scale, None, None, CAUSAL
    )
    plan = paged.Plan(paged.config_of(operands), 1, True, 0)
    kernel, _, arguments, constants = paged.call(operands, plan, None, None)
    specialization = specialize(kernel, arguments, constants, output(32, 32, 128))
    check_code(specialization, "sm_90a", ["mma.sync", "cp.async.cg"])


@pytest.mark.parametrize(("dim", "pack"), [(64, 2), (128, 1)])
def test_the_kernel_of_hopper_comes_first_on_a_gpu(dim, pack):
    """Of heads of 64, two lie in a tile, which a group of 128 spans; for few tokens small tiles follow."""
    given = [meta(1, 256, heads, dim) for heads in (32, 8, 8)]
    operands = check_operands(*given, None, None, None, None, None, None, CAUSAL)
    found = []
    for packs in attend.configs_of(operands, "cuda"):
        fitting = output(256, 32, dim)
        config, refused = attend.first_that_fits(packs, lambda c, o=fitting: attend.check(operands, c, o))
        assert refused is None
        found.append(config)
    assert [(config.kernel, config.block_m) for config in found] == [
        ("gluon", 128), ("triton", 64), ("triton", 128)
    ]  # fmt: skip
    assert {config.pack for config in found} == {pack}
