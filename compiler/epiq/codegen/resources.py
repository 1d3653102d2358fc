"""What a compiled kernel takes from the machine, as ptxas counts it, and its machine code."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from epiq.codegen.compile import Compiled
from epiq.codegen.errors import CompileError


@dataclass(frozen=True)
class Resources:
    """Of one kernel: registers a thread; bytes of spills a thread; bytes of shared memory a program."""

    registers: int
    spill_stores: int
    spill_loads: int
    shared: int


def ptxas_report(compiled: Compiled) -> Resources:
    """Assembles the kernel's PTX again with `ptxas -v` and reads its report.

    Raises: CompileError if ptxas fails or its report does not read as expected.
    """
    tool = _ptxas(compiled.target.arch)
    fusion = [] if compiled.metadata.get("enable_fp_fusion", True) else ["--fmad=false"]
    with tempfile.TemporaryDirectory(prefix="epiq-") as folder:
        source = Path(folder, "kernel.ptx")
        source.write_text(compiled.ptx)
        command = [
            tool,
            "-lineinfo",
            "-v",
            *fusion,
            f"--gpu-name={compiled.target.name}",
            str(source),
            "-o",
            "/dev/null",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CompileError(f"ptxas ended with status {done.returncode}\n{done.stderr.strip()}")
    used = re.search(r"Used (\d+) registers", done.stderr)
    spills = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", done.stderr)
    if used is None or spills is None:
        raise CompileError(f"ptxas printed no counts\n{done.stderr.strip()}")
    return Resources(int(used[1]), int(spills[1]), int(spills[2]), compiled.shared)


def sass(compiled: Compiled) -> str:
    """The kernel's machine code as cuobjdump prints it.

    Raises: CompileError if cuobjdump fails.
    """
    with tempfile.TemporaryDirectory(prefix="epiq-") as folder:
        binary = Path(folder, "kernel.cubin")
        binary.write_bytes(compiled.cubin)
        command = [_cuobjdump(), "-sass", str(binary)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CompileError(f"cuobjdump ended with status {done.returncode}\n{done.stderr.strip()}")
    return done.stdout


def _ptxas(arch: int) -> str:
    """The ptxas that Triton assembles this architecture with."""
    from triton.backends.nvidia.compiler import get_ptxas

    return str(get_ptxas(arch).path)


def _cuobjdump() -> str:
    from triton import knobs

    return str(knobs.nvidia.cuobjdump.path)
