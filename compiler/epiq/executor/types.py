"""The types of Triton IR, read from their text, and how the executor holds a value of each.

Every value in registers is a torch tensor whose first dimension is the batch of programs: 1 when
all programs hold the same value, else one row a program. Pointers are int64 addresses. Types are
read from text so that nothing here depends on one version of the dialect's bindings.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import torch

from epiq.errors import UnsupportedError


@dataclass(frozen=True)
class Element:
    """An element type: `name` as MLIR prints it, `dtype` as torch holds it, `bits` in memory."""

    name: str
    dtype: torch.dtype
    bits: int
    pointee: Element | Shaped | None = None

    @property
    def size(self) -> int:
        """Bytes of one element in memory; an i1 takes one."""
        return max(1, self.bits // 8)

    @property
    def is_float(self) -> bool:
        return self.name[0] == "f" or self.name == "bf16"

    @property
    def is_float8(self) -> bool:
        return self.name.startswith("f8")

    @property
    def is_int(self) -> bool:
        return self.name[0] == "i"

    @property
    def is_pointer(self) -> bool:
        return self.name == "ptr"


@dataclass(frozen=True)
class Shaped:
    """A value's type: `shape` is () for a scalar. kind: "tensor", "scalar", "descriptor", or
    "block_pointer", whose shape and element are those of the block."""

    kind: str
    shape: tuple[int, ...]
    element: Element

    @property
    def count(self) -> int:
        total = 1
        for size in self.shape:
            total *= size
        return total


_ELEMENTS = {
    name: Element(name, dtype, bits)
    for name, dtype, bits in (
        ("i1", torch.bool, 1),
        ("i8", torch.int8, 8),
        ("i16", torch.int16, 16),
        ("i32", torch.int32, 32),
        ("i64", torch.int64, 64),
        ("index", torch.int64, 64),
        ("f16", torch.float16, 16),
        ("bf16", torch.bfloat16, 16),
        ("f32", torch.float32, 32),
        ("f64", torch.float64, 64),
        ("f8E4M3FN", torch.float8_e4m3fn, 8),
        ("f8E5M2", torch.float8_e5m2, 8),
        ("f8E4M3FNUZ", torch.float8_e4m3fnuz, 8),
        ("f8E5M2FNUZ", torch.float8_e5m2fnuz, 8),
        ("f8E8M0FNU", torch.float8_e8m0fnu, 8),
        # torch has no dtype for it: the raw byte.
        ("f8E4M3B11FNUZ", torch.uint8, 8),
    )
}
_SIGNED = re.compile(r"^[su]i(\d+)$")
_DIMENSION = re.compile(r"(\d+)x")


@lru_cache(maxsize=4096)
def parse_type(text: str) -> Shaped:
    """Reads the text of a type. Raises: UnsupportedError if no value of it can be held."""
    text = text.strip()
    if text.startswith("tensor<"):
        return _shaped("tensor", _inside(text))
    if text.startswith("!tt.tensordesc<"):
        inside = _inside(text)
        if inside.startswith("tensor<"):
            inside = _inside(inside)
        return _shaped("descriptor", inside)
    if text.startswith("!tt.ptr<tensor<"):
        return _shaped("block_pointer", _inside(_first(_inside(text))))
    return Shaped("scalar", (), _element(text))


def element_type(name: str) -> Element:
    """The element type of that MLIR name, `f32` or `f8E4M3FN`."""
    return _element(name)


def _shaped(kind: str, inside: str) -> Shaped:
    # An encoding (`, #blocked`) says where elements live, never what they are.
    inside = _first(inside)
    shape = []
    while (match := _DIMENSION.match(inside)) is not None:
        shape.append(int(match.group(1)))
        inside = inside[match.end() :]
    return Shaped(kind, tuple(shape), _element(inside))


def _element(text: str) -> Element:
    if text.startswith("!tt.ptr<"):
        inside = _first(_inside(text))
        pointee: Element | Shaped
        pointee = parse_type(inside) if inside.startswith("tensor<") else _element(inside)
        return Element("ptr", torch.int64, 64, pointee)
    signed = _SIGNED.match(text)
    if signed is not None:
        text = f"i{signed.group(1)}"
    if text not in _ELEMENTS:
        raise UnsupportedError(f"the executor has no values of type {text}")
    return _ELEMENTS[text]


def _inside(text: str) -> str:
    """`tensor<4xf32>` -> `4xf32`."""
    return text[text.index("<") + 1 : text.rindex(">")].strip()


def _first(text: str) -> str:
    """The part before the first comma that no bracket encloses."""
    depth = 0
    for position, char in enumerate(text):
        if char in "<([{":
            depth += 1
        elif char in ">)]}":
            depth -= 1
        elif char == "," and depth == 0:
            return text[:position].strip()
    return text.strip()
