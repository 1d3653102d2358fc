"""Choosing among alternatives, with a clock that reads times from a table."""

from __future__ import annotations

import itertools
import threading
import time

import pytest
import torch

from epiq.codegen.cache import decision_cache
from epiq.runtime.decide import MIN_GAIN, Alternative, Decider, choose, describe


class TableClock:
    """Gives each alternative the times of a table in turn; they are told apart by what they return."""

    def __init__(self, times, refusal="", capturing=False, device="card"):
        self.times = {name: itertools.cycle(listed) for name, listed in times.items()}
        self.reason = refusal
        self.capturing = capturing
        self.device = device
        self.samples = []

    def refusal(self, device):
        return self.reason

    def is_capturing(self, device):
        return self.capturing

    def sampler(self, run):
        name = run()[0]

        def sample():
            self.samples.append(name)
            found = next(self.times[name])
            if isinstance(found, Exception):
                raise found
            return found

        return sample

    def environment(self, device):
        return {"device": self.device}


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EPIQ_CACHE_DIR", str(tmp_path))


def alternative(name, error=None, calls=None):
    def run(inputs):
        if calls is not None:
            calls.append(name)
        if error is not None:
            raise error
        return [name]

    return Alternative(name, run)


def decider(times, mode="measure", key="group", extra=(), **clock):
    alternatives = [alternative(name) for name in times]
    return Decider(key, [*alternatives, *extra], mode, TableClock(times, **clock))


X = [torch.zeros(1)]


@pytest.mark.parametrize(
    "fused, chosen", [(9.0, "fused"), (9.99, "library"), (10.0, "library"), (11.0, "library")]
)
def test_a_fused_kernel_must_gain_more_than_noise(fused, chosen):
    made = decider({"library": [10.0], "fused": [fused]})
    assert made(X, 5) == [chosen]
    (decision,) = made.decisions
    assert decision.tokens == 16 and decision.how == "measured"
    assert decision.times_us == {"library": 10.0, "fused": fused}


def test_a_median_that_few_rounds_make_is_no_gain():
    rounds = {
        "library": [10.0, 10.0, 10.0, 10.0, 5.0, 5.0, 5.0],
        "fused": [9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0],
    }
    assert choose(rounds, "library") == "library"
    rounds["library"] = [10.0] * 6 + [5.0]
    assert choose(rounds, "library") == "fused"
    rounds["fused"] = [10.0 * (1 - MIN_GAIN / 2)] * 7
    assert choose(rounds, "library") == "library"


def test_what_is_far_behind_is_not_timed_to_the_end():
    made = decider({"library": [10.0], "slow": [30.0], "fused": [8.0]})
    assert made(X, 1) == ["fused"]
    assert made.clock.samples.count("slow") == 3 < made.clock.samples.count("fused")
    assert made.decisions[0].times_us["slow"] == 30.0


def test_each_bucket_is_decided_once_in_turn():
    made = decider({"library": [10.0], "fused": [8.0]})
    for tokens in (1, 2, 16, 3, 300, 512):
        assert made(X, tokens) == ["fused"]
    assert [d.tokens for d in made.decisions] == [1, 16, 512]
    first = made.clock.samples[:4]
    assert first == ["library", "fused", "fused", "library"]


def test_a_decision_outlives_the_process_and_knows_its_conditions():
    decider({"library": [10.0], "fused": [8.0]})(X, 4)
    again = decider({"library": [1.0], "fused": [2.0]})
    assert again(X, 4) == ["fused"]
    assert again.decisions[0].how == "measured before" and again.clock.samples == []
    for other in (
        decider({"library": [1.0], "fused": [2.0]}, key="other"),
        decider({"library": [1.0], "fused": [2.0]}, device="other"),
        decider({"library": [1.0], "fused": [2.0], "third": [2.0]}),
    ):
        assert other(X, 4) == ["library"] and other.clock.samples


@pytest.mark.parametrize("damage", ["cut", "other"])
@pytest.mark.filterwarnings("ignore:cache entry")
def test_a_damaged_decision_is_measured_again(damage):
    decider({"library": [10.0], "fused": [8.0]})(X, 4)
    (path,) = decision_cache().entries()
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-7])
    else:
        decision_cache().put(path.stem, {"decision": b'{"chosen": "fused"}'})
    again = decider({"library": [1.0], "fused": [2.0]})
    assert again(X, 4) == ["library"] and again.decisions[0].how == "measured"


def test_an_alternative_that_fails_is_left_out_with_its_reason():
    broken = alternative("broken", ValueError("no room\nfor details"))
    made = decider({"library": [10.0], "fused": [8.0]}, extra=[broken])
    assert made(X, 4) == ["fused"]
    assert made.decisions[0].left_out == {"broken": "ValueError: no room"}


def test_a_fused_kernel_that_fails_later_gives_way_to_the_library():
    calls = []
    fused = alternative("fused", calls=calls)
    made = Decider(
        "g", [alternative("library"), fused], "measure", TableClock({"library": [10.0], "fused": [5.0]})
    )
    assert made(X, 4) == ["fused"]
    made._by_name["fused"] = alternative("fused", ValueError("9 rows"), calls)
    assert made(X, 9) == ["library"]
    count = len(calls)
    assert made(X, 9) == ["library"] and len(calls) == count
    assert made.decisions[0].how == "not measured: ValueError: 9 rows"


def test_an_error_of_the_library_is_the_callers():
    made = Decider(
        "g",
        [alternative("library", ValueError("sizes differ")), alternative("fused")],
        "measure",
        TableClock({}),
    )
    with pytest.raises(ValueError, match="sizes differ"):
        made(X, 4)


def test_nothing_is_measured_without_a_gpu():
    made = Decider("group", [alternative("library"), alternative("fused")])
    assert made(X, 4) == ["library"]
    assert made.decisions[0].how == "not measured: no GPU"
    assert "not measured: no GPU" in describe(made.decisions[0])


def test_a_capture_takes_the_library_and_leaves_the_decision_open():
    made = decider({"library": [10.0], "fused": [8.0]}, capturing=True)
    assert made(X, 4) == ["library"] and made.decisions == [] and made.clock.samples == []
    made.clock.capturing = False
    assert made(X, 4) == ["fused"]
    made.clock.capturing = True
    assert made(X, 4) == ["fused"]


def test_options_choose_without_measuring():
    assert decider({"library": [10.0], "fused": [8.0]}, "library")(X, 4) == ["library"]
    made = decider({"library": [10.0], "fused": [80.0]}, "fused")
    assert made(X, 4) == ["fused"] and made.clock.samples == []
    failing = Decider(
        "g",
        [alternative("library"), alternative("a", ValueError("a")), alternative("b")],
        "fused",
        TableClock({}),
    )
    assert failing(X, 4) == ["b"] and failing.decisions[0].left_out == {"a": "ValueError: a"}
    none = Decider("g", [alternative("library"), alternative("a", ValueError("a"))], "fused", TableClock({}))
    assert none(X, 4) == ["library"]


def test_threads_measure_once():
    calls = []

    def slow(inputs):
        calls.append(threading.get_ident())
        time.sleep(0.002)
        return ["fused"]

    made = Decider(
        "g",
        [alternative("library"), Alternative("fused", slow)],
        "measure",
        TableClock({"library": [10.0], "fused": [5.0]}),
    )
    results = []
    threads = [threading.Thread(target=lambda: results.append(made(X, 4))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [["fused"]] * 6
    assert made.clock.samples.count("library") == made.clock.samples.count("fused") == 18
    assert len(calls) == 2 + 6


def test_names_must_differ():
    with pytest.raises(ValueError, match="names that differ"):
        Decider("g", [alternative("a"), alternative("a")])
