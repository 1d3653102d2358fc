"""Groups an imported graph by hand: wraps the ops of named FX nodes into row programs, by text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from epiq.pipeline import RowProgram, TensorSpec
from epiq.pipeline.program import Layout

_TENSOR = re.compile(r"tensor<((?:(?:\?|\d+)x)*)(\w+)>")
_VALUE = re.compile(r"%\w+(?:#\d+)?")


def group(
    text: str,
    groups: Mapping[str, Sequence[str]],
    width: int,
    layouts: Mapping[str, Layout] | None = None,
) -> tuple[str, dict[str, RowProgram]]:
    """The module with each group's ops in a row program, and the programs by symbol.

    groups: symbol -> names of FX nodes. layouts: FX name of an output -> its layout.
    """
    lines = text.splitlines()
    head, body, tail = lines[:2], lines[2:-3], lines[-3:]
    types = dict(re.findall(r"(%arg\d+): (tensor<[^>]*>)", head[1]))
    for line in body:
        types.update(_results(line))
    programs: dict[str, RowProgram] = {}
    for symbol, names in groups.items():
        inside = [line for line in body if _node(line) in names]
        defined = {value for line in inside for value in _results(line)}
        outside = [line for line in body if line not in inside] + [tail[0]]
        inputs = sorted({v for line in inside for v in _uses(line)} - defined, key=lambda v: (v[1] != "a", v))
        used_outside = {value for line in outside for value in _uses(line)}
        outputs = [v for line in inside for v in _results(line) if v in used_outside]
        names_of = {value: _node(line) for line in inside for value in _results(line)}
        kinds: list[Layout] = [(layouts or {}).get(names_of[value], "row_major") for value in outputs]
        programs[symbol] = _program(
            symbol, [types[v] for v in inputs], [types[v] for v in outputs], kinds, width
        )
        block = [
            f"    {', '.join(_fresh(v) for v in outputs)} = epiq.row_program @{symbol} "
            f"({', '.join(inputs)}) {{layouts = [{', '.join(f'#epiq.layout<{k}>' for k in kinds)}]}} : "
            f"({', '.join(types[v] for v in inputs)}) -> ({', '.join(types[v] for v in outputs)}) {{",
            f"    ^bb0({', '.join(f'%b{n}: {types[v]}' for n, v in enumerate(inputs))}):",
        ]
        renamed = {value: f"%b{n}" for n, value in enumerate(inputs)}
        block += [_rename(line, renamed) for line in inside]
        block.append(
            f"    epiq.yield {', '.join(renamed.get(v, v) for v in outputs)} : "
            f"{', '.join(types[v] for v in outputs)}"
        )
        block.append("    }")
        fresh = {value: _fresh(value) for value in outputs}
        position = max(body.index(line) for line in inside)
        rest = [line for line in body[:position] if line not in inside]
        after = [_rename(line, fresh) for line in body[position + 1 :] if line not in inside]
        types.update({fresh[value]: types[value] for value in outputs})
        body = rest + block + after
        tail = [_rename(tail[0], fresh), *tail[1:]]
    return "\n".join(head + body + tail), programs


def _fresh(value: str) -> str:
    return "%r" + value[1:]


def _node(line: str) -> str:
    match = re.search(r'loc\("([\w.]+)"', line)
    return match[1].removesuffix(".aux") if match else ""


def _results(line: str) -> dict[str, str]:
    match = re.match(r"\s*(%\w+)(?::(\d+))? = (.*) loc\(", line)
    if match is None:
        return {}
    found = [type_.group(0) for type_ in _TENSOR.finditer(match[3])]
    if match[2] is None:
        return {match[1]: found[-1]}
    count = int(match[2])
    return {f"{match[1]}#{index}": type_ for index, type_ in enumerate(found[-count:])}


def _uses(line: str) -> list[str]:
    return _VALUE.findall(line.split(" = ", 1)[-1].split(" loc(")[0])


def _rename(line: str, names: Mapping[str, str]) -> str:
    return _VALUE.sub(lambda match: names.get(match[0], match[0]), line)


def _program(
    symbol: str, inputs: list[str], outputs: list[str], layouts: list[Layout], width: int
) -> RowProgram:
    return RowProgram(
        name=f"by_hand_{symbol}",
        symbol=symbol,
        ir=symbol,
        inputs=tuple(_spec(type_, width) for type_ in inputs),
        outputs=tuple(_spec(type_, width, layout) for type_, layout in zip(outputs, layouts, strict=True)),
        row_width=width,
        full_row=True,
        composites=(),
        key=f"{symbol} {inputs} {outputs} {layouts}",
    )


def _spec(type_: str, width: int, layout: Layout = "row_major") -> TensorSpec:
    match = _TENSOR.fullmatch(type_)
    assert match is not None
    shape = tuple(None if dim == "?" else int(dim) for dim in match[1].split("x")[:-1])
    row_like = len(shape) >= 2
    return TensorSpec(match[2], shape, row_like, (shape[-1] or 1) if shape else 1, layout)
