"""Runs Triton's stages from Triton IR to cubin, here or, as a script, in a child process.

Triton's own `triton.compile` skips its cleanup of Triton IR when given text, so the stages are run one by
one. This file imports nothing of epiq and no torch: a child that compiles starts with it alone.

As a script: reads request.json and kernel.ttir in the current folder, writes result.json,
kernel.cleaned.ttir, kernel.ptx and kernel.cubin, or an `error` in result.json; what Triton prints goes to
stderr.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

# Facts about the compiled kernel that launching and reports need. Absent ones are left out.
METADATA = (
    "name",
    "arch",
    "num_warps",
    "num_ctas",
    "num_stages",
    "enable_fp_fusion",
    "shared",
    "tmem_size",
    "global_scratch_size",
    "global_scratch_align",
    "profile_scratch_size",
    "profile_scratch_align",
    "launch_cooperative_grid",
    "launch_pdl",
    "tensordesc_meta",
)
# The folder that debug information names; PTX lines refer to epiq/kernel.ttir.
_DEBUG_FOLDER = "epiq"


class StageError(Exception):
    """A stage failed; the message names it."""


def run_stages(path: str, arch: int, options: dict[str, Any]) -> dict[str, Any]:
    """Compiles the Triton IR in the file.

    Args: path: a file that ends in .ttir, for there Triton's parser looks. options: Triton's, by its names.
    Returns: ttir (after cleanup), ptx: str; cubin: bytes; metadata: plain JSON values, with `signature`, the
      types of the function's arguments as Triton spells them.
    Raises: StageError; but Triton aborts the process on some malformed IR.
    """
    from triton._C.libtriton import ir
    from triton.backends.compiler import GPUTarget, Language
    from triton.compiler.compiler import make_backend

    backend = make_backend(GPUTarget("cuda", arch, 32))
    context = ir.context()
    ir.load_dialects(context)
    backend.load_dialects(context)
    stage = "parse"
    try:
        module = ir.parse_mlir_module(path, context)
        module.context = context
        entry = module.get_function(module.get_entry_func_name())
        signature = [_argument_type(kind) for kind in module.get_function_signature(entry)]
        parsed = backend.parse_options(dict(options))
        stages: dict[str, Any] = {}
        backend.add_stages(stages, parsed, Language.TRITON)
        metadata: dict[str, Any] = {**parsed.__dict__, "target": GPUTarget("cuda", arch, 32)}
        results: dict[str, Any] = {}
        value: Any = module
        for stage, run in stages.items():
            value = run(value, metadata)
            if stage == "ttir":
                results["ttir"] = value.str_nodebug()
            elif stage == "llir":
                # The text's folder is a temporary one: in debug information it would make each compile
                # differ.
                value = value.replace(os.path.dirname(path), _DEBUG_FOLDER)
            elif stage in ("ptx", "cubin"):
                results[stage] = value
    except Exception as error:  # Triton raises RuntimeError, its own errors and AssertionError alike.
        raise StageError(f"{stage}: {error}") from error
    facts = {name: metadata[name] for name in METADATA if name in metadata}
    results["metadata"] = {**json.loads(json.dumps(facts, default=str)), "signature": signature}
    return results


def _argument_type(printed: str) -> str:
    """Triton's launcher calls f16 and f64 arguments fp16 and fp64, but its IR does not."""
    return {"f16": "fp16", "f32": "fp32", "f64": "fp64"}.get(printed, printed)


def compile_text(text: str, arch: int, options: dict[str, Any]) -> dict[str, Any]:
    """`run_stages` on text."""
    with tempfile.TemporaryDirectory(prefix="epiq-") as folder:
        path = os.path.join(folder, "kernel.ttir")
        Path(path).write_text(text)
        return run_stages(path, arch, options)


def main() -> int:
    """The child process."""
    request = json.loads(Path("request.json").read_text())
    try:
        results = run_stages(os.path.abspath("kernel.ttir"), request["arch"], request["options"])
    except StageError as error:
        Path("result.json").write_text(json.dumps({"error": str(error)}))
        return 1
    Path("kernel.cleaned.ttir").write_text(results["ttir"])
    Path("kernel.ptx").write_text(results["ptx"])
    Path("kernel.cubin").write_bytes(results["cubin"])
    Path("result.json").write_text(json.dumps({"metadata": results["metadata"]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
