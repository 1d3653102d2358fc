"""What `epiq doctor` looks at. Each check returns one finding and raises nothing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

State = Literal["ok", "limited", "broken"]

PYTHON_VERSIONS = ((3, 10), (3, 13))
TORCH_MINIMUM = (2, 11)
TRITON_VERSION = (3, 6)


@dataclass(frozen=True)
class Finding:
    """One line: limited means that epiq works without it, broken that it does not."""

    item: str
    state: State
    found: str
    follows: str


def all_findings() -> list[Finding]:
    checks: tuple[Callable[[], Finding], ...] = (
        check_python,
        check_bindings,
        check_opt,
        check_torch,
        check_backend,
        check_triton,
        check_compiler,
        check_gpu,
        check_cache,
        check_options,
    )
    return [_guarded(check) for check in checks]


def check_python() -> Finding:
    version, (low, high) = sys.version_info[:2], PYTHON_VERSIONS
    found = f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    if low <= version <= high:
        return Finding("python", "ok", found, "supported")
    wanted = f"{_dotted(low)} to {_dotted(high)}"
    return Finding("python", "broken", found, f"not supported: epiq is built for {wanted}")


def check_bindings() -> Finding:
    try:
        from epiq import ir

        ir.context()
    except ImportError as error:
        follows = "reinstall epiq: its C++ part is missing or of another Python version"
        return Finding("passes", "broken", str(error), follows)
    return Finding("passes", "ok", "C++ passes load", "graphs can be compiled to Triton IR")


def check_opt() -> Finding:
    folder = Path(__file__).resolve().parents[1] / "_bin"
    tool = folder / "epiq-opt"
    found = str(tool) if tool.is_file() else shutil.which("epiq-opt")
    if found is None:
        return Finding("epiq-opt", "limited", "not found", "passes cannot be run by hand")
    return Finding("epiq-opt", "ok", str(found), "passes can be run by hand on .mlir and .ttir files")


def check_torch() -> Finding:
    version = _version("torch")
    if version is None:
        return Finding("torch", "broken", "not installed", "install torch >= 2.11")
    if _numbers(version) < TORCH_MINIMUM:
        follows = f'backend="epiq" needs torch >= {_dotted(TORCH_MINIMUM)}'
        return Finding("torch", "broken", version, follows)
    import torch

    if torch.version.cuda is None:
        return Finding("torch", "ok", f"{version}, CPU build", "models run and are checked on the CPU")
    return Finding("torch", "ok", f"{version}, CUDA {torch.version.cuda}", "supported")


def check_backend() -> Finding:
    group = importlib.metadata.entry_points(group="torch_dynamo_backends")
    if any(entry.name == "epiq" for entry in group):
        return Finding("backend", "ok", "entry point", 'torch.compile(backend="epiq") needs no import')
    follows = "epiq is not installed (only on the path): import epiq.backend and pass its function"
    return Finding("backend", "limited", "no entry point", follows)


def check_triton() -> Finding:
    version = _version("triton")
    if version is None:
        follows = f"no PTX and no GPU kernels: install triton {_dotted(TRITON_VERSION)}"
        return Finding("triton", "limited", "not installed", follows)
    if _numbers(version) != TRITON_VERSION:
        follows = f"not supported for compiling: kernels are compiled with {_dotted(TRITON_VERSION)}"
        return Finding("triton", "limited", version, follows)
    return Finding("triton", "ok", version, "PTX and cubin for sm_90a and sm_100a, with or without a GPU")


def check_compiler() -> Finding:
    name = os.environ.get("CC") or next((n for n in ("gcc", "clang", "cc") if shutil.which(n)), None)
    has_cxx = shutil.which("g++") or shutil.which("clang++")
    if name is None:
        follows = "Triton cannot build its launcher: no kernel can be started on a GPU"
        return Finding("compiler", "limited", "no C compiler", follows)
    if not has_cxx:
        follows = "Inductor cannot compile for the CPU: torch.compile works on GPU tensors only"
        return Finding("compiler", "limited", f"{name}, no C++ compiler", follows)
    found = f"{name}, {Path(has_cxx).name}"
    return Finding("compiler", "ok", found, "launchers and Inductor's CPU code can be built")


def check_gpu() -> Finding:
    without = "groups run in the executor: exact and slow"
    if _version("torch") is None:
        return Finding("gpu", "limited", "torch is missing", without)
    import torch

    if not torch.cuda.is_available():
        return Finding("gpu", "limited", "none", f"{without}; compiling to PTX works")
    from epiq.codegen import SUPPORTED, Target

    name = torch.cuda.get_device_name()
    major, minor = torch.cuda.get_device_capability()
    found = f"{name}, sm_{major}{minor}, {torch.cuda.device_count()} device(s)"
    if Target.current() is None:
        known = ", ".join(f"sm_{arch}a" for arch in SUPPORTED)
        return Finding("gpu", "limited", found, f"not supported (known: {known}); left to Inductor")
    return Finding("gpu", "ok", found, "fused kernels run on it")


def check_cache() -> Finding:
    from epiq.codegen import cache_dir

    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        follows = "every process compiles its kernels again; set EPIQ_CACHE_DIR to a writable folder"
        return Finding("cache", "limited", f"{folder}: {error.strerror}", follows)
    return Finding("cache", "ok", str(folder), "kernels are compiled once")


def check_options() -> Finding:
    from epiq.config import from_environment, unknown_variables

    try:
        found = from_environment()
    except (ValueError, TypeError) as error:
        return Finding("options", "broken", str(error), "every compilation fails with this message")
    unknown = unknown_variables()
    if unknown:
        follows = "ignored: README.md lists the options, EPIQ_<NAME> sets one"
        return Finding("options", "limited", f"unknown: {', '.join(unknown)}", follows)
    listed = ", ".join(f"{name}={value!r}" for name, value in found.items())
    return Finding(
        "options", "ok", listed or "defaults", "options of torch.compile and epiq.config come first"
    )


def _guarded(check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except Exception as error:  # A broken installation fails in ways of its own; say which.
        item = check.__name__.removeprefix("check_")
        return Finding(item, "broken", f"{type(error).__name__}: {error}", "reinstall epiq")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, int]:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
