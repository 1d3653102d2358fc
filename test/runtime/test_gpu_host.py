"""The host side of GPU launches, on a machine without one: arguments, grids, schedules that compete."""

from __future__ import annotations

from typing import Any

import pytest
import torch

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
    [(Schedule(), (10, 1, 1)), (Schedule(block_rows=4), (3, 1, 1)), (Schedule(block_cols=1024), (10, 4, 1))],
    ids=["rows", "several_rows", "columns"],
)
def test_a_launch_passes_pointers_rows_and_strides(
    launches: list[tuple[Any, ...]], schedule: Schedule, grid: tuple[int, int, int]
) -> None:
    launch = gpu._bind(lambda *args: launches.append(args), schedule, 4096, 0)
    x, y, out = torch.empty(10, 4096), torch.empty(4096), torch.empty(10, 4096)
    launch([x, y], [out], 10, [8192])
    assert launches == [(grid, [x.data_ptr(), y.data_ptr(), out.data_ptr(), 10, 8192], 100)]


def test_a_sum_over_the_row_has_one_schedule() -> None:
    """Another schedule would add in another order, and fused would differ from unfused."""
    default = Schedule(num_warps=8)
    assert autotune.candidates(program("epiq.reduce sum"), default, 512) == [default]
    assert len(autotune.candidates(program("epiq.reduce max"), default, 512)) > 1
    assert len(autotune.candidates(program("epiq.reduce sum", full_row=False), default, 512)) > 1


def test_schedules_that_compete_fit_the_rows() -> None:
    found = autotune.candidates(program(width=1024), Schedule(num_warps=4), 3)
    assert found[0] == Schedule(num_warps=4)
    assert {schedule.num_warps for schedule in found} == {2, 4, 8}
    assert {schedule.block_rows for schedule in found} == {1, 2}
    assert len(found) == len(set(found))


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
