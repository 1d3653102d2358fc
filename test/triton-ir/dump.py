"""Writes the TTIR of the corpus as the Triton on PYTHONPATH prints it.

Run as `python dump.py OUTPUT_DIR`; writes NAME.sm90.ttir, and NAME.sm90.raw.ttir before
Triton's own cleanup, for each case of this Triton's version.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "corpus"))

MODULES = ("memory", "compute", "control")


class Driver:
    """Stands for a GPU where the front end asks for the current one."""

    def __init__(self, target: Any) -> None:
        self.target = target

    def get_current_target(self) -> Any:
        return self.target


def make(case: Any, arch: int) -> tuple[str, str]:
    """Returns the TTIR of a case as the front end gives it, and after Triton's cleanup."""
    from triton._C.libtriton import ir
    from triton.backends.compiler import GPUTarget
    from triton.compiler.compiler import ASTSource, make_backend
    from triton.runtime import driver

    target = GPUTarget("cuda", arch, 32)
    driver.set_active(Driver(target))
    backend = make_backend(target)
    names = case.kernel.arg_names
    signature = {n: "constexpr" if n in case.constants else case.signature[n] for n in names}
    attrs = {(i,): [["tt.divisibility", 16]] for i, n in enumerate(names) if signature[n].startswith("*")}
    source = ASTSource(case.kernel, signature, constexprs=case.constants, attrs=attrs)
    options = backend.parse_options(dict(case.options))
    context = ir.context()
    ir.load_dialects(context)
    backend.load_dialects(context)
    codegen = backend.get_codegen_implementation(options)
    module = source.make_ir(target, options, codegen, backend.get_module_map(), context)
    raw = module.str()
    cleaned = backend.make_ttir(module, {}, options, arch)
    return raw, cleaned.str()


def main() -> None:
    import triton

    version = ".".join(triton.__version__.split(".")[:2])
    for name in MODULES:
        importlib.import_module(name)
    from case import CASES

    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for case in CASES.values():
        if version not in case.versions:
            continue
        for arch in case.archs:
            raw, cleaned = make(case, arch)
            (out / f"{case.name}.sm{arch}.raw.ttir").write_text(raw)
            (out / f"{case.name}.sm{arch}.ttir").write_text(cleaned)


if __name__ == "__main__":
    main()
