"""What a corpus kernel needs beside its code: signature, constants, versions, options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

CASES: dict[str, Case] = {}


@dataclass(frozen=True)
class Case:
    """One kernel to compile. `signature` names Triton types; constants are not in it."""

    name: str
    kernel: Any
    signature: dict[str, str]
    constants: dict[str, Any] = field(default_factory=dict)
    versions: tuple[str, ...] = ("3.6", "3.9")
    archs: tuple[int, ...] = (90, 100)
    options: dict[str, Any] = field(default_factory=dict)


def case(
    signature: str,
    constants: dict[str, Any] | None = None,
    **more: Any,
) -> Callable[[Any], Any]:
    """Registers a `@triton.jit` kernel; `signature` reads "x:*fp32 n:i32"."""

    def register(kernel: Any) -> Any:
        name = kernel.fn.__name__
        assert name not in CASES, name
        types = dict(part.split(":", 1) for part in signature.split())
        CASES[name] = Case(name, kernel, types, constants or {}, **more)
        return kernel

    return register
