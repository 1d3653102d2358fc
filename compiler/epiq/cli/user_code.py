"""`FILE.py:NAME`: finds a user's function or module, and the inputs to trace it with.

NAME is a function or an nn.Module of the file. Its inputs come from a function of no arguments in
the same file, the first of `NAME_inputs`, `inputs`, `example_inputs`; it returns a tuple of what
NAME takes. Tensors may be on any device, and fake or meta: nothing is run.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any


@dataclass(frozen=True)
class UserCode:
    """A function to trace and what to call it with."""

    name: str
    path: Path
    function: Callable[..., Any]
    inputs: tuple[Any, ...]


def load_user_code(spec: str) -> UserCode:
    """Loads `FILE.py:NAME`. Runs the file.

    Raises: ValueError if the spec has no name, or the file no such name or no inputs;
    FileNotFoundError; TypeError if NAME cannot be called or the inputs are no tuple.
    """
    path, name = split_spec(spec)
    module = _load(path)
    function = getattr(module, name, None)
    if function is None:
        known = ", ".join(sorted(n for n, v in vars(module).items() if _is_own(v, module)))
        raise ValueError(f"{path} has no {name!r}; it has {known or 'no functions'}")
    if not callable(function):
        raise TypeError(f"{name} of {path} is {type(function).__name__}, not a function or module")
    return UserCode(name, path, function, _inputs(module, name, path))


def split_spec(spec: str) -> tuple[Path, str]:
    """`FILE.py:NAME` -> (path, name)."""
    file, separator, name = spec.rpartition(":")
    if not separator or not file.endswith(".py") or not name.isidentifier():
        raise ValueError(f"{spec!r} is not of the form FILE.py:NAME")
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    return path, name


def _load(path: Path) -> ModuleType:
    # The file's neighbours are importable, as when Python runs it.
    sys.path.insert(0, str(path.parent.resolve()))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _inputs(module: ModuleType, name: str, path: Path) -> tuple[Any, ...]:
    names = (f"{name}_inputs", "inputs", "example_inputs")
    for candidate in names:
        function = getattr(module, candidate, None)
        if function is None:
            continue
        values = function() if callable(function) else function
        if not isinstance(values, tuple):
            raise TypeError(f"{candidate} of {path} gives {type(values).__name__}, not a tuple")
        return values
    raise ValueError(f"{path} has no inputs for {name}: it needs one of {', '.join(names)}")


def _is_own(value: Any, module: ModuleType) -> bool:
    return callable(value) and getattr(value, "__module__", None) == module.__name__
