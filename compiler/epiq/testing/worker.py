"""The process that checks graphs; what it does is a line of JSON each, so that a crash says where it was.

python -m epiq.testing.worker run FIRST COUNT VARIANTS DEVICE BACKEND_EVERY     checks families of graphs
python -m epiq.testing.worker shrink FILE SECONDS DEVICE      shrinks a recipe whose check ends the process
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from epiq.testing.generate import random_recipe, variants
from epiq.testing.oracle import Finding, Outcome, Traces, check
from epiq.testing.recipe import Recipe, labels
from epiq.testing.shrink import shrink

# A graph that takes longer hangs.
SECONDS_PER_GRAPH = 60
_SHRINK_SECONDS = 60.0


class _TimeoutError(BaseException):
    """Not an Exception: nothing on the way may swallow it."""


def run(first: int, count: int, number: int, device: str, backend_every: int) -> None:
    """Checks `number` variants of each of `count` seeds."""
    signal.signal(signal.SIGALRM, _on_alarm)
    shrunk: set[str] = set()
    for seed in range(first, first + count):
        base = random_recipe(seed)
        if not base.outputs:
            continue
        shared = _shared(base, device)
        for variant, recipe in enumerate(variants(base, seed, number)):
            if not recipe.outputs:
                continue
            if variant == 0 and backend_every and seed % backend_every == 0:
                recipe = replace(recipe, route="backend")
            _say(start=[seed, variant], recipe=recipe.to_json())
            begin = time.perf_counter()
            outcome = _limited(partial(check, recipe, device, shared))
            seconds = time.perf_counter() - begin
            _say(**_described(seed, variant, recipe, outcome, seconds))
            finding = outcome.finding
            if finding is not None and finding.signature not in shrunk:
                shrunk.add(finding.signature)
                _say(shrinking=finding.signature)
                small = shrink(recipe, _shows(finding, device), _SHRINK_SECONDS)
                _say(shrunk=finding.signature, seed=[seed, variant], recipe=small.to_json())


def _shared(base: Recipe, device: str) -> tuple[Recipe, Traces] | None:
    signal.alarm(SECONDS_PER_GRAPH)
    try:
        return base, Traces(base, device)
    except Exception:
        # What torch cannot trace with every value as a result, it may trace with fewer.
        return None
    finally:
        signal.alarm(0)


def _on_alarm(*_: Any) -> None:
    raise _TimeoutError


def _limited(work: Callable[[], Outcome]) -> Outcome:
    signal.alarm(SECONDS_PER_GRAPH)
    try:
        return work()
    except _TimeoutError:
        return Outcome(finding=Finding("hang", f"it takes more than {SECONDS_PER_GRAPH} s"))
    finally:
        signal.alarm(0)


def _shows(finding: Finding, device: str) -> Callable[[Recipe], bool]:
    def shows(recipe: Recipe) -> bool:
        try:
            found = _limited(partial(check, recipe, device)).finding
        except Exception:
            return False
        if found is None or found.kind != finding.kind:
            return False
        return found.kind != "error" or found.signature == finding.signature

    return shows


def _described(seed: int, variant: int, recipe: Recipe, outcome: Outcome, seconds: float) -> dict[str, Any]:
    found = outcome.finding
    return {
        "done": [seed, variant],
        "seconds": round(seconds, 4),
        "labels": labels(recipe.steps),
        "kinds": sorted({given.kind for given in recipe.inputs}),
        "sizes": dict(recipe.sizes),
        "dynamic": recipe.dynamic,
        "route": recipe.route,
        "nodes": outcome.nodes,
        "programs": [list(parts) for parts in outcome.programs],
        "groups": outcome.groups,
        "rules": dict(outcome.rules),
        "runs": outcome.runs,
        "skipped": outcome.skipped,
        "finding": None
        if found is None
        else {
            "kind": found.kind,
            "message": found.message,
            "detail": found.detail,
            "signature": found.signature,
        },
    }


def _say(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


def shrink_crash(recipe: Recipe, seconds: float, device: str) -> Recipe:
    """Shrinks a recipe whose check ends its process: each candidate is checked in a fork."""

    def crashes(candidate: Recipe) -> bool:
        child = os.fork()
        if child == 0:
            signal.alarm(SECONDS_PER_GRAPH)
            try:
                with open(os.devnull, "w") as nowhere:
                    os.dup2(nowhere.fileno(), 1)
                    os.dup2(nowhere.fileno(), 2)
                    check(candidate, device)
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        return os.WIFSIGNALED(status)

    return shrink(recipe, crashes, seconds)


def main(args: list[str]) -> None:
    """One of the two commands above."""
    torch.set_num_threads(1)
    if args[0] == "run":
        first, count, number = map(int, args[1:4])
        run(first, count, number, args[4], int(args[5]))
        return
    recipe = Recipe.from_json(Path(args[1]).read_text())
    _say(recipe=shrink_crash(recipe, float(args[2]), args[3]).to_json())


if __name__ == "__main__":
    main(sys.argv[1:])
