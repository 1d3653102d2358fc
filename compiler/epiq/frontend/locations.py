"""The user's source line of an FX node."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path

import torch
from torch.fx import Node

_INDEX = re.compile(r"\[['\"]?(\w+)['\"]?\]")
_FRAME = re.compile(r'File "([^"]+)", line (\d+)')


def source_location(node: Node) -> str:
    """`"model.py":12:0` for the innermost line of the user's own code, "" when there is none.

    Lines inside torch and epiq say nothing to a user: `epiq.quantize` is reported where it is
    called. Without any other line the innermost one is taken.
    """
    frames = _FRAME.findall(node.meta.get("stack_trace") or "")
    if not frames:
        return ""
    own = [frame for frame in frames if not frame[0].startswith(_library_roots())]
    file, line = (own or frames)[-1]
    return f'"{_escape(os.path.relpath(file) if _is_below_cwd(file) else file)}":{line}:0'


def module_path(node: Node) -> str:
    """`layers.0.mlp` for a node that the submodule of that path made, "" outside of any."""
    stack = node.meta.get("nn_module_stack")
    if not stack:
        return ""
    path = next(reversed(stack.values()))[0]
    # Dynamo writes L['self'].layers[0].mlp, or L['fn']..., or a name that a decorator gave.
    parts = _INDEX.sub(r".\1", path.removeprefix("L['")).replace("'].", ".", 1).split(".")[1:]
    return ".".join(part.strip("_'[]()\"") for part in parts if part not in ("_modules",))


def _is_below_cwd(file: str) -> bool:
    return file.startswith(os.getcwd() + os.sep)


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


@lru_cache(1)
def _library_roots() -> tuple[str, ...]:
    roots = (Path(torch.__file__).parent, Path(__file__).parents[1])
    return tuple(f"{root}{os.sep}" for root in roots)
