"""The kernel of rotary embedding, quantization and cache write, at a model's size: several programs for each
token, wide loads and stores, nothing spilled."""

from __future__ import annotations

import re
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from epiq.codegen import Target, compile_ttir, ptxas_report
from epiq.frontend import capture
from epiq.pipeline import default_schedule, lower

BENCH = Path(__file__).parents[2] / "examples" / "bench"
TARGETS = [Target(90), Target(100)]
MOVED = re.compile(r"\b(ld|st)\.global\S*?((?:\.v\d)?)\.b(\d+)")


@pytest.fixture(scope="module")
def bench():
    sys.path.insert(0, str(BENCH))
    import rope_cache

    yield rope_cache
    sys.path.remove(str(BENCH))


def widths(ptx: str, kind: str) -> list[int]:
    """Bytes that a thread moves with each load or store, most first."""
    found = [m for m in MOVED.finditer(ptx) if m.group(1) == kind]
    return sorted((int(m.group(2)[2:] or 1) * int(m.group(3)) // 8 for m in found), reverse=True)


@pytest.mark.parametrize(("style", "cache"), [("neox", "e4m3"), ("neox", "bf16"), ("pairs", "e4m3")])
def test_kernel_of_a_model(bench, style, cache):
    case = bench.Case(style, 64, cache=bench.BF16 if cache == "bf16" else bench.E4M3)
    with torch.no_grad():
        (record,) = capture(partial(bench.rope_cache, case), *bench.make_inputs(case, "cpu", 1))
    (program,) = record.used
    assert not record.refused
    assert sorted(program.segment_widths) == [1024, 1024, 4096]
    for target, tokens in ((TARGETS[0], 1), (TARGETS[0], 8192), (TARGETS[1], 8192)):
        schedule = default_schedule(program, tokens, target)
        # q alone is shared by four programs, so that one token keeps several processors busy.
        assert program.columns(schedule.block_cols) == 6
        text = lower(program, schedule, target=target)
        compiled = compile_ttir(text, target, num_warps=schedule.num_warps, num_stages=schedule.num_stages)
        report = ptxas_report(compiled)
        assert (report.spill_stores, report.spill_loads) == (0, 0), report
        assert "fma.rn.f32" not in compiled.ptx
        if tokens == 1:
            continue
        # 16 bytes for each row of q, k and v; angles, shared by all heads, are few.
        loads, stores = widths(compiled.ptx, "ld"), widths(compiled.ptx, "st")
        assert loads[:6] == [16] * 6, loads
        assert stores[0] >= 8, stores
        if style == "neox":
            # A thread has 8 elements of each half: 8 bytes of e4m3, 16 of bf16.
            assert stores[-1] == 8, stores
            assert (cache == "bf16") == (stores[0] == 16), stores
