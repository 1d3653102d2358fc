"""The demo's part for a GPU: full-width layers, timed against Inductor."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from rich.table import Table
from rich.text import Text

from epiq.cli.console import console
from epiq.cli.demo_check import Check
from epiq.cli.example_model import load_example
from epiq.report.compare import Comparison, compare


def time_layers(
    batch: int, seq_len: int, layer_counts: Sequence[int]
) -> tuple[dict[int, Comparison], list[Check]]:
    """Comparisons by number of layers, and a check of each."""
    llama = load_example()
    torch.manual_seed(0)
    model = llama.Llama(llama.LLAMA_3_8B, num_layers=max(layer_counts), device="cuda")
    inputs = llama.example_inputs(model, batch, seq_len)
    every_layer = model.layers
    timed, checks = {}, []
    for count in layer_counts:
        model.layers = every_layer[:count]
        comparison = compare(model, inputs, profile=False)
        timed[count] = comparison
        checks.append(_check(count, comparison))
        for side in comparison.sides.values():
            if side.error:
                console.print(Text(f"{side.name}, {count} layers: {side.error}", style="red"))
    return timed, checks


def times_table(timed: dict[int, Comparison]) -> Table:
    """Medians with p10 and p90."""
    table = Table(
        title="microseconds a call, median (p10-p90); compiled sides as CUDA graphs, interleaved, L2 warm",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for column in ("layers", "eager", "inductor", "epiq", "Inductor / epiq"):
        table.add_column(column, justify="right")
    for count, comparison in timed.items():
        cells = [str(count)]
        for side in comparison.sides.values():
            timing = side.timing
            cells.append(
                f"{timing.median_us:.0f} ({timing.p10_us:.0f}-{timing.p90_us:.0f})" if timing else "failed"
            )
        speedup = comparison.speedup()
        table.add_row(*cells, f"{speedup:.3f}x" if speedup else "-")
    return table


def summary(timed: dict[int, Comparison]) -> str:
    """`4 layers 1.234x Inductor`, of the largest number of layers."""
    count = max(timed)
    speedup = timed[count].speedup()
    return f"{count} layers {speedup:.3f}x Inductor" if speedup else f"{count} layers not timed"


def _check(count: int, comparison: Comparison) -> Check:
    ours, theirs = comparison.sides["epiq"].rel_l2, comparison.sides["inductor"].rel_l2
    measured = "did not run" if ours is None else f"|y - eager| / |eager| = {ours:.1e}"
    allowed = "twice Inductor's" if theirs is None else f"twice Inductor's {theirs:.1e}"
    return Check(f"output of {count} layers on the GPU", measured, allowed, comparison.ok)
