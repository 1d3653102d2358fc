"""Writes the fused kernels of matrix products to a folder, for one or more targets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from epiq.cli.write_levels import Written

if TYPE_CHECKING:
    from epiq.codegen import Compiled, Target
    from epiq.frontend import CompilationRecord
    from epiq.runtime.produced import ProducedGroup


def write_products(
    graphs: Iterable[CompilationRecord], folder: Path, targets: Sequence[Target]
) -> list[Written]:
    """Compiles a kernel of each kind for each group of a product and a row program.

    Files: NAME.epiq.mlir, what is computed of a tile; NAME.TRITON.sm_90a.ttir, or .ttgir of a Gluon kernel,
    .ptx and .cubin, TRITON being the kind of kernel.
    Raises: epiq.codegen.CompileError if Triton refuses a kernel, OSError for the folder.
    """
    from epiq.codegen import ptxas_report

    written = []
    for group in _groups(graphs):
        parts = group.parts
        program = parts.tile.program if parts.tail is not None else parts.whole.program
        name = re.sub(r"\W", "_", f"{parts.producer.name}_{program.name}")
        (folder / f"{name}.epiq.mlir").write_text(parts.tile.program.ir)
        for target in targets:
            for label, compiled in parts.producer.compile_ahead(parts.tile, parts.stand_ins, target):
                kind = label.split()[0]
                stem = f"{name}.{kind}.{target.name}"
                _write(folder, stem, "ttgir" if kind == "gluon" else "ttir", compiled)
                written.append(Written(stem, compiled, ptxas_report(compiled)))
    return written


def _write(folder: Path, stem: str, level: str, compiled: Compiled) -> None:
    (folder / f"{stem}.{level}").write_text(compiled.ttir)
    (folder / f"{stem}.ptx").write_text(compiled.ptx)
    (folder / f"{stem}.cubin").write_bytes(compiled.cubin)


def _groups(graphs: Iterable[CompilationRecord]) -> list[ProducedGroup]:
    """The groups by key: layers of a model share them."""
    from epiq.runtime.produced import ProducedGroup
    from epiq.runtime.registry import lookup

    keys = dict.fromkeys(joined.key for graph in graphs for joined in graph.joined if joined.key)
    return [group for group in map(lookup, keys) if isinstance(group, ProducedGroup)]
