"""The models of examples/models, wherever they were installed: the demo compiles them, bench times them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def example_path(name: str = "llama") -> Path:
    """The path of a module: in the package when that was installed, in the tree otherwise.

    Raises: FileNotFoundError if it is in neither.
    """
    package = Path(__file__).resolve().parents[1]
    file = Path("models", f"{name}.py")
    places = (package / "_examples" / file, package.parents[1] / "examples" / file)
    for place in places:
        if place.is_file():
            return place
    raise FileNotFoundError(f"the example model is neither {places[0]} nor {places[1]}")


def load_example(example: str = "llama") -> ModuleType:
    """The module, loaded once."""
    name = f"epiq_example_{example}"
    if name in sys.modules:
        return sys.modules[name]
    path = example_path(example)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
