"""A run of the fuzzer: workers one after the other, what they say, and what they found."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from epiq.testing.coverage import Coverage

# Kernels live as long as their process: a worker is replaced before they add up.
_FAMILIES = 60
# More than the worker's own limits for a graph and for shrinking.
_SILENCE = 240.0


@dataclass
class Found:
    """One cause: how often it was met, and the graph that shows it best."""

    kind: str
    message: str
    detail: str
    seed: str
    recipe: str
    count: int = 1


@dataclass
class Session:
    """What a run is asked to do, and what it did.

    seed: of the first family of graphs. variants: graphs of a family. backend_every: one family in so
    many goes through Inductor, which takes seconds; 0 for none.
    """

    seconds: float
    seed: int = 0
    count: int = 0
    variants: int = 8
    device: str = "cpu"
    backend_every: int = 250
    coverage: Coverage = field(default_factory=Coverage)
    found: dict[str, Found] = field(default_factory=dict)
    restarts: Counter[str] = field(default_factory=Counter)

    def run(self, on_graph: Callable[[Session], None] = lambda _: None) -> None:
        """Checks graphs until the time is up or the count is reached."""
        end = time.monotonic() + self.seconds
        first = self.seed
        while time.monotonic() < end and not self._enough():
            first = self._run_worker(first, end, on_graph)

    def run_one_worker(self) -> int:
        """Runs one worker to its end; returns the family that the next begins with."""
        return self._run_worker(self.seed, time.monotonic() + self.seconds, lambda _: None)

    def _enough(self) -> bool:
        return bool(self.count) and self.coverage.graphs + self.coverage.skipped >= self.count

    def _run_worker(self, first: int, end: float, on_graph: Callable[[Session], None]) -> int:
        """Runs one worker; returns the family that the next begins with."""
        settings = (str(first), str(_FAMILIES), str(self.variants), self.device, str(self.backend_every))
        worker = _start("run", *settings)
        at, recipe = first, ""
        ended = False
        try:
            for said in _lines(worker, end):
                if "start" in said:
                    at, recipe = said["start"][0], said["recipe"]
                elif "done" in said:
                    self._note(said, recipe)
                    on_graph(self)
                elif "shrunk" in said and said["shrunk"] in self.found:
                    self.found[said["shrunk"]].recipe = said["recipe"]
                if self._enough():
                    return at
            ended = time.monotonic() < end
        finally:
            status = _stop(worker, wait=ended)
        if ended and status != 0:
            self._note_crash(status, at, recipe)
            return at + 1
        return first + _FAMILIES

    def _note(self, said: dict[str, Any], recipe: str) -> None:
        self.coverage.add(said)
        finding = said["finding"]
        if finding is None:
            return
        key = finding["signature"]
        if key in self.found:
            self.found[key].count += 1
            return
        seed = "{}.{}".format(*said["done"])
        self.found[key] = Found(finding["kind"], finding["message"], finding["detail"], seed, recipe)

    def _note_crash(self, status: int, at: int, recipe: str) -> None:
        key = f"crash: the process ended with status {status}"
        if status == _HUNG:
            key = "hang: the process says nothing any more"
        if key in self.found:
            self.found[key].count += 1
            return
        small = _shrink_crash(recipe, self.device) if status != _HUNG else recipe
        self.found[key] = Found("crash", key, "", str(at), small)


_HUNG = 1000


def _start(*args: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "epiq.testing.worker", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )


def _lines(worker: subprocess.Popen[bytes], end: float) -> Iterator[dict[str, Any]]:
    """What a worker says, until it ends, says nothing for too long, or the time is up."""
    assert worker.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(worker.stdout, selectors.EVENT_READ)
        rest = b""
        heard = time.monotonic()
        while time.monotonic() < end:
            if not selector.select(timeout=1.0):
                if time.monotonic() - heard > _SILENCE:
                    return
                continue
            data = os.read(worker.stdout.fileno(), 1 << 16)
            if not data:
                return
            heard = time.monotonic()
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                with contextlib.suppress(ValueError):
                    said = json.loads(line)
                    if isinstance(said, dict):
                        yield said


def _stop(worker: subprocess.Popen[bytes], *, wait: bool) -> int:
    """The worker's exit status; _HUNG for one that had to be ended."""
    try:
        return worker.wait(5.0 if wait else 0.0)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()
        return _HUNG
    finally:
        if worker.stdout is not None:
            worker.stdout.close()


def _shrink_crash(recipe: str, device: str) -> str:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.json"
        path.write_text(recipe)
        worker = _start("shrink", str(path), "90", device)
        found = recipe
        for said in _lines(worker, time.monotonic() + 180):
            found = said.get("recipe", found)
        _stop(worker, wait=True)
    return found
