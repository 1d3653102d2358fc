"""Finding a user's function and its inputs."""

from __future__ import annotations

import pytest

from epiq.cli.user_code import load_user_code

SOURCE = """
import neighbour

def fn(x):
    return x

def other(x, y):
    return x + y

def other_inputs():
    return 1, neighbour.TWO

def inputs():
    return (3,)

def bad_inputs():
    return [1]

def bad(x):
    return x

NUMBER = 5
"""


@pytest.fixture
def model(tmp_path):
    (tmp_path / "neighbour.py").write_text("TWO = 2\n")
    path = tmp_path / "user_model.py"
    path.write_text(SOURCE)
    return path


def test_inputs_of_the_file_serve_any_function(model):
    code = load_user_code(f"{model}:fn")
    assert code.inputs == (3,)
    assert code.function(7) == 7


def test_inputs_by_name_come_first(model):
    """And the file imports its neighbours, as when Python runs it."""
    assert load_user_code(f"{model}:other").inputs == (1, 2)


def test_unknown_name_lists_the_known_ones(model):
    with pytest.raises(ValueError, match=r"no 'fm'; it has .*fn.*other"):
        load_user_code(f"{model}:fm")


def test_inputs_must_be_a_tuple(model):
    with pytest.raises(TypeError, match=r"bad_inputs of .* gives list, not a tuple"):
        load_user_code(f"{model}:bad")


def test_a_number_cannot_be_traced(model):
    with pytest.raises(TypeError, match=r"NUMBER of .* is int"):
        load_user_code(f"{model}:NUMBER")


def test_a_file_without_inputs_says_what_it_needs(tmp_path):
    path = tmp_path / "lonely.py"
    path.write_text("def fn(x):\n    return x\n")
    with pytest.raises(ValueError, match="it needs one of fn_inputs, inputs, example_inputs"):
        load_user_code(f"{path}:fn")
