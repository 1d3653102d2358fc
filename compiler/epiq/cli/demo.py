"""`epiq demo`: a decoder layer through every stage, checked, and timed where there is a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from epiq.cli.console import Progress, console

if TYPE_CHECKING:
    from epiq.cli.demo_check import Check
    from epiq.frontend import CompilationRecord
    from epiq.report import Report

BATCH, SEQ_LEN = 4, 2048
TARGETS = ("sm_90a", "sm_100a")


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the IR of each level, PTX and cubin.")] = Path(
        "epiq-demo"
    ),
    layers: Annotated[int, typer.Option(help="Decoder layers timed on a GPU.", min=1)] = 4,
    gpu: Annotated[bool, typer.Option(help="Run and time on the GPU, if there is one.")] = True,
) -> None:
    """Compile a Llama-3-8B-shaped decoder layer with FP8 linears: report, IR, PTX, a check, times.

    The layer is traced with fake tensors, so no machine is too small. A narrow layer is then run
    and compared with eager, on the CPU through the executor. With a Hopper GPU the full-width
    layers run as well and are timed against Inductor. Exit code 1 when a check fails.
    """
    from epiq.cli import demo_check, demo_gpu
    from epiq.codegen import Target

    on_gpu = gpu and Target.current() is not None
    progress = Progress(5 if on_gpu else 4)
    with progress.step(
        f"trace one decoder layer, hidden 4096, {BATCH} x {SEQ_LEN} tokens, fake tensors"
    ) as notes:
        graphs = trace_layer()
        notes.append(f"{len(graphs)} graph")
    report = print_report(graphs)
    with progress.step(f"compile its kernels for {' and '.join(TARGETS)}") as notes:
        notes.append(compile_all(graphs, out))
    with progress.step("check add + RMSNorm + quantize against eager, on the CPU") as notes:
        checks = demo_check.check_quantized_norm()
        notes.append("executor")
    with progress.step("check a narrow decoder layer against eager, on the CPU") as notes:
        checks += demo_check.check_layer()
        notes.append("executor and Inductor")
    print_checks(checks)
    speedups = ""
    if on_gpu:
        with progress.step(f"run and time 1 and {layers} layers on the GPU, eager, Inductor, epiq"):
            timed, more = demo_gpu.time_layers(BATCH, SEQ_LEN, sorted({1, layers}))
        console.print(demo_gpu.times_table(timed))
        checks += more
        speedups = demo_gpu.summary(timed)
    finish(report, checks, out, speedups, progress.seconds())


def trace_layer() -> list[CompilationRecord]:
    """One full-width layer through Dynamo, the importer and the graph passes; allocates nothing."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    from epiq.cli.example_model import load_example
    from epiq.frontend import capture

    llama = load_example()
    with FakeTensorMode(), torch.no_grad():
        model = llama.Llama(llama.LLAMA_3_8B, num_layers=1, device="cuda")
        graphs: list[CompilationRecord] = capture(model, *llama.example_inputs(model, BATCH, SEQ_LEN))
    return graphs


def print_report(graphs: list[CompilationRecord]) -> Report:
    from epiq.report import report_of
    from epiq.report.text import render

    report = report_of(graphs)
    console.print()
    console.print(render(report))
    console.print()
    return report


def compile_all(graphs: list[CompilationRecord], out: Path) -> str:
    from epiq.cli.write_levels import kernels_table, write_kernels, write_stages
    from epiq.codegen import Target

    write_stages(graphs, out)
    written = write_kernels(graphs, out, [Target.parse(name) for name in TARGETS])
    console.print(kernels_table(written))
    files = sum(path.is_file() for path in out.rglob("*"))
    return f"{len(written)} kernels, {files} files in {out}"


def print_checks(checks: list[Check]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("", "check", "measured", "allowed"):
        table.add_column(column, overflow="fold")
    for check in checks:
        mark = Text("ok", style="green") if check.passed else Text("off", style="red")
        table.add_row(mark, Text(check.what), Text(check.measured), Text(check.allowed))
    console.print()
    console.print(table)
    console.print()


def finish(report: Report, checks: list[Check], out: Path, speedups: str, seconds: float) -> None:
    from epiq.report.text import totals

    failed = [check.what for check in checks if not check.passed]
    fused = sum(q.fused for q in report.quantizations)
    facts = [
        f"{fused} of {len(report.quantizations)} quantizations fused",
        totals(report),
        f"{len(checks) - len(failed)} of {len(checks)} checks passed",
        f"files in {out}",
    ]
    if speedups:
        facts.append(speedups)
    console.print(Text(f"demo: {'; '.join(facts)}; {seconds:.0f} s", style="bold"), soft_wrap=True)
    # One that is not fused has its reason in the table; none at all means that nothing was recognized.
    if failed or not fused:
        raise typer.Exit(1)
