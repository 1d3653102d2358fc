"""Shared by the tests of epiq.kernels: what a kernel's PTX and ptxas's report must say."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

# The instructions of the tensor cores: Hopper's and Blackwell's.
DOT = {"sm_90a": "wgmma.mma_async", "sm_100a": "tcgen05.mma"}


def check_code(ptx: str, dot: str) -> None:
    assert dot in ptx
    assert re.search(r"st\.global(\.\w+)*\.v4\.b32", ptx)
    assert not re.search(r"st\.global\.b8", ptx)
    # A few of scales, and not one for each register that has a copy.
    assert len(re.findall(r"st\.global", ptx)) < 64


def check_gluon(compiled: object) -> str:
    """Checks a Gluon kernel and returns what ptxas says of it: no spills, and none of the warnings that wgmma
    is serialized or that registers could not be set aside."""
    ptx = compiled.asm["ptx"]  # type: ignore[attr-defined]
    check_code(ptx, DOT["sm_90a"])
    assert compiled.asm["cubin"]  # type: ignore[attr-defined]
    said = ptxas(ptx)
    assert "0 bytes spill stores, 0 bytes spill loads" in said
    assert not re.search(r"C75\d\d", said), said
    return said


def sass(cubin: bytes) -> str:
    """The machine code, by the disassembler that comes with Triton."""
    from triton.backends.nvidia.compiler import get_ptxas

    tool = Path(get_ptxas(90).path).with_name("cuobjdump")
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        done = subprocess.run([tool, "-sass", file.name], capture_output=True, text=True, check=True)
    return done.stdout


def ptxas(ptx: str) -> str:
    from triton.backends.nvidia.compiler import get_ptxas

    command = [get_ptxas(90).path, "-v", "--gpu-name=sm_90a", "-", "-o", "/dev/null"]
    done = subprocess.run(command, input=ptx, capture_output=True, text=True, check=True)
    return done.stderr
