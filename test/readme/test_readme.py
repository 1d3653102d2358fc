"""Every python and console snippet of the README runs as it stands."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def snippets(language: str) -> list[str]:
    return [body for name, body in _FENCE.findall(README) if name == language]


def commands() -> list[str]:
    """Lines of console snippets that start with `$ `."""
    lines = "".join(snippets("console")).splitlines()
    return [line[2:] for line in lines if line.startswith("$ ")]


@pytest.fixture
def environment(tmp_path):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "EPIQ_CACHE_DIR": str(tmp_path / "cache")}


def run(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("code", snippets("python"), ids=lambda code: code.splitlines()[1][:30])
def test_python_snippets_run(code, environment):
    run([sys.executable, "-c", code], environment)


@pytest.mark.parametrize("command", commands())
def test_console_snippets_run(command, environment, tmp_path):
    words = [word.replace("/tmp/kernels", str(tmp_path / "kernels")) for word in shlex.split(command)]
    run(words, environment)


def test_there_are_snippets():
    """A change of the README's markup must not turn the tests above into nothing."""
    assert snippets("python")
    assert commands()


def test_the_first_snippet_is_five_lines():
    assert len(snippets("python")[0].splitlines()) == 5


def test_files_and_targets_that_it_names_exist():
    for name in re.findall(r"examples/[\w/.]+\.py", README):
        assert (ROOT / name).is_file(), name
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert f"\n{target}:" in makefile, target


def test_the_table_is_what_the_reports_say(environment):
    run([sys.executable, "examples/reports/readme_table.py", "--check"], environment)
