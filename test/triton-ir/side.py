"""Runs beside one Triton release: parses files, or compiles them to PTX.

`python side.py parse OUT.json FILE...` writes {file: error or ""};
`python side.py ptx OUT.json SPEC...` with SPEC = FILE@ARCH@REPEATS writes {spec: [ptx, ...]},
without debug lines, each text once.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

os.environ["TRITON_DISABLE_LINE_INFO"] = "1"

SHARED_WITH_DEBUG = ("\t.loc", "\t.file", "//", "$L__tmp", "$L__func")


def load(path: str, arch: int) -> tuple[Any, Any, Any]:
    """Parses a file. Returns the module, its backend and its context, which must outlive it."""
    from triton._C.libtriton import ir
    from triton.backends.compiler import GPUTarget
    from triton.compiler.compiler import make_backend

    context = ir.context()
    ir.load_dialects(context)
    backend = make_backend(GPUTarget("cuda", arch, 32))
    backend.load_dialects(context)
    module = ir.parse_mlir_module(path, context)
    module.context = context
    return module, backend, context


def strip(ptx: str) -> str:
    """Drops debug lines and comments."""
    code = ptx.split("\t.section\t.debug")[0]
    lines = (line.split("//")[0].rstrip() for line in code.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith(SHARED_WITH_DEBUG))


# The warp-specialized files fit no processor with Triton's default of four warps.
OPTIONS = {"num_warps": 8, "num_stages": 3}


def compile_ptx(path: str, arch: int) -> str:
    """PTX of one TTIR file, debug lines stripped; "refused" where Triton's own passes fail on it."""
    from triton.compiler.compiler import Language

    module, backend, _ = load(path, arch)
    options = backend.parse_options(dict(OPTIONS))
    stages: dict[str, Any] = {}
    backend.add_stages(stages, options, Language.TRITON)
    metadata: dict[str, Any] = {"target": backend.target, **options.__dict__}
    for name, stage in stages.items():
        try:
            module = module if name == "ttir" else stage(module, metadata)
        except RuntimeError:
            return "refused"
        if name == "ptx":
            return strip(str(module))
    raise AssertionError(f"no ptx among {list(stages)}")


def parse(path: str) -> str:
    try:
        load(path, 90)
    except RuntimeError as error:
        return str(error)
    return ""


def main() -> None:
    action, out, *names = sys.argv[1:]
    result: dict[str, Any] = {}
    for name in names:
        if action == "parse":
            result[name] = parse(name)
            continue
        path, arch, repeats = name.rsplit("@", 2)
        result[name] = sorted({compile_ptx(path, int(arch)) for _ in range(int(repeats))})
    with open(out, "w") as file:
        json.dump(result, file)


if __name__ == "__main__":
    main()
