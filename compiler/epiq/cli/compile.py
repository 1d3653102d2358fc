"""`epiq compile`: a user's function, or Triton IR, to PTX and cubin; needs no GPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from epiq.cli.console import console

if TYPE_CHECKING:
    from epiq.codegen import Target

_SOURCE_HELP = (
    "FILE.py:NAME, a function or nn.Module whose inputs come from a function of no arguments in the same "
    "file (NAME_inputs, inputs or example_inputs, returning a tuple; tensors may be fake, meta, on any "
    "device); or FILE.ttir, Triton IR with one public function, compiled in a child process."
)


def compile_(
    source: Annotated[str, typer.Argument(help=_SOURCE_HELP)],
    target: Annotated[list[str], typer.Option(help="sm_90a or sm_100a; may be repeated.")] = ["sm_90a"],  # noqa: B006
    out: Annotated[Path, typer.Option(help="Folder for the IR of each level, PTX and cubin.")] = Path(
        "epiq-out"
    ),
    num_warps: Annotated[int, typer.Option(help="Warps a program, for .ttir only.")] = 4,
    num_stages: Annotated[int, typer.Option(help="Pipeline stages, for .ttir only.")] = 3,
) -> None:
    """Compile to PTX and cubin for a target, on any machine, and write the IR of each level."""
    from epiq.codegen import Target

    targets = [Target.parse(name) for name in dict.fromkeys(target)]
    if source.endswith(".ttir"):
        _compile_ttir(Path(source), targets, out, num_warps, num_stages)
    else:
        _compile_function(source, targets, out)


def _compile_function(spec: str, targets: list[Target], out: Path) -> None:
    from epiq.cli.user_code import load_user_code
    from epiq.cli.write_levels import kernels_table, write_kernels, write_stages
    from epiq.cli.write_products import write_products
    from epiq.frontend import capture
    from epiq.report import report_of
    from epiq.report.text import render

    code = load_user_code(spec)
    graphs = capture(code.function, *code.inputs)
    report = report_of(graphs)
    console.print(render(report))
    stages = write_stages(graphs, out)
    if not report.kernels:
        console.print(Text(f"compile: nothing to fuse in {spec}; wrote {len(stages)} files to {out}"))
        return
    written = [*write_kernels(graphs, out, targets), *write_products(graphs, out, targets)]
    console.print(kernels_table(written))
    count = len(list(out.rglob("*.*")))
    console.print(Text(f"compile: {len(written)} kernels for {_names(targets)}; {count} files in {out}"))


def _compile_ttir(path: Path, targets: list[Target], out: Path, num_warps: int, num_stages: int) -> None:
    from epiq import ir
    from epiq.cli.write_levels import Written, kernels_table
    from epiq.codegen import compile_ttir, ptxas_report

    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    # Verified by us first: Triton aborts on some malformed IR, so it only sees it in a child process.
    module = ir.parse(path.read_text(), filename=str(path))
    text = ir.print_triton(module, triton_version())
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for target in targets:
        compiled = compile_ttir(text, target, num_warps=num_warps, num_stages=num_stages, isolate=True)
        stem = f"{path.stem}.{target.name}"
        (out / f"{stem}.clean.ttir").write_text(compiled.ttir)
        (out / f"{stem}.ptx").write_text(compiled.ptx)
        (out / f"{stem}.cubin").write_bytes(compiled.cubin)
        written.append(Written(stem, compiled, ptxas_report(compiled)))
    console.print(kernels_table(written))
    console.print(Text(f"compile: {path.name} for {_names(targets)}; {3 * len(written)} files in {out}"))


def triton_version() -> str:
    """The syntax that the installed Triton reads: "3.6" up to 3.8, "3.9" from there on."""
    import importlib.metadata

    major, minor = importlib.metadata.version("triton").split(".")[:2]
    return "3.9" if (int(major), int(minor)) >= (3, 9) else "3.6"


def _names(targets: list[Target]) -> str:
    return ", ".join(target.name for target in targets)
