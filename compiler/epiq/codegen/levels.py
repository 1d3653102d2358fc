"""Writes what a row program becomes to a folder: graph IR, Triton IR, and PTX for each target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from epiq.codegen.compile import Compiled, compile_ttir
from epiq.codegen.target import Target
from epiq.pipeline import RowProgram, Schedule, lower


@dataclass(frozen=True)
class Levels:
    """The files of one program, and the kernels they hold, in the order of the targets."""

    files: tuple[Path, ...]
    kernels: tuple[Compiled, ...]


def dump(program: RowProgram, folder: Path | str, targets: Sequence[Target], schedule: Schedule) -> Levels:
    """Compiles a row program for each target and writes each level.

    Files, by the program's name: NAME.epiq.mlir, the row program; NAME.ttir, Triton IR as lowered, or
    NAME.sm_90a.ttir where it differs between the targets; NAME.sm_90a.clean.ttir, the same after Triton's
    cleanup; NAME.sm_90a.ptx; NAME.sm_90a.cubin.
    Raises: OSError if the folder cannot be written, CompileError if Triton refuses the IR.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    texts = {target: lower(program, schedule, target=target) for target in targets}
    contents: dict[str, str | bytes] = {f"{program.name}.epiq.mlir": program.ir}
    is_common = len(set(texts.values())) == 1
    kernels = []
    for target, text in texts.items():
        contents[f"{program.name}.ttir" if is_common else f"{program.name}.{target.name}.ttir"] = text
        compiled = compile_ttir(text, target, num_warps=schedule.num_warps, num_stages=schedule.num_stages)
        kernels.append(compiled)
        stem = f"{program.name}.{target.name}"
        contents[f"{stem}.clean.ttir"] = compiled.ttir
        contents[f"{stem}.ptx"] = compiled.ptx
        contents[f"{stem}.cubin"] = compiled.cubin
    files = []
    for name, content in contents.items():
        path = folder / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content)
        files.append(path)
    return Levels(tuple(files), tuple(kernels))
