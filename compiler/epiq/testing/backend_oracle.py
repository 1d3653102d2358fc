"""The whole way of a user: `torch.compile(model, backend="epiq")`, with Inductor around the programs."""

from __future__ import annotations

import traceback
from typing import Any

import torch

from epiq.runtime.bits import bit_difference
from epiq.testing import ops
from epiq.testing.compare import outside, same_form
from epiq.testing.graphs import trace
from epiq.testing.oracle import Finding, FoundError, Outcome, note_record
from epiq.testing.perturb import Perturbed
from epiq.testing.recipe import Recipe

# Inductor keeps what it fuses in f32, where eager rounds to bf16.
_ERROR = 2.0**-8
_RUNS = 6


def check_backend(recipe: Recipe, device: str, outcome: Outcome) -> None:
    """Compiles and runs `recipe`; near eager is all that can be asked. Raises: FoundError."""
    from epiq.frontend.record import recording

    ops.register()
    inputs = recipe.make_inputs(device=device)
    try:
        wanted = recipe.function()(*inputs)
        traced = trace(recipe, inputs, plain=True)
        perturbed = [
            traced.run(Perturbed(traced.gm, seed, _ERROR, everywhere=True).run, inputs)
            for seed in range(_RUNS)
        ]
    except Exception as error:
        outcome.skipped = f"{type(error).__name__}: {error}".split("\n")[0]
        return
    outcome.nodes = sum(node.op == "call_function" for node in traced.gm.graph.nodes)
    torch._dynamo.reset()
    options: dict[str, Any] = {"epiq.strict": True, "epiq.autotune": "off"}
    try:
        with torch.no_grad(), recording() as records:
            compiled = torch.compile(
                recipe.function(), backend="epiq", options=options, dynamic=recipe.dynamic, fullgraph=True
            )
            found = compiled(*inputs)
    except Exception as error:
        if "epiq" not in traceback.format_exc().replace("epiq/testing", ""):
            outcome.skipped = f"Inductor: {type(error).__name__}"
            return
        message = f"{type(error).__name__} in the backend: {str(error).strip().splitlines()[0]}"
        raise FoundError(Finding("error", message, traceback.format_exc())) from error
    outcome.runs += 1
    for record in records:
        note_record(record, outcome)
    for index, (a, b) in enumerate(zip(found, wanted, strict=True)):
        if difference := same_form(a, b):
            raise FoundError(Finding("form", f"compiled result {index} has {difference}"))
        if outside(a, b, [each[index] for each in perturbed]):
            unequal = bit_difference(a, b)
            raise FoundError(Finding("eager", f"compiled result {index} ({a.dtype}): {unequal}"))
