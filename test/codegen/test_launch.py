"""Loading and launching, without a GPU, through Triton's real C launcher and a driver that pretends."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import triton

from epiq.codegen import LaunchError, Target, compile_ttir, load

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """What launch_on_fake_driver.py prints."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler to build the pretended driver with")
    folder = tmp_path_factory.mktemp("driver")
    library = folder / "libcuda.so.1"
    headers = Path(triton.__file__).parent / "backends/nvidia/include"
    command = [compiler, "-shared", "-fPIC", "-w", "-Wl,-soname,libcuda.so.1", f"-I{headers}"]
    subprocess.run([*command, "-o", str(library), str(HERE / "data/fake_cuda.c")], check=True)
    environment = os.environ | {
        "TRITON_LIBCUDA_PATH": str(folder),
        "TRITON_CACHE_DIR": str(folder / "triton"),
        "EPIQ_CACHE_DIR": str(folder / "epiq"),
    }
    script = [sys.executable, str(HERE / "launch_on_fake_driver.py")]
    arguments = [str(library), str(HERE / "data/group_quant.ttir")]
    done = subprocess.run([*script, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_driver_gets_grid_block_and_shared_memory(launched):
    assert launched["grid"] == [7, 2, 1]
    assert launched["block"] == [128, 1, 1]
    assert launched["shared"] == launched["compiled_shared"] > 0
    assert (launched["stream"], launched["function"]) == (99, 0x22)
    assert launched["elf"] == int.from_bytes(b"\x7fELF", "little")
    assert launched["registers"] == 40


def test_the_driver_gets_every_argument_and_two_empty_scratch_pointers(launched):
    assert launched["params"] == [0x1000, 0x2000, 0x3000, 7, 2**40, 0, 0]


def test_a_kernel_is_loaded_once_a_device(launched):
    assert launched["same"] and launched["other_device"]
    assert launched["device_after"] == 0


def test_an_empty_grid_launches_nothing(launched):
    assert launched["launches_of_nothing"] == 0


def test_a_launch_costs_little_host_time(launched):
    assert launched["launch_us"] < 20  # about 1 us on an idle machine


def test_what_cannot_be_launched_is_refused(launched):
    assert launched["refusals"] == [
        "LaunchError: kernel group_quant is for sm_100a, device 0 is sm_90",
        "ValueError: grid (65536, 65536, 1) has more than 2147483647 programs",
        "TypeError: kernel group_quant takes 5 arguments, got 2",
    ]


def test_without_a_device_loading_says_so(group_quant, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(LaunchError, match="no CUDA device to load a kernel on"):
        load(compile_ttir(group_quant, Target(90), num_warps=4))
