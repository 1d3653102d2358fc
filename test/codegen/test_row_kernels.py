"""The benchmark's programs at the sizes of models: one kernel, no spills, wide loads, both targets."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch._subclasses import FakeTensorMode

from epiq.codegen import Target, compile_ttir, ptxas_report
from epiq.formats import MXFP4, MXFP8, NVFP4, quantize
from epiq.frontend import capture
from epiq.pipeline import default_schedule, lower

BENCH = Path(__file__).parents[2] / "examples" / "bench"
TOKENS = 8192


@pytest.fixture(scope="module")
def programs():
    sys.path.insert(0, str(BENCH))
    import programs as module

    yield module.PROGRAMS
    sys.path.remove(str(BENCH))


def fakes(name, width):
    """Inputs that have no memory: what is compiled depends on shapes alone."""

    def fake(*shape, dtype=torch.bfloat16):
        return torch.empty(shape, dtype=dtype)

    with FakeTensorMode():
        if name.startswith("silu"):
            return (fake(TOKENS, 2 * width),)
        inputs = (fake(TOKENS, width), fake(TOKENS, width), fake(width))
        return (*inputs, fake(dtype=torch.float32)) if name.endswith("static") else inputs


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("add_rms_norm_group", 4096),
        ("add_rms_norm_group_columns", 7168),
        ("add_rms_norm_static", 4096),
        ("add_rms_norm_token", 7168),
        ("silu_mul_group_columns", 14336),
    ],
)
def test_one_kernel_without_spills(programs, name, width):
    (record,) = capture(programs[name].fn, *fakes(name, width))
    (program,) = record.grouped.programs
    assert not record.refused
    for target in (Target(90), Target(100)):
        schedule = default_schedule(program, TOKENS, target)
        text = lower(program, schedule, target=target)
        compiled = compile_ttir(text, target, num_warps=schedule.num_warps, num_stages=schedule.num_stages)
        report = ptxas_report(compiled)
        assert (report.spill_stores, report.spill_loads) == (0, 0), report
        loads = [line for line in compiled.ptx.splitlines() if "ld.global" in line]
        # Chunks shared by more warps than it takes are read 8 bytes at a time.
        assert any(".v4.b32" in line or ".v2.b32" in line for line in loads), loads
        # Multiplying and adding in one rounding would make bits depend on what is fused.
        assert "fma.rn.f32" not in compiled.ptx or "math.fma" in text


SCALED = {
    "mxfp8": (MXFP8, "cvt.rp.satfinite.ue8m0x2.f32"),
    "mxfp4": (MXFP4, "cvt.rn.satfinite.e2m1x2.f32"),
    "nvfp4": (NVFP4, "cvt.rn.satfinite.e2m1x2.f32"),
}


@pytest.mark.parametrize("name", SCALED)
def test_scaled_formats_use_the_instructions_that_there_are(name):
    """ptxas takes them; values go from a vector load to a vector store without passing between threads."""
    fmt, instruction = SCALED[name]
    given = torch.tensor(2.0)

    def fn(x, given):
        return quantize(x, fmt, global_scale=given if fmt.global_scale else None)

    (record,) = capture(fn, torch.zeros(4, 4096, dtype=torch.bfloat16), given)
    (program,) = record.grouped.programs
    for target in (Target(90), Target(100)):
        schedule = default_schedule(program, TOKENS, target)
        text = lower(program, schedule, target=target)
        compiled = compile_ttir(text, target, num_warps=schedule.num_warps, num_stages=schedule.num_stages)
        assert (instruction in compiled.ptx) == (target.arch == 100)
        report = ptxas_report(compiled)
        assert (report.spill_stores, report.spill_loads) == (0, 0), report
        stores = [line.split()[0] for line in compiled.ptx.splitlines() if "st.global" in line]
        wide = "st.global.v2.b32" if name == "mxfp8" else "st.global.b32"
        assert any(wide in line for line in compiled.ptx.splitlines() if "st.global" in line), stores
