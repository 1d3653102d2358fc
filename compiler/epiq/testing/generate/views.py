"""Steps that move values: reshapes, slices, transposes, padding, concatenations, copies."""

from __future__ import annotations

from epiq.testing.generate.builder import Builder, Table
from epiq.testing.generate.producers import _label, _take

VIEWS = Table()

_SHAPES = (
    "{0}.reshape(-1, {0}.shape[-1])",
    "{0}.flatten(0, -2)",
    "{0}.unsqueeze(0)",
    "{0}.unsqueeze(-2)",
    "{0}.squeeze()",
    "{0}.unflatten(-1, (2, -1))",
    "{0}.unflatten(-1, (-1, 32))",
    "{0}.unflatten(-1, (-1, 16)).flatten(-2)",
    "{0}.flatten(-2)",
    "{0}.reshape({0}.shape)",
    "{0}.reshape(-1, {0}.shape[-1] // 2)",
    "{0}.contiguous()",
    "{0}.clone()",
)
_TURNED = (
    "{0}.transpose(0, 1)",
    "{0}.transpose(-1, -2)",
    "{0}.transpose(0, 1).contiguous()",
    "{0}.mT.contiguous()",
    "{0}.unflatten(-1, (4, -1)).transpose(-2, -3)",
    "{0}.unflatten(-1, (-1, 2)).transpose(-1, -2).flatten(-2)",
    "{0}.movedim(0, -2)",
)
_PARTS = (
    "{0}[..., :{0}.shape[-1] // 2]",
    "{0}[..., {0}.shape[-1] // 2:]",
    "{0}[..., 1:]",
    "{0}[..., ::2]",
    "{0}[1:]",
    "{0}[:-1]",
    "{0}[::2]",
    "{0}[0]",
    "{0}[-1:]",
    "{0}[..., :32]",
    "{0}.narrow(-1, 8, 16)",
    "{0}.select(-2, 0)",
)
_JOINED = (
    "torch.cat(({0}, {1}), -1)",
    "torch.cat(({0}, {1}), 0)",
    "torch.stack(({0}, {1}))",
    "torch.stack(({0}, {1}), -1).flatten(-2)",
)
_SPREAD = (
    "{0}.expand(2, *{0}.shape)",
    "{0}.repeat(*[1] * ({0}.dim() - 1), 2)",
    "F.pad({0}, (0, 32))",
    "F.pad({0}, (16, 16))",
    "F.pad({0}, (0, 0, 1, 2))",
    "{0}[:1].expand_as({0})",
    "{0}.repeat_interleave(2, -1)",
    "{0}[..., :1].expand_as({0})",
    "{0}.unsqueeze(-2).expand(*{0}.shape[:-1], 2, {0}.shape[-1]).flatten(-2)",
)


@VIEWS.add(4)
def shape(b: Builder) -> None:
    _take(b, _SHAPES, b.rows())


@VIEWS.add(1.5)
def turned(b: Builder) -> None:
    _take(b, _TURNED, b.rows())


@VIEWS.add(2)
def part(b: Builder) -> None:
    _take(b, _PARTS, b.rows())


@VIEWS.add(1)
def joined(b: Builder) -> None:
    x = b.rows()
    _take(b, _JOINED, x, b.partner(x))


@VIEWS.add(1)
def spread(b: Builder) -> None:
    _take(b, _SPREAD, b.rows())


@VIEWS.add(0.6)
def split(b: Builder) -> None:
    """Q, K and V of one projection."""
    x = b.rows(multiple=4)
    b.step(
        "split", "{0}.split(({0}.shape[-1] // 2, {0}.shape[-1] // 4, {0}.shape[-1] // 4), -1)", x, results=3
    )


@VIEWS.add(1)
def of_quantized(b: Builder) -> None:
    """What models do with values and scales: views for the op that takes them."""
    pair = b.rng.choice(b.pairs) if b.pairs else None
    name = b.rows() if pair is None else b.rng.choice((pair.q, pair.scale))
    code = b.rng.choice(
        ("{}.t()", "{}.reshape(-1)", "{}.transpose(-1, -2)", "{}.unsqueeze(0)", "{}.contiguous()",
         "{0}.reshape(-1, {0}.shape[-1])", "{}[1:]", "{}.view(torch.uint8)")
    )  # fmt: skip
    b.then("quantized " + _label(code), code.replace("{}", "{0}"), name)
