"""The host side of GPU launches, on a machine without one: arguments, grids, schedules that compete."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from epiq.codegen import Target
from epiq.pipeline import RowProgram, Schedule, TensorSpec
from epiq.runtime import autotune, gpu
from epiq.runtime.prepare import device_refusal


def program(ir: str = "", *, full_row: bool = True, width: int = 4096) -> RowProgram:
    rows = TensorSpec("bf16", (None, width), True, width)
    return RowProgram("epiq_rows", "p0", ir, (rows,), (rows,), width, full_row, (), "k")


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    seen: list[tuple[Any, ...]] = []
    monkeypatch.setattr(torch._C, "_cuda_getCurrentRawStream", lambda index: 100 + index, raising=False)
    monkeypatch.setattr(torch._C, "_cuda_getDevice", lambda: 0, raising=False)
    return seen


@pytest.mark.parametrize(
    ("schedule", "grid"),
    [(Schedule(), (10, 1, 1)), (Schedule(block_rows=4), (3, 1, 1)), (Schedule(block_cols=1024), (40, 1, 1))],
    ids=["rows", "several_rows", "columns"],
)
def test_a_launch_passes_pointers_rows_and_strides(
    launches: list[tuple[Any, ...]], schedule: Schedule, grid: tuple[int, int, int]
) -> None:
    launch = gpu._bind(lambda *args: launches.append(args), schedule, program(), 0)
    x, y, out = torch.empty(10, 4096), torch.empty(4096), torch.empty(10, 4096)
    launch([x, y], [out], 10, [8192])
    assert launches == [(grid, [x.data_ptr(), y.data_ptr(), out.data_ptr(), 10, 8192], 100)]


def test_a_sum_over_the_row_has_one_schedule() -> None:
    """Another schedule would add in another order, and fused would differ from unfused."""

    def count(ir: str, mode: autotune.Mode = "quick", *, full_row: bool = True) -> int:
        return len(autotune.candidates(program(ir, full_row=full_row), 512, Target(90), mode))

    assert count("epiq.reduce sum") == 1
    assert count("epiq.reduce max") > 1
    assert count("epiq.reduce sum", full_row=False) > 1
    assert count("epiq.reduce sum", "full") > count("epiq.reduce max") > 1


def test_a_measured_schedule_is_remembered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another process reads it; a damaged entry is measured again."""
    monkeypatch.setenv("EPIQ_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    measured: list[int] = []

    def fastest(program: RowProgram, schedules: list[Schedule], *_: Any) -> tuple[int, list[float]]:
        measured.append(len(schedules))
        return 2, [3.0, 2.0, 1.0]

    monkeypatch.setattr(autotune, "_fastest", fastest)
    one = program("epiq.reduce max")

    def ask() -> Schedule:
        return autotune._remembered(one, torch.device("cuda", 0), 512, Target(90), "quick")

    wanted = autotune.candidates(one, 512, Target(90), "quick")[2]
    assert [ask(), ask()] == [wanted, wanted] and len(measured) == 1
    (entry,) = tmp_path.glob("schedules/*")
    entry.write_bytes(entry.read_bytes()[:-9])
    with pytest.warns(UserWarning, match="checksum"):
        assert ask() == wanted
    assert len(measured) == 2


def test_devices_that_kernels_do_not_run_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    assert device_refusal([torch.empty(3), 5]) == ""
    assert (
        device_refusal([torch.empty(3, device="meta")])
        == "kernels run on CUDA devices and the CPU, not on meta"
    )
    with FakeTensorMode():
        x = torch.empty(3, device="cuda")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    assert device_refusal([x]) == "kernels are made for sm_90, sm_100, cuda:0 is sm_80"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert device_refusal([x]) == ""
