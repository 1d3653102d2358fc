"""Options of the backend: ours, Inductor's, and what is said about those that do not exist."""

from __future__ import annotations

from typing import Any

import pytest

from epiq.backend import inductor_patches
from epiq.config import Settings, split_options


def test_no_options() -> None:
    assert split_options(None) == (Settings(), {})


def test_ours_and_inductors() -> None:
    settings, others = split_options({"epiq.autotune": "off", "epiq.num_rows": [1, 64], "max_autotune": True})
    assert settings == Settings(autotune="off", num_rows=(1, 64))
    assert others == {"max_autotune": True}


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "misspelled": ({"epiq.autotnue": "off"}, r"unknown option 'epiq.autotnue'; did you mean 'epiq.autotune'"),
    "unknown": ({"epiq.zzz": 1}, r"unknown option 'epiq.zzz'; options are epiq.autotune, "),
    "value": ({"epiq.autotune": "slow"}, r"epiq.autotune must be one of 'off', 'quick', 'full', got 'slow'"),
    "numerics": ({"epiq.numerics": "fast"}, r"epiq.numerics must be one of 'exact', got 'fast'"),
    "rows": ({"epiq.num_rows": [0]}, r"token counts of at least 1, got \(0,\)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_options(name: str) -> None:
    options, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        split_options(options)


def test_wrong_types() -> None:
    with pytest.raises(TypeError, match=r"epiq.fuse must be True or False, got 1"):
        split_options({"epiq.fuse": 1})
    with pytest.raises(TypeError, match=r"options must be a dict, got list"):
        split_options(["epiq.fuse"])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"option names must be strings, got 3"):
        split_options({3: 1})  # type: ignore[dict-item]


def test_modes_are_inductors() -> None:
    assert inductor_patches("reduce-overhead", {}) == {"triton.cudagraphs": True}
    assert inductor_patches(None, {"max_autotune": True}) == {"max_autotune": True}


def test_what_inductor_does_not_know_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"optimization option nonsense \(options of this backend"):
        inductor_patches(None, {"nonsense": True})
    with pytest.raises(ValueError, match=r"mode=fastest"):
        inductor_patches("fastest", {})
