"""dump writes every level of a row program, for every target."""

from __future__ import annotations

import pytest

from epiq.codegen import CompileError, Target, levels
from epiq.pipeline import RowProgram, Schedule

PROGRAM = RowProgram(
    name="group_quant",
    symbol="group_quant",
    ir="module {}\n",
    inputs=(),
    outputs=(),
    row_width=512,
    full_row=False,
    composites=("quantize",),
    key="0" * 64,
)


@pytest.fixture
def lowered(group_quant, monkeypatch):
    """Stands in for the lowering: the kernel of data/, and the schedules it was asked for."""
    asked = []

    def lower(program, schedule, target):
        asked.append((program, schedule, target))
        return group_quant

    monkeypatch.setattr(levels, "lower", lower)
    return asked


def test_all_levels_and_targets(tmp_path, lowered, group_quant):
    schedule = Schedule(num_warps=4)
    written = levels.dump(PROGRAM, tmp_path / "a" / "b", [Target(90), Target(100)], schedule)
    assert lowered == [(PROGRAM, schedule, Target(90)), (PROGRAM, schedule, Target(100))]
    assert [path.name for path in written.files] == [
        "group_quant.epiq.mlir",
        "group_quant.ttir",
        "group_quant.sm_90a.clean.ttir",
        "group_quant.sm_90a.ptx",
        "group_quant.sm_90a.cubin",
        "group_quant.sm_100a.clean.ttir",
        "group_quant.sm_100a.ptx",
        "group_quant.sm_100a.cubin",
    ]
    folder = tmp_path / "a" / "b"
    assert (folder / "group_quant.ttir").read_text() == group_quant
    assert (folder / "group_quant.epiq.mlir").read_text() == PROGRAM.ir
    for kernel in written.kernels:
        assert f".target {kernel.target.name}" in kernel.ptx
        assert (folder / f"group_quant.{kernel.target.name}.ptx").read_text() == kernel.ptx
        assert (folder / f"group_quant.{kernel.target.name}.cubin").read_bytes() == kernel.cubin


def test_a_refusal_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(levels, "lower", lambda program, schedule, target: "not IR")
    with pytest.raises(CompileError):
        levels.dump(PROGRAM, tmp_path, [Target(90)], Schedule())
    assert not list(tmp_path.iterdir())
