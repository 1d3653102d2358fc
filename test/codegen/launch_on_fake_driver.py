"""Run by test_launch.py in a process of its own: launches a kernel on the driver of data/fake_cuda.c.

Prints one JSON object: what the driver was given, and the host time of a launch.
"""

from __future__ import annotations

import ctypes
import json
import sys
import time
from pathlib import Path

fake = ctypes.CDLL(sys.argv[1], mode=ctypes.RTLD_GLOBAL)

from triton.backends.nvidia.driver import CudaLauncher, CudaUtils  # noqa: E402
from triton.runtime.driver import driver  # noqa: E402

from epiq.codegen import LaunchError, Target, compile_ttir, load  # noqa: E402


class FakeDriver:
    """Triton's CUDA driver without torch: one Hopper device."""

    launcher_cls = CudaLauncher

    def __init__(self):
        self.device = 0

    def get_device_capability(self, device):
        return (9, 0)

    def get_current_device(self):
        return self.device

    def set_current_device(self, device):
        self.device = device


def values(name, kind, count):
    return list((kind * count).in_dll(fake, name))


def number(name, kind=ctypes.c_ulonglong):
    return kind.in_dll(fake, name).value


def launch(text):
    kernel = load(compile_ttir(text, Target(90), num_warps=4), device=0)
    sizes = (ctypes.c_int * 64).in_dll(fake, "fake_sizes")
    for index, size in enumerate((8, 8, 8, 4, 8, 8, 8)):  # x, q, scale, rows, stride, two scratch pointers
        sizes[index] = size
    args = (0x1000, 0x2000, 0x3000, 7, 2**40)
    kernel((7, 2, 1), args, 99)
    seen = {
        "grid": values("fake_grid", ctypes.c_uint, 3),
        "block": values("fake_block", ctypes.c_uint, 3),
        "shared": number("fake_shared", ctypes.c_uint),
        "stream": number("fake_stream"),
        "function": number("fake_function"),
        "elf": number("fake_module_bytes") & 0xFFFFFFFF,
        "params": values("fake_params", ctypes.c_ulonglong, 7),
        "compiled_shared": kernel.compiled.shared,
        "registers": kernel.registers,
        "same": load(kernel.compiled, 0) is kernel,
        "other_device": load(kernel.compiled, 1) is not kernel,
        "device_after": driver.active.device,
    }
    before = number("fake_launches", ctypes.c_int)
    kernel((0, 1, 1), args, 99)
    seen["launches_of_nothing"] = number("fake_launches", ctypes.c_int) - before
    start = time.perf_counter()
    for _ in range(20000):
        kernel((7, 2, 1), args, 99)
    seen["launch_us"] = (time.perf_counter() - start) / 20000 * 1e6
    return seen


def refusals(text):
    found = []
    compiled = compile_ttir(text, Target(90), num_warps=4)
    for attempt in (
        lambda: load(compile_ttir(text, Target(100), num_warps=4), 0),
        lambda: load(compiled, 0)((2**16, 2**16, 1), (), 0),
        lambda: load(compiled, 0)((1, 1, 1), (1, 2), 0),
    ):
        try:
            attempt()
            found.append("nothing")
        except (LaunchError, ValueError, TypeError) as error:
            found.append(f"{type(error).__name__}: {error}")
    return found


def main() -> None:
    active = FakeDriver()
    driver.set_active(active)
    active.utils = CudaUtils()
    text = Path(sys.argv[2]).read_text()
    print(json.dumps({**launch(text), "refusals": refusals(text)}))


if __name__ == "__main__":
    main()
