"""The fuzzer finds what is planted, makes it small, survives a crash, and runs clean for a while."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from epiq.runtime.bits import bit_difference
from epiq.testing import oracle
from epiq.testing.compare import outside, same_form
from epiq.testing.generate import random_recipe, variants
from epiq.testing.graphs import Traced
from epiq.testing.oracle import Traces, check
from epiq.testing.recipe import Input, Recipe, Step
from epiq.testing.script import script
from epiq.testing.session import Session
from epiq.testing.shrink import shrink

# Changed now and then, so that the suite sees other graphs; the families of a release stay reproducible.
FIRST_SEED = 7_000_000


def small() -> Recipe:
    """A norm whose result is quantized and read again."""
    return Recipe(
        inputs=(Input("x0", ("T", "K"), "bfloat16"), Input("x1", ("K",), "bfloat16", "weight")),
        steps=(
            Step(("v0",), "{0} + {0}", ("x0",), "x + x"),
            Step(("v1",), "F.rms_norm({0}, ({0}.shape[-1],), {1}, 1e-5)", ("v0", "x1"), "norm"),
            Step(
                ("v2", "v3"), "quantize({}, formats.FP8_GROUP64)", ("v1",), "quantize fp8_group64 row_major"
            ),
            Step(("v4",), "torch.tanh({})", ("v1",), "tanh"),
        ),
        outputs=("v2", "v3", "v4"),
        sizes={"T": 5, "K": 128},
    )


def test_a_short_run_is_clean() -> None:
    """Ten families: what torch runs, runs fused with the bits of unfused."""
    checked = groups = 0
    for seed in range(FIRST_SEED, FIRST_SEED + 10):
        base = random_recipe(seed)
        shared = base, Traces(base)
        for recipe in variants(base, seed, 3):
            outcome = check(recipe, shared=shared)
            assert outcome.finding is None, f"seed {seed}: {outcome.finding}\n{recipe.source()}"
            checked += not outcome.skipped
            groups += outcome.groups > 0
    assert checked >= 25
    assert groups >= checked * 0.6


def test_recipes_are_the_same_for_a_seed_and_survive_json() -> None:
    for seed in range(20):
        recipe = random_recipe(seed)
        assert recipe == random_recipe(seed)
        assert Recipe.from_json(recipe.to_json()) == recipe


def test_graphs_are_large_and_mostly_quantize() -> None:
    recipes = [variant for seed in range(60) for variant in variants(random_recipe(seed), seed, 4)]
    lines = sorted(len(recipe.steps) for recipe in recipes)
    assert lines[len(lines) // 2] >= 8
    assert any(recipe.dynamic for recipe in recipes)


def test_a_wrong_bit_is_found_and_shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the fused graph gives one value of every e4m3 result another last bit."""
    run = Traced.run

    def wrong(self: Traced, gm: object, inputs: object) -> tuple[torch.Tensor, ...]:
        found = list(run(self, gm, inputs))
        calls = [str(node.target) for node in getattr(gm, "graph", self.gm.graph).nodes]
        for index, x in enumerate(found):
            if x.dtype == torch.float8_e4m3fn and calls.count("epiq.row_program.default") == 1:
                found[index] = (x.view(torch.uint8) ^ (torch.arange(x.numel()).view(x.shape) == 3)).view(
                    x.dtype
                )
        return tuple(found)

    monkeypatch.setattr(Traced, "run", wrong)
    finding = check(small()).finding
    assert finding is not None
    assert finding.kind == "bits"
    assert "1 of 640 differ, first at [0, 3]" in finding.message

    def shows(recipe: Recipe) -> bool:
        found = check(recipe).finding
        return found is not None and found.kind == "bits"

    found = shrink(small(), shows, seconds=20)
    # One kernel must be left where there are two unfused: the norm and what quantizes it.
    assert [step.results for step in found.steps] == [("v1",), ("v2", "v3")]
    assert found.outputs == ("v2",)
    assert found.num_elements() < small().num_elements() / 2


def test_an_error_of_ours_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> object:
        raise IndexError("planted 17")

    monkeypatch.setattr(oracle, "rewritten", fail)
    finding = check(small()).finding
    assert finding is not None
    assert finding.signature == "error: IndexError in rewriting the fused graph: planted #"


def test_a_model_that_torch_refuses_is_skipped() -> None:
    recipe = dataclasses.replace(small(), sizes={"T": 5, "K": 100})
    assert "does not divide" in check(recipe).skipped


def test_a_script_reproduces(tmp_path: Path) -> None:
    path = tmp_path / "found.py"
    path.write_text(script(small(), "bits: planted", "17.0"))
    ran = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=120)
    assert (ran.returncode, ran.stdout.strip()) == (0, "nothing is wrong"), ran.stderr


def test_a_crash_of_the_worker_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted by a module that Python loads at its start: quantizing an e5m2 format ends the process."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'worker' in ' '.join(sys.orig_argv):\n"
        "    import epiq.testing.oracle as oracle\n"
        "    oracle.check = lambda recipe, *rest: os.abort()\n"
    )
    paths = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path))
    monkeypatch.setattr("epiq.testing.session._shrink_crash", lambda recipe, device: recipe)
    session = Session(seconds=60, seed=FIRST_SEED, count=0)
    session.run_one_worker()
    (found,) = session.found.values()
    assert found.kind == "crash"
    assert json.loads(found.recipe)["steps"]


def test_comparisons() -> None:
    a = torch.tensor([1.0, float("nan"), -0.0])
    b = torch.tensor([1.0, -float("nan"), 0.0])
    difference = bit_difference(a, b)
    assert difference is not None
    assert (difference.count, difference.first) == (1, (2,))
    assert bit_difference(a, a.clone()) is None
    assert "strides (1, 2) instead of (3, 1)" in same_form(torch.zeros(3, 2).t(), torch.zeros(2, 3))
    reference = torch.linspace(1, 2, 1000)
    assert outside(reference + 1e-6, reference, [reference + 1e-6]) == 0
    assert outside(reference + 1e-4, reference, [reference + 1e-6]) == 1000
