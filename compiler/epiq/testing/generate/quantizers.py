"""Steps that quantize: `epiq.quantize` with any format and layout, and the spellings of plain torch code."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch

from epiq.formats import ALL, FP8_GROUP128, FP8_PER_TOKEN, MXFP8, QuantFormat
from epiq.formats.layouts import LAYOUTS
from epiq.testing.generate.builder import Builder, Quantized, RejectedError, Table

QUANTIZERS = Table()

_VARIANTS: tuple[tuple[QuantFormat, dict[str, object]], ...] = (
    (FP8_GROUP128, {"scale_dtype": "f8E8M0FNU", "scale_rounding": "rceil"}),
    (FP8_GROUP128, {"group_size": 64, "scale_dtype": "f8E8M0FNU", "scale_rounding": "rceil"}),
    (FP8_GROUP128, {"floor": 1e-4, "floor_on": "amax", "division": False}),
    (FP8_GROUP128, {"element": "f8E5M2", "group_size": 32, "floor": 1e-10, "floor_on": "amax"}),
    (FP8_GROUP128, {"group_size": 16}),
    (FP8_GROUP128, {"partial_groups": "pad"}),
    (FP8_GROUP128, {"element": "i8", "group_size": 32}),
    (FP8_PER_TOKEN, {"upper_bound": 2.5, "division": False}),
    (FP8_PER_TOKEN, {"floor": 1e-12, "floor_on": "amax", "element": "f8E5M2"}),
    (MXFP8, {"scale_rounding": "floor"}),
    (MXFP8, {"partial_groups": "pad"}),
)


def _names() -> dict[int, str]:
    import epiq.formats

    return {id(fmt): name for name, fmt in vars(epiq.formats).items() if isinstance(fmt, QuantFormat)}


def _expression(base: QuantFormat, changes: dict[str, object]) -> str:
    name = f"formats.{_names()[id(base)]}"
    listed = ", ".join(f"{key}={value!r}" for key, value in changes.items())
    return f"replace({name}, {listed})" if changes else name


def random_format(b: Builder, width: int) -> tuple[QuantFormat, str]:
    """A format that rows of this width take, and the expression that makes it."""
    base, changes = b.rng.choice([*((fmt, {}) for fmt in ALL), *_VARIANTS])
    changes = dict(changes)
    if base.granularity == "group":
        layout = b.rng.choice(list(LAYOUTS))
        try:
            dataclasses.replace(base, **{**changes, "scale_layout": layout})  # type: ignore[arg-type]
            if layout != "row_major":
                changes["scale_layout"] = layout
        except ValueError:
            pass
        size = changes.get("group_size", base.group_size)
        if isinstance(size, int) and width % size and changes.get("partial_groups") != "pad":
            changes["partial_groups"] = "pad"
            if b.rng.random() < 0.5:
                changes["group_size"] = next(size for size in (64, 32, 16, 8, 4, 2, 1) if width % size == 0)
                del changes["partial_groups"]
    try:
        fmt = dataclasses.replace(base, **changes)  # type: ignore[arg-type]
        fmt.scale_shape((1, width))
    except ValueError as error:
        raise RejectedError(str(error)) from error
    return fmt, _expression(base, changes)


@QUANTIZERS.add(6)
def by_format(b: Builder) -> None:
    x = b.rows()
    fmt, text = random_format(b, b.values[x].shape[-1])
    args, extra, more = [x], "", ""
    if fmt.static:
        if b.rng.random() < 0.5:
            more = ", 0.03125"
        else:
            args.append(b.input((), torch.float32, "positive"))
            more = ", {1}"
    if fmt.global_scale:
        more, extra = ", global_scale=24.0", ", global_scale=24.0"
        if b.rng.random() < 0.3:
            args.append(b.input((1,), torch.float32, "positive"))
            more = ", global_scale={1}"
    label = f"quantize {fmt.name} {fmt.scale_layout}"
    q, scale = b.step(label, f"quantize({{0}}, {text}{more})", *args, results=2)
    if len(args) == 1 or fmt.static:
        b.pairs.append(Quantized(q, scale, text, extra))


Spelling = Callable[[Builder, str], tuple[str, str]]


def _saturated(b: Builder, x: str, scale: str, spread: str = "") -> str:
    q = b.then("values / scale", f"{{0}} / {{1}}{spread}", x, scale)
    if b.rng.random() < 0.7:
        q = b.then("clamp(-448, 448)", "{}.clamp(min=-448.0, max=448.0)", q)
    return b.then("to(e4m3)", "{}.to(torch.float8_e4m3fn)", q)


def _wide(b: Builder, x: str) -> str:
    return b.then("float()", "{}.float()", x)


def _per_token(b: Builder, x: str) -> tuple[str, str]:
    wide = _wide(b, x)
    code = b.rng.choice(
        (
            "({}.abs().amax(-1, keepdim=True) / 448.0).clamp(min=1e-8)",
            "{}.abs().amax(-1, keepdim=True).clamp(min=1e-10) / 448.0",
            "({}.abs().max(dim=-1, keepdim=True)[0] / 448.0).clamp(min=1e-8)",
            "{}.abs().amax(-1, keepdim=True).clamp(1e-4, 1200.0) * (1 / 448.0)",
            "torch.linalg.vector_norm({}, float('inf'), dim=-1, keepdim=True).clamp(min=1e-8) / 448.0",
            "torch.maximum({0}.abs().amax(-1, keepdim=True) / 448.0, torch.tensor(1e-8))",
            "torch.where({0}.amax(-1, keepdim=True) == 0, 1.0, {0}.abs().amax(-1, keepdim=True) / 448.0)",
            "torch.maximum(-{0}.amin(-1, keepdim=True), {0}.amax(-1, keepdim=True)).clamp(min=1e-8) / 448.0",
        )
    )
    scale = b.then("scale of a token", code.replace("{}", "{0}"), wide)
    return _saturated(b, wide, scale), scale


def _per_group(b: Builder, x: str) -> tuple[str, str]:
    width = b.values[x].shape[-1]
    sizes = [size for size in (128, 64, 32, 16) if width % size == 0]
    if not sizes:
        raise RejectedError(f"no group divides {width}")
    size = b.rng.choice(sizes)
    wide = b.then("float()", "{}.float()", x)
    groups = b.then("groups", f"{{}}.unflatten(-1, (-1, {size}))", wide)
    code = b.rng.choice(
        (
            "({}.abs().amax(-1, keepdim=True) / 448.0).clamp(min=1e-8)",
            "{}.abs().amax(-1, keepdim=True).clamp(min=1e-10) / 448.0",
            "torch.exp2(torch.ceil(torch.log2({}.abs().amax(-1, keepdim=True).clamp(min=1e-4) / 448.0)))",
        )
    )
    scale = b.then("scale of a group", code.replace("{}", "{0}"), groups)
    q = b.then("flatten", "{}.flatten(-2)", _saturated(b, groups, scale))
    return q, b.then("squeeze", "{}.squeeze(-1)", scale)


def _rows_of_groups(b: Builder, x: str) -> tuple[str, str]:
    width = b.values[x].shape[-1]
    size = next((size for size in (128, 32, 16) if width % size == 0), 0)
    if not size:
        raise RejectedError(f"no group divides {width}")
    groups = b.then("rows of groups", f"{{}}.reshape(-1, {size}).float()", x)
    scale = b.then("scale of a group", "({}.abs().amax(1, keepdim=True) / 448.0).clamp(min=1e-8)", groups)
    q = b.then("reshape", "{0}.reshape({1}.shape)", _saturated(b, groups, scale), x)
    return q, b.then("reshape", f"{{0}}.reshape(*{{1}}.shape[:-1], {width // size})", scale, x)


def _deep_gemm(b: Builder, x: str) -> tuple[str, str]:
    """448 / amax, which torch makes a product with the reciprocal."""
    if b.values[x].shape[-1] % 64:
        raise RejectedError("no group of 64")
    groups = b.then("groups", "{}.unflatten(-1, (-1, 64))", x)
    amax = b.then("amax of a group", "{}.abs().float().amax(-1).clamp(1e-4)", groups)
    q = b.then("x * (448 / amax)", "({} * (448.0 / {}.unsqueeze(-1))).to(torch.float8_e4m3fn)", groups, amax)
    return b.then("flatten", "{}.flatten(-2)", q), b.then("amax / 448", "{} / 448.0", amax)


def _per_tensor(b: Builder, x: str) -> tuple[str, str]:
    wide = _wide(b, x)
    scale = b.then("scale of a tensor", "({}.abs().amax() / 448.0).clamp(min=1e-12)", wide)
    return _saturated(b, wide, scale), scale


def _static(b: Builder, x: str) -> tuple[str, str]:
    scale = b.input((1,), torch.float32, "positive")
    wide = _wide(b, x)
    q = b.then("x * (1 / scale)", "({} * {}.reciprocal()).clamp(-448.0, 448.0)", wide, scale)
    return b.then("to(e4m3)", "{}.to(torch.float8_e4m3fn)", q), scale


def _int8(b: Builder, x: str) -> tuple[str, str]:
    wide = _wide(b, x)
    code = b.rng.choice(
        (
            "({}.abs().amax(-1, keepdim=True) / 127).clamp(min=1.2e-7)",
            "{}.abs().amax(-1, keepdim=True).clamp(min=1e-5) / 127",
        )
    )
    scale = b.then("scale of a token", code, wide)
    q = b.then("round(x / scale)", "({} / {}).round().clamp(-128, 127)", wide, scale)
    return b.then("to(int8)", "{}.to(torch.int8)", q), scale


def _in_bf16(b: Builder, x: str) -> tuple[str, str]:
    scale = b.then("scale in bf16", "({}.abs().amax(-1, keepdim=True) / 448.0).clamp(min=1e-6)", x)
    return _saturated(b, x, scale), scale


def _uint8(b: Builder, x: str) -> tuple[str, str]:
    """Asymmetric, with a zero point."""
    wide = _wide(b, x)
    low = b.then("amin", "{}.amin(-1, keepdim=True)", wide)
    scale = b.then("range / 255", "(({0}.amax(-1, keepdim=True) - {1}) / 255.0).clamp(min=1e-6)", wide, low)
    q = b.then("(x - low) / scale", "(({} - {}) / {}).round().clamp(0, 255)", wide, low, scale)
    return b.then("to(uint8)", "{}.to(torch.uint8)", q), scale


_SPELLINGS: tuple[Spelling, ...] = (
    _per_token, _per_group, _rows_of_groups, _deep_gemm, _per_tensor, _static, _int8, _in_bf16, _uint8,
    _per_group, _per_token,
)  # fmt: skip


@QUANTIZERS.add(4)
def spelled(b: Builder) -> None:
    spelling = b.rng.choice(_SPELLINGS)
    spelling(b, b.rows())


@QUANTIZERS.add(0.6)
def by_custom_op(b: Builder) -> None:
    if not b.custom_ops:
        raise RejectedError("no custom ops in this recipe")
    b.step("custom group_quantize", "ops.group_quantize({}, 32)", b.rows(multiple=32), results=2)


@QUANTIZERS.add(0.3)
def bare_cast(b: Builder) -> None:
    b.then("to(e4m3)", "{}.clamp(-448.0, 448.0).to(torch.float8_e4m3fn)", b.rows())
