"""Triton IR in, PTX and cubin out, through the cache."""

from __future__ import annotations

import functools
import importlib.metadata
import json
from dataclasses import dataclass
from typing import Any

from epiq.codegen import triton_stages
from epiq.codegen.cache import kernel_cache, key_of
from epiq.codegen.child import TIMEOUT_S, compile_in_child
from epiq.codegen.errors import CompileError
from epiq.codegen.target import Target

# Raised when what this package does between the text and the cubin changes.
_REVISION = 1
_SECTIONS = {"metadata", "ttir", "ptx", "cubin"}


@dataclass(frozen=True)
class Compiled:
    """A kernel for one target; `num_warps` and `shared` are as compiled, not as asked."""

    name: str
    target: Target
    ttir: str
    ptx: str
    cubin: bytes
    metadata: dict[str, Any]
    key: str

    @property
    def num_warps(self) -> int:
        """Warps a program runs with; warp specialization adds to those asked for."""
        return int(self.metadata["num_warps"])

    @property
    def shared(self) -> int:
        """Bytes of shared memory a program takes."""
        return int(self.metadata["shared"])

    @property
    def signature(self) -> tuple[str, ...]:
        """Types of the arguments as Triton's launcher names them: "*bf16", "i32", "i64", "fp32"."""
        return tuple(self.metadata["signature"])


def compile_ttir(
    text: str,
    target: Target,
    *,
    num_warps: int,
    num_stages: int = 1,
    isolate: bool = False,
    exact: bool = True,
    use_cache: bool = True,
    timeout_s: float = TIMEOUT_S,
) -> Compiled:
    """Compiles a module with one public tt.func; needs no GPU.

    Args: text: Triton IR as the installed Triton parses it. isolate: compile in a child process, which IR
      that we did not generate and verify needs. exact: no contraction of multiply and add into fma, which
      would make the rounding of a value depend on what is fused with it. timeout_s: of the child.
    Raises: TypeError, ValueError for bad arguments; CompileError with Triton's message when it refuses the
      IR.
    """
    _check_arguments(text, target, num_warps, num_stages)
    options = {"num_warps": num_warps, "num_stages": num_stages, "enable_fp_fusion": not exact}
    facts = {"revision": _REVISION, "text": text, "arch": target.arch, "options": options}
    key = key_of(facts | environment(target.arch))
    cache = kernel_cache()
    sections = cache.get(key) if use_cache else None
    if sections is None or not sections.keys() >= _SECTIONS:
        sections = _sections(_compile(text, target.arch, options, isolate, timeout_s))
        if use_cache:
            cache.put(key, sections)
    metadata = json.loads(sections["metadata"])
    return Compiled(
        name=metadata["name"],
        target=target,
        ttir=sections["ttir"].decode(),
        ptx=sections["ptx"].decode(),
        cubin=sections["cubin"],
        metadata=metadata,
        key=key,
    )


def _check_arguments(text: str, target: Target, num_warps: int, num_stages: int) -> None:
    if not isinstance(text, str):
        raise TypeError(f"text must be a string of Triton IR, got {type(text).__name__}")
    if not isinstance(target, Target):
        raise TypeError(f"target must be a Target, got {type(target).__name__}")
    if num_warps not in (1, 2, 4, 8, 16, 32):
        raise ValueError(f"num_warps must be a power of two from 1 to 32, got {num_warps}")
    if num_stages < 1:
        raise ValueError(f"num_stages must be at least 1, got {num_stages}")


def _compile(
    text: str, arch: int, options: dict[str, Any], isolate: bool, timeout_s: float
) -> dict[str, Any]:
    if isolate:
        return compile_in_child(text, arch, options, timeout_s)
    try:
        return triton_stages.compile_text(text, arch, options)
    except triton_stages.StageError as error:
        # Triton prints its diagnostics where we cannot read them; a child says them again.
        try:
            compile_in_child(text, arch, options, timeout_s)
        except CompileError as explained:
            raise explained from error
        raise CompileError(f"triton refused the IR in stage {error}") from error


def _sections(results: dict[str, Any]) -> dict[str, bytes]:
    return {
        "metadata": json.dumps(results["metadata"], sort_keys=True).encode(),
        "ttir": results["ttir"].encode(),
        "ptx": results["ptx"].encode(),
        "cubin": results["cubin"],
    }


@functools.cache
def epiq_version() -> str:
    """The installed version of this package, or "source" where it runs from a tree."""
    try:
        return importlib.metadata.version("epiq")
    except importlib.metadata.PackageNotFoundError:
        return "source"


def environment(arch: int) -> dict[str, object]:
    """What shapes a kernel besides text and options: versions, and variables that Triton reads."""
    import triton
    from triton._C.libtriton import get_cache_invalidating_env_vars

    return {
        "triton": triton.__version__,
        "epiq": epiq_version(),
        "ptxas": _backend_hash(arch),
        "environment": dict(get_cache_invalidating_env_vars()),
    }


@functools.cache
def _backend_hash(arch: int) -> str:
    from triton.backends.compiler import GPUTarget
    from triton.compiler.compiler import make_backend

    return str(make_backend(GPUTarget("cuda", arch, 32)).hash())
