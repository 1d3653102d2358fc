"""Attributes of ops, read from their text.

Enumerations print as an integer (`2 : i32`), a keyword (`rtne`) or a dialect attribute
(`#tt.rounding<rtne>`) depending on how the op was declared; every reader here takes all three.
"""

from __future__ import annotations

import re
import struct

import torch
from torch import Tensor

from epiq.executor.types import Element, Shaped

_TYPED = re.compile(r"\s*:\s*[^:]*$")
_HEX = re.compile(r"^-?0x[0-9A-Fa-f]+$")
# Same-size integer types, through which bits become floats.
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_PACKED = {1: "B", 2: "H", 4: "I", 8: "Q"}


def read_int(text: str) -> int:
    """`5 : i32`, `true` or `-3`."""
    body = _TYPED.sub("", text).strip()
    if body in ("true", "false", "unit"):
        return int(body != "false")
    return int(body, 0)


def read_string(text: str) -> str:
    """`"name"` without its quotes and with MLIR's `\\XX` escapes undone."""
    body = text.strip()
    if body.startswith('"'):
        body = body[1 : body.rindex('"')]
        data = re.sub(
            rb"\\([0-9A-Fa-f]{2}|.)",
            lambda m: bytes.fromhex(m.group(1).decode()) if len(m.group(1)) == 2 else _escape(m.group(1)),
            body.encode(),
        )
        return data.decode(errors="replace")
    return body.lstrip("@")


def _escape(char: bytes) -> bytes:
    return {b"n": b"\n", b"t": b"\t"}.get(char, char)


def read_ints(text: str) -> tuple[int, ...]:
    """`array<i32: 1, 0>`, `dense<[1, 2]> : tensor<2xi32>`, `dense<16> : tensor<1xi32>` or `[1, 2]`."""
    body = text
    if body.startswith("array<"):
        body = body[body.index(":") + 1 : body.rindex(">")] if ":" in body else ""
    elif body.startswith("dense<"):
        body = body[len("dense<") : body.index(">")]
    elif ":" in body and not body.startswith("["):
        body = _TYPED.sub("", body)
    return tuple(int(found) for found in re.findall(r"-?\d+", body))


def read_enum(text: str, names: dict[int, str]) -> str:
    """The keyword of an enumeration's case. names: keyword by value, as the op's definition numbers them."""
    match = re.search(r"<\s*([A-Za-z_0-9]+)\s*>", text)
    if match is not None:
        return match.group(1)
    body = _TYPED.sub("", text).strip().strip('"')
    if re.fullmatch(r"-?\d+", body):
        return names.get(int(body), body)
    return body


def read_constant(text: str, kind: Shaped) -> Tensor:
    """The value of an `arith.constant` as a (1, *shape) tensor; a splat is an expanded view."""
    body = text.strip()
    body = body[len("dense<") : _closing(body)] if body.startswith("dense<") else _strip_type(body)
    body = body.strip()
    shape = (1, *kind.shape)
    if body == "":
        return torch.empty(shape, dtype=kind.element.dtype)
    if body.startswith('"0x'):
        return _from_blob(bytes.fromhex(body[3:-1]), kind)
    literals = re.findall(r"[^\[\],\s]+", body)
    values = torch.cat([_literal(literal, kind.element) for literal in literals])
    if len(literals) == 1:
        return values.reshape((1,) * len(shape)).expand(shape)
    return values.reshape(shape)


def _closing(text: str) -> int:
    """Position of the `>` that closes `dense<`; a string literal may hold no bracket."""
    return text.index(">", len("dense<"))


def _strip_type(body: str) -> str:
    return body.split(" : ")[0].strip()


def _literal(text: str, element: Element) -> Tensor:
    if text in ("true", "false"):
        return torch.tensor([text == "true"], dtype=torch.bool).to(element.dtype)
    if element.is_float:
        if _HEX.match(text):
            return _from_bits([int(text, 16)], element)
        if element.name == "f8E4M3B11FNUZ":
            from epiq.executor.floats import narrow

            return narrow(torch.tensor([float(text)], dtype=torch.float64), element)
        return torch.tensor([float(text)], dtype=torch.float64).to(element.dtype)
    value = int(text, 0)
    if element.bits == 1:
        return torch.tensor([value != 0])
    if value >= 1 << (element.bits - 1):
        value -= 1 << element.bits
    return torch.tensor([value], dtype=element.dtype)


def _from_bits(values: list[int], element: Element) -> Tensor:
    packed = struct.pack(f"<{len(values)}{_PACKED[element.size]}", *values)
    return torch.frombuffer(bytearray(packed), dtype=_BITS[element.size]).view(element.dtype)


def _from_blob(blob: bytes, kind: Shaped) -> Tensor:
    element = kind.element
    if element.bits == 1:
        bits = [bool(blob[i // 8] >> (i % 8) & 1) for i in range(kind.count)]
        if len(blob) == 1 and blob[0] in (0, 255):
            bits = [blob[0] == 255] * kind.count
        return torch.tensor(bits).reshape(1, *kind.shape)
    values = torch.frombuffer(bytearray(blob), dtype=_BITS[element.size]).view(element.dtype)
    return values.expand(kind.count).reshape(1, *kind.shape)
