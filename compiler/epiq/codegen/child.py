"""Compiles foreign IR in a child process, because Triton crashes on some malformed IR."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from epiq.codegen.errors import CompileError

# Starting Python and importing Triton takes a second; the largest public kernels compile in half a minute.
TIMEOUT_S = 180.0
_MESSAGE_CHARS = 2000
_STAGES = Path(__file__).with_name("triton_stages.py")
_DIAGNOSTIC = re.compile(r"^.*?(?:error|note): .*$", re.MULTILINE)


def compile_in_child(
    text: str, arch: int, options: dict[str, Any], timeout_s: float = TIMEOUT_S
) -> dict[str, Any]:
    """`triton_stages.run_stages` in a process of its own, which may crash, hang or print without harm here.

    Raises: CompileError with what Triton said, how the child ended, or that it ran past `timeout_s`.
    """
    with tempfile.TemporaryDirectory(prefix="epiq-") as name:
        folder = Path(name)
        (folder / "kernel.ttir").write_text(text)
        (folder / "request.json").write_text(json.dumps({"arch": arch, "options": options}))
        code, said = _run(folder, timeout_s)
        result = _read_result(folder)
        if code == 0 and "metadata" in result:
            return {
                "ttir": (folder / "kernel.cleaned.ttir").read_text(),
                "ptx": (folder / "kernel.ptx").read_text(),
                "cubin": (folder / "kernel.cubin").read_bytes(),
                "metadata": result["metadata"],
            }
    raise CompileError(_explain(code, result.get("error"), said.replace(str(folder) + os.sep, "")))


def _run(folder: Path, timeout_s: float) -> tuple[int, str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    # With the script's text on the command line, its folder stays off the child's path.
    launcher = f"import runpy; runpy.run_path({str(_STAGES)!r}, run_name='__main__')"
    child = subprocess.Popen(
        [sys.executable, "-c", launcher], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=_no_core_file,
    )  # fmt: skip
    try:
        said, _ = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        # ptxas runs below the child: the whole process group goes.
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        raise CompileError(f"compiling took more than {timeout_s:g} s and was stopped") from None
    return child.returncode, said.decode(errors="replace")


def _no_core_file() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _read_result(folder: Path) -> dict[str, Any]:
    try:
        result = json.loads((folder / "result.json").read_text())
    except (OSError, ValueError):
        return {}
    return result if isinstance(result, dict) else {}


def _explain(code: int, error: str | None, said: str) -> str:
    """One sentence on how it failed, then Triton's diagnostics, or the end of what it printed."""
    if error is not None:
        how = f"triton refused the IR in stage {error}"
    elif code < 0:
        name = signal.Signals(-code).name
        how = f"triton crashed on the IR with {name}; it takes one public tt.func with a plain name"
    else:
        how = f"triton's process ended with status {code}"
    diagnostics = "\n".join(_DIAGNOSTIC.findall(said)) or said.strip()[-_MESSAGE_CHARS:]
    return f"{how}\n{diagnostics[:_MESSAGE_CHARS]}".rstrip()
