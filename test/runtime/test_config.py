"""Options of the backend: ours, Inductor's, and what is said about those that do not exist."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from epiq import config
from epiq.backend import inductor_patches
from epiq.config import Settings, from_environment, option_table, split_options, unknown_variables


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
    "numerics": ({"epiq.numerics": "loose"}, r"epiq.numerics must be one of 'exact', got 'loose'"),
    "fast": ({"epiq.numerics": "fast"}, r"epiq.numerics='fast' would do nothing yet, so it is refused"),
    "kind": ({"epiq.keep_out": ["norms"]}, r"epiq.keep_out knows no 'norms'; it takes norm, activation, rms"),
    "target": ({"epiq.target": "sm_80"}, r"target 'sm_80' is not one of sm_90a, sm_100a"),
    "of the process": ({"epiq.cache_dir": "/tmp"}, r"set EPIQ_CACHE_DIR or epiq.config.cache_dir"),
    "fuse and fail": ({"epiq.fuse": False, "epiq.fail_on_unfused": True}, r"fail_on_unfused=True forbids"),
    "fuse and keep": ({"epiq.fuse": False, "epiq.keep_out": ["norm"]}, r"epiq.keep_out=\('norm',\) has no"),
    "dry and target": ({"epiq.dry_run": True, "epiq.target": "sm_90a"}, r"dry_run=True compiles nothing"),
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
    with pytest.raises(TypeError, match=r"epiq.keep_out must be a list of names, got 'norm'"):
        split_options({"epiq.keep_out": "norm"})
    with pytest.raises(TypeError, match=r"epiq.dump must be a string, got True"):
        split_options({"epiq.dump": True})


def test_what_is_nearer_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """An option of the model, then of the process, then of the environment, then the default."""
    assert config.autotune == "quick"
    monkeypatch.setenv("EPIQ_AUTOTUNE", "full")
    assert config.autotune == "full"
    with config.patch(autotune="off"):
        assert split_options(None)[0].autotune == "off"
        assert split_options({"epiq.autotune": "quick"})[0].autotune == "quick"
    assert split_options(None)[0].autotune == "full"


def test_options_of_the_process_are_checked_when_set() -> None:
    with pytest.raises(ValueError, match=r"unknown option 'epiq.autotnue'; did you mean 'epiq.autotune'"):
        config.autotnue = "off"
    with pytest.raises(TypeError, match=r"epiq.dry_run must be True or False, got 'yes'"):
        config.dry_run = "yes"
    with config.patch(num_rows=[1, 64]):
        assert config.num_rows == (1, 64)
    config.strict = True
    del config.strict
    assert config.strict is False


def test_the_environment_is_parsed() -> None:
    found = from_environment(
        {"EPIQ_DRY_RUN": "1", "EPIQ_NUM_ROWS": "1, 16", "EPIQ_KEEP_OUT": "norm,silu_mul", "EPIQ_FUSE": "off"}
    )
    assert found == {"dry_run": True, "num_rows": (1, 16), "keep_out": ("norm", "silu_mul"), "fuse": False}
    with pytest.raises(TypeError, match=r"EPIQ_STRICT must be 1 or 0, got 'maybe'"):
        from_environment({"EPIQ_STRICT": "maybe"})
    with pytest.raises(ValueError, match=r"EPIQ_NUM_ROWS must be token counts .*, got '1;2'"):
        from_environment({"EPIQ_NUM_ROWS": "1;2"})
    with pytest.raises(ValueError, match=r"EPIQ_DECIDE must be one of .* got 'never'"):
        from_environment({"EPIQ_DECIDE": "never"})
    assert unknown_variables({"EPIQ_AUTOTUNE": "off", "EPIQ_AUTOTNUE": "off"}) == ["EPIQ_AUTOTNUE"]


def test_families_are_spelled_out() -> None:
    assert Settings(keep_out=("norm", "silu")).kinds_kept_out == ("layer_norm", "rms_norm", "silu")


def test_readme_lists_the_options() -> None:
    """Generated: `option_table()` between the two marks."""
    text = (Path(__file__).parents[2] / "README.md").read_text()
    held = text.split("option_table()) -->\n")[1].split("\n<!-- options: end")[0]
    assert held == option_table()


def test_modes_are_inductors() -> None:
    assert inductor_patches("reduce-overhead", {}) == {"triton.cudagraphs": True}
    assert inductor_patches(None, {"max_autotune": True}) == {"max_autotune": True}


def test_what_inductor_does_not_know_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"optimization option nonsense \(options of this backend"):
        inductor_patches(None, {"nonsense": True})
    with pytest.raises(ValueError, match=r"mode=fastest"):
        inductor_patches("fastest", {})
