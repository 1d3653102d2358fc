"""Triton IR to PTX and cubin for a target, with or without a GPU at hand; and launching the result."""

from epiq.codegen.cache import cache_dir, kernel_cache
from epiq.codegen.compile import Compiled, compile_ttir
from epiq.codegen.errors import CompileError, LaunchError
from epiq.codegen.launch import Kernel, load, load_with_descriptors
from epiq.codegen.resources import Resources, ptxas_report, sass
from epiq.codegen.target import SUPPORTED, Target

__all__ = [
    "SUPPORTED",
    "CompileError",
    "Compiled",
    "Kernel",
    "LaunchError",
    "Resources",
    "Target",
    "cache_dir",
    "compile_ttir",
    "kernel_cache",
    "load",
    "load_with_descriptors",
    "ptxas_report",
    "sass",
]
