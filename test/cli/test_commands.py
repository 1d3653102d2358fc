"""The commands, run in this process; what they print and how they exit."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from epiq.cli.app import app, main

runner = CliRunner()


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EPIQ_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def run_main(monkeypatch, *arguments: str) -> int:
    """The exit code of `epiq ARGUMENTS`."""
    monkeypatch.setattr(sys, "argv", ["epiq", *arguments])
    with pytest.raises(SystemExit) as exit_info:
        main()
    return exit_info.value.code or 0


@pytest.mark.parametrize("command", [[], ["demo"], ["compile"], ["explain"], ["doctor"], ["cache"]], ids=str)
def test_every_command_has_help(command):
    result = runner.invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_import_is_light():
    """`import epiq` must not pull in torch."""
    code = "import sys, epiq; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_name_of_the_package():
    import epiq

    with pytest.raises(AttributeError, match="quantise"):
        _ = epiq.quantise


def test_doctor_says_what_follows():
    result = runner.invoke(app, ["doctor"])
    assert result.exit_code == 0, result.output
    for item in ("python", "passes", "epiq-opt", "torch", "triton", "compiler", "gpu", "cache"):
        assert item in result.output
    assert result.output.strip().splitlines()[-1].startswith("doctor: ")


def test_doctor_reports_an_unwritable_cache(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EPIQ_CACHE_DIR", str(tmp_path / "file" / "cache"))
    result = runner.invoke(app, ["doctor"])
    assert result.exit_code == 0
    assert "EPIQ_CACHE_DIR" in result.output
    assert result.output.rstrip().endswith("cache")


def test_doctor_fails_on_what_is_broken(monkeypatch):
    from epiq.cli import checks

    monkeypatch.setattr(checks, "PYTHON_VERSIONS", ((2, 0), (2, 7)))
    result = runner.invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "broken: python" in result.output


def test_a_check_that_fails_in_an_unknown_way_is_a_finding():
    from epiq.cli.checks import _guarded

    def check_something():
        raise OSError("libfoo.so.1 is missing")

    finding = _guarded(check_something)
    assert (finding.item, finding.state) == ("something", "broken")
    assert "libfoo" in finding.found


def test_cache_commands(own_cache):
    from epiq.codegen import kernel_cache

    kernel_cache().put("a" * 64, {"metadata": b'{"name": "kernel", "arch": 90}'})
    kernel_cache().put("b" * 64, {"metadata": b"{}"})
    listed = runner.invoke(app, ["cache", "ls"])
    assert "kernel" in listed.output
    assert "2 entries" in listed.output
    assert runner.invoke(app, ["cache", "verify"]).exit_code == 0

    damaged = next(kernel_cache().entries())
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    checked = runner.invoke(app, ["cache", "verify"])
    assert checked.exit_code == 1
    assert "1 damaged" in checked.output

    assert "removed 2 entries" in runner.invoke(app, ["cache", "clear"]).output
    assert "0 entries" in runner.invoke(app, ["cache", "ls"]).output


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("model.py", "not of the form FILE.py:NAME"),
        ("no_such_file.py:fn", "no file no_such_file.py"),
        ("model.txt:fn", "not of the form"),
    ],
)
def test_bad_specs_end_in_one_line(monkeypatch, capsys, spec, said):
    assert run_main(monkeypatch, "explain", spec) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_unknown_target_ends_in_one_line(monkeypatch, capsys):
    assert run_main(monkeypatch, "compile", "model.py:fn", "--target", "sm_80") == 2
    assert "sm_80" in capsys.readouterr().err
