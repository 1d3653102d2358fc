"""Chooses among several ways to compute one group, by measuring them on the tensors of a real call.

A group has a *library alternative*, the torch op that computes the producer and then a row program, and
fused ones, each a kernel that does both. What is faster depends on the shapes and the device, so it is
measured: once for each bucket of token counts, interleaved, on the first call that is not being captured in
a CUDA graph. The decision is kept, and written to disk with every time that led to it. A fused kernel is
chosen only where its gain is larger than noise; what cannot be timed, on the CPU or while a graph is
captured, is computed by the library alternative. So a group is never slower than the library and our row
program, up to noise. A row program that is itself slower than Inductor's kernel is not found here: Inductor
fuses what a row program holds with other nodes of the graph, and there is no kernel of its to time.
"""

from __future__ import annotations

import json
import logging
import statistics
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from epiq.codegen.cache import decision_cache, key_of
from epiq.runtime.buckets import bucket
from epiq.runtime.clock import Clock, GpuClock

log = logging.getLogger("epiq")

Mode = Literal["measure", "fused", "library"]
# A device, and the largest token count of a bucket.
Place = tuple[torch.device, int]

# A fused kernel must be faster by this much in the median, and in most of the rounds.
MIN_GAIN = 0.02
_MOST_ROUNDS = 0.7
# A first look drops what is far behind; then all that is left is timed in turn.
_FIRST_ROUNDS, _ROUNDS = 3, 15
_FAR_BEHIND = 1.25


@dataclass(frozen=True)
class Alternative:
    """One way to compute a group.

    name: what reports call it; differs between the alternatives of a group. run: new outputs of the
    inputs, on the current stream, without waiting. It changes none of its inputs.
    """

    name: str
    run: Callable[[list[Tensor]], list[Tensor]]


@dataclass(frozen=True)
class Decision:
    """What was decided for one group and bucket of token counts.

    group: its key. tokens: the largest count of the bucket. chosen: an alternative's name. how:
    "measured", "measured before" for one read from disk, "set" where an option says it, or "not measured:"
    and why. times_us: the median of each alternative that was timed to the end or dropped as too slow.
    left_out: alternatives that failed, and why.
    """

    group: str
    device: str
    tokens: int
    chosen: str
    how: str
    times_us: dict[str, float] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


class Decider:
    """Runs the fastest alternative of a group for the number of tokens at hand.

    Args: key: identifies what the group computes, in any process. alternatives: the library one first; the
      fused ones after it, those first that are taken where an option says "fused". mode: "measure"; "fused"
      takes the first fused alternative that runs; "library" the library one.
    """

    def __init__(
        self,
        key: str,
        alternatives: Sequence[Alternative],
        mode: Mode = "measure",
        clock: Clock | None = None,
    ) -> None:
        names = [alternative.name for alternative in alternatives]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"alternatives need names that differ, got {names}")
        self.key = key
        self.alternatives = tuple(alternatives)
        self.mode = mode
        self.clock: Clock = clock or GpuClock()
        self._decisions: dict[Place, Decision] = {}
        self._by_name = {alternative.name: alternative for alternative in alternatives}
        self._lock = threading.Lock()

    @property
    def library(self) -> Alternative:
        return self.alternatives[0]

    @property
    def decisions(self) -> list[Decision]:
        """Those made so far, by token count."""
        return sorted(self._decisions.values(), key=lambda decision: decision.tokens)

    def __call__(self, inputs: list[Tensor], num_tokens: int) -> list[Tensor]:
        """The outputs. num_tokens: chooses the bucket; `inputs` hold that many."""
        device = _device_of(inputs)
        place = (device, bucket(num_tokens))
        decision = self._decisions.get(place)
        if decision is not None:
            return self._run(decision, inputs, place)
        if len(self.alternatives) == 1 or self.mode == "library":
            how = "set" if self.mode == "library" else "not measured: it has no fused kernel"
            return self._keep(place, self.library.name, how).run(inputs)
        if self.clock.is_capturing(device):
            # Nothing can be timed, compiled or loaded; a later call may decide.
            return self.library.run(inputs)
        refusal = self.clock.refusal(device) if self.mode == "measure" else ""
        if refusal:
            return self._keep(place, self.library.name, f"not measured: {refusal}").run(inputs)
        # Another thread's kernels would disturb what is timed here, and its decision will do.
        with self._lock:
            decision = self._decisions.get(place)
            if decision is None:
                decision = self._decide(inputs, place)
                self._decisions[place] = decision
                log.info("%s", describe(decision))
        return self._run(decision, inputs, place)

    def _run(self, decision: Decision, inputs: list[Tensor], place: Place) -> list[Tensor]:
        """What was decided; a fused kernel that fails for another count of the bucket is not taken again."""
        try:
            return self._by_name[decision.chosen].run(inputs)
        except Exception as error:
            if decision.chosen == self.library.name or self.clock.is_capturing(place[0]):
                raise
            log.warning("%s of %s fails and is left out: %s", decision.chosen, self.key, error)
            return self._keep(place, self.library.name, f"not measured: {_first_line(error)}").run(inputs)

    def _keep(self, place: Place, chosen: str, how: str) -> Alternative:
        self._decisions[place] = Decision(self.key, str(place[0]), place[1], chosen, how)
        return self._by_name[chosen]

    def _decide(self, inputs: list[Tensor], place: Place) -> Decision:
        if self.mode == "fused":
            return self._first_fused(inputs, place)
        found = self._remembered(place)
        if found is not None and self._runs(found.chosen, inputs, {}):
            return found
        decision = self._measure(inputs, place)
        record = json.dumps(asdict(decision)).encode()
        decision_cache().put(self._disk_key(place), {"decision": record})
        return decision

    def _first_fused(self, inputs: list[Tensor], place: Place) -> Decision:
        left_out: dict[str, str] = {}
        for alternative in self.alternatives[1:]:
            if self._runs(alternative.name, inputs, left_out):
                return Decision(self.key, str(place[0]), place[1], alternative.name, "set", left_out=left_out)
        log.warning("no fused kernel of %s runs: %s", self.key, "; ".join(left_out.values()))
        how = "not measured: no fused kernel runs"
        return Decision(self.key, str(place[0]), place[1], self.library.name, how, left_out=left_out)

    def _runs(self, name: str, inputs: list[Tensor], left_out: dict[str, str]) -> bool:
        """Whether an alternative runs; where it does not, `left_out` says why."""
        try:
            self._by_name[name].run(inputs)
        except Exception as error:
            if name == self.library.name:
                raise
            left_out[name] = _first_line(error)
            return False
        return True

    def _measure(self, inputs: list[Tensor], place: Place) -> Decision:
        left_out: dict[str, str] = {}
        running = [a for a in self.alternatives if self._runs(a.name, inputs, left_out)]
        samplers: dict[str, Callable[[], float]] = {}
        for alternative in running:
            try:
                samplers[alternative.name] = self.clock.sampler(_bound(alternative, inputs))
            except Exception as error:
                if alternative is self.library:
                    raise
                left_out[alternative.name] = _first_line(error)
        rounds = _in_turn(samplers, _FIRST_ROUNDS)
        best = min(statistics.median(times) for times in rounds.values())
        close = {
            name: sampler
            for name, sampler in samplers.items()
            if name == self.library.name or statistics.median(rounds[name]) <= _FAR_BEHIND * best
        }
        if len(close) > 1:
            rounds.update(_in_turn(close, _ROUNDS))
        chosen = choose({name: rounds[name] for name in close}, self.library.name)
        times = {name: round(statistics.median(found), 3) for name, found in rounds.items()}
        return Decision(self.key, str(place[0]), place[1], chosen, "measured", times, left_out)

    def _remembered(self, place: Place) -> Decision | None:
        """What this or another process measured before, under the same conditions."""
        sections = decision_cache().get(self._disk_key(place))
        if sections is None:
            return None
        try:
            found = json.loads(sections["decision"])
            decision = Decision(**{**found, "how": "measured before", "device": str(place[0])})
            times = {str(name): float(time) for name, time in decision.times_us.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("the decision for %s is measured again: %s", self.key, error)
            return None
        if decision.chosen not in self._by_name or decision.chosen not in times:
            return None
        return decision

    def _disk_key(self, place: Place) -> str:
        facts = {
            "group": self.key,
            "tokens": place[1],
            "alternatives": [alternative.name for alternative in self.alternatives],
            **self.clock.environment(place[0]),
        }
        return key_of(facts)


def choose(rounds: dict[str, list[float]], library: str) -> str:
    """The alternative to keep, of the times of each in rounds that took all in turn.

    A fused one must beat the library's median by `MIN_GAIN`, and its time in most rounds: noise that hits
    one round hits all that are timed in it. Among equals the first stays.
    """
    fastest = min(rounds, key=lambda name: statistics.median(rounds[name]))
    floor = statistics.median(rounds[library])
    if fastest == library or statistics.median(rounds[fastest]) > floor * (1.0 - MIN_GAIN):
        return library
    pairs = list(zip(rounds[fastest], rounds[library], strict=True))
    wins = sum(ours < theirs for ours, theirs in pairs)
    return fastest if wins >= _MOST_ROUNDS * len(pairs) else library


def describe(decision: Decision) -> str:
    """One line: what was chosen, and the times that led to it."""
    times = ", ".join(f"{name} {time:.1f} us" for name, time in sorted(decision.times_us.items()))
    text = f"{decision.group}, up to {decision.tokens} tokens: {decision.chosen} ({decision.how}"
    return f"{text}: {times})" if times else f"{text})"


def _in_turn(samplers: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """The times of `rounds` rounds; in each, all are timed once, every other round backwards."""
    times: dict[str, list[float]] = {name: [] for name in samplers}
    for number in range(rounds):
        for name in list(samplers)[:: -1 if number % 2 else 1]:
            times[name].append(samplers[name]())
    return times


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _bound(alternative: Alternative, inputs: list[Tensor]) -> Callable[[], Any]:
    return lambda: alternative.run(inputs)


def _device_of(inputs: Sequence[Tensor]) -> torch.device:
    """The device that the group runs on; numbers may be on the CPU."""
    for x in inputs:
        if x.device.type != "cpu":
            return x.device
    return inputs[0].device


__all__ = ["MIN_GAIN", "Alternative", "Decider", "Decision", "Mode", "choose", "describe"]
