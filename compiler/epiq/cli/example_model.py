"""The decoder layers that the demo compiles: examples/models/llama.py, wherever it was installed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

_FILE = Path("models", "llama.py")


def example_path() -> Path:
    """Its path: in the package when that was installed, in the tree otherwise.

    Raises: FileNotFoundError if it is in neither.
    """
    package = Path(__file__).resolve().parents[1]
    places = (package / "_examples" / _FILE, package.parents[1] / "examples" / _FILE)
    for place in places:
        if place.is_file():
            return place
    raise FileNotFoundError(f"the example model is neither {places[0]} nor {places[1]}")


def load_example() -> ModuleType:
    """The module, loaded once."""
    name = "epiq_example_llama"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, example_path())
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"{example_path()} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
