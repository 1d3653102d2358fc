"""Steps that compute rows: elementwise functions, norms, gates, reductions, and ops that nothing knows."""

from __future__ import annotations

import torch

from epiq.testing.generate.builder import Builder, RejectedError, Table

PRODUCERS = Table()
_FLOAT32 = (torch.float32,)

_UNARY = (
    "F.silu({})", "F.gelu({}, approximate='tanh')", "F.gelu({})", "F.relu({})", "torch.sigmoid({})",
    "torch.tanh({})", "torch.exp(-{}.abs())", "{}.abs()", "-{}", "{}.square()", "torch.rsqrt({}.abs() + 0.5)",
    "torch.sqrt({}.abs())", "{}.clamp(-3.0, 3.0)", "{}.clamp(max=7.0)", "torch.sin({})", "torch.cos({})",
    "{}.reciprocal().clamp(-9.0, 9.0)", "torch.log1p({}.abs())", "{}.round()", "{}.sign()", "torch.erf({})",
    "F.relu({}).square()", "F.softplus({})", "torch.exp2({}.clamp(-20, 9))", "F.hardswish({})",
    "torch.floor({})", "F.leaky_relu({}, 0.1)", "F.elu({})", "{}.pow(3)", "{}.nan_to_num()",
    "F.log_softmax({}, -1)", "F.logsigmoid({})", "torch.where({0} > 0.5, {0}, {0} * 0.25)",
    "torch.trunc({})",     "torch.where({}.isnan(), 0.0, {})", "{}.pow(0.5).nan_to_num()", "F.mish({})",
    "torch.expm1({}.clamp(max=4))",
)  # fmt: skip
_SCALAR = (
    "{} * 1.702", "{} + 1", "{} * 0.5", "{} / 3.0", "1.0 - {}", "{} / 8", "{} - 0.1", "2 * {}", "{} * 1e-3",
    "{} + 1e-6", "{} / 448.0", "torch.add({0}, {0}, alpha=2)", "{} * torch.full((), 0.3, device={0}.device)",
    "{} * torch.tensor(0.7)", "{} ** 2", "1.0 / ({}.abs() + 1)", "{} // 1", "{} % 4.0",
)  # fmt: skip
_BINARY = (
    "{} + {}", "{} + {}", "{} - {}", "{} * {}", "{} * {}", "torch.maximum({}, {})", "torch.minimum({}, {})",
    "{} / ({}.abs() + 1)", "torch.where({0} > {1}, {0}, {1} * 0.5)", "F.silu({}) * {}",
    "F.gelu({}, approximate='tanh') * {}", "F.gelu({}) * {}", "torch.sigmoid({}) * {}",
    "torch.lerp({}, {}, 0.25)",
    "torch.addcmul({0}, {0}, {1}, value=0.5)", "{} * {}.float()", "{}.float() + {}", "torch.hypot({}, {})",
    "torch.where(({0} >= 0) & ({1} < 1), {0}, {1})", "torch.copysign({}, {})", "F.relu({}) - {}",
)  # fmt: skip
_REDUCTIONS = (
    "{0} - {0}.mean(-1, keepdim=True)",
    "{0} * {0}.amax(-1, keepdim=True)",
    "{0} / ({0}.abs().sum(-1, keepdim=True) + 1)",
    "{0} * torch.rsqrt({0}.float().square().mean(-1, keepdim=True) + 1e-5)",
    "F.softmax({0}, -1)",
    "F.softmax({0}.float(), -1).to({0}.dtype)",
    "{0} - {0}.amin(-1, keepdim=True)",
    "({0} - {0}.mean(-1, keepdim=True)) / (torch.var({0}.float(), -1, keepdim=True, correction=0) + 1)",
    "{0} / torch.linalg.vector_norm({0}.float(), dim=-1, keepdim=True).clamp(min=1e-6)",
    "{0} * (1 + {0}.square().mean(-1, keepdim=True)).reciprocal()",
    "F.normalize({0}, dim=-1)",
    "{0} + torch.logsumexp({0}, -1, keepdim=True)",
    "{0} * ({0} > {0}.mean(-1, keepdim=True))",
    "{0} / ({0}.abs().max() + 1)",
)
# What no program holds: it stays with Inductor, and programs grow around it.
_OPAQUE = (
    "{}.cumsum(-1).tanh()", "{}.cumsum(0).tanh()", "{}.flip(0)", "{}.flip(-1)", "{}.sort(-1).values",
    "{}.roll(1, -1)", "{0} + {0}.mean(0, keepdim=True)", "{0} - {0}.amax(0)", "{}.roll(1, 0)",
    "F.dropout({}, 0.5, training=False)", "torch.cummax({}, -1).values",
    "{0}.gather(-1, {0}.argsort(-1))",     "{0}[torch.arange({0}.shape[0] - 1, -1, -1)]",
    "{0}.masked_fill({0} > 1, 0.5)", "torch.tril({0})",
)  # fmt: skip
_NORMS = (
    "F.rms_norm({}, ({0}.shape[-1],), {}, 1e-5)",
    "{1} * ({0}.float() * torch.rsqrt({0}.float().pow(2).mean(-1, keepdim=True) + 1e-6)).to({0}.dtype)",
    "({0}.float() * torch.rsqrt({0}.float().pow(2).mean(-1, keepdim=True) + 1e-6) "
    "* (1.0 + {1}.float())).to({0}.dtype)",
    "F.layer_norm({}, ({0}.shape[-1],), {}, None, 1e-5)",
    "F.layer_norm({0}, ({0}.shape[-1],), {1}, {1}, 1e-6)",
)


def _numbered(code: str, count: int) -> str:
    """Places in the order of the arguments, spelled as numbers: one argument may stand twice."""
    if "{}" not in code:
        return code
    pieces = code.split("{}")
    numbers = [str(min(index, count - 1)) for index in range(len(pieces) - 1)]
    return "".join(a + "{" + n + "}" for a, n in zip(pieces, numbers, strict=False)) + pieces[-1]


def _label(code: str) -> str:
    head = code.replace("{}", "x").replace("{0}", "x").replace("{1}", "y")
    return head if len(head) < 44 else head[:41] + "..."


def _take(b: Builder, codes: tuple[str, ...], *args: str) -> None:
    code = b.rng.choice(codes)
    b.then(_label(code), _numbered(code, len(args)), *args)


@PRODUCERS.add(4)
def unary(b: Builder) -> None:
    _take(b, _UNARY, b.rows())


@PRODUCERS.add(2)
def scalar(b: Builder) -> None:
    _take(b, _SCALAR, b.rows())


@PRODUCERS.add(5)
def binary(b: Builder) -> None:
    x = b.rows()
    _take(b, _BINARY, x, b.partner(x))


@PRODUCERS.add(3)
def norm(b: Builder) -> None:
    x = b.rows()
    _take(b, _NORMS, x, b.weight(x))


@PRODUCERS.add(1.5)
def reduction(b: Builder) -> None:
    _take(b, _REDUCTIONS, b.rows())


@PRODUCERS.add(0.7)
def opaque(b: Builder) -> None:
    _take(b, _OPAQUE, b.rows())


@PRODUCERS.add(1.5)
def with_vector(b: Builder) -> None:
    """A bias or a scale along the row, of this dtype or of f32."""
    x = b.rows()
    w = b.weight(x, b.rng.choice((None, torch.float32)))
    _take(b, ("{} * {}", "{} + {}", "{1} * {0}", "torch.where({1} > 1, {0}, 0.0)", "{0} - {1}"), x, w)


@PRODUCERS.add(0.7)
def with_token_scale(b: Builder) -> None:
    """One number for each token, as routers and per-token scales have."""
    x = b.rows()
    s = b.then("token scale", "{0}.abs().amax(-1, keepdim=True) + 1", x)
    _take(b, ("{} * {}", "{} / {}"), x, s)


@PRODUCERS.add(2)
def gate(b: Builder) -> None:
    """Both halves of a row, side by side or alternating."""
    x = b.rows(multiple=2)
    if b.rng.random() < 0.6:
        g, u = b.step("chunk", "{}.chunk(2, -1)", x, results=2)
    else:
        g, u = b.then("x[..., ::2]", "{}[..., ::2]", x), b.then("x[..., 1::2]", "{}[..., 1::2]", x)
    codes = (
        "F.silu({}) * {}",
        "F.gelu({}, approximate='tanh') * {}",
        "({1} + 1) * ({0} * torch.sigmoid(1.702 * {0}))",
        "{} * {}",
        "torch.sigmoid({}) * {}",
    )
    _take(b, codes, g, u)


@PRODUCERS.add(0.4)
def glu(b: Builder) -> None:
    b.then("F.glu(x)", "F.glu({}, -1)", b.rows(multiple=2))


@PRODUCERS.add(1)
def rope(b: Builder) -> None:
    """Rotates halves, with angles for each token and half of the row, or for all of it."""
    x = b.rows(multiple=2)
    if not b._is_plain(b.values[x]):
        raise RejectedError("angles need the tokens of an input")
    shape = b.values[x].shape
    kind = torch.float32 if b.rng.random() < 0.3 else b.values[x].dtype
    cos, sin = b.input(shape, kind), b.input(shape, kind)
    turned = b.then(
        "rotate_half",
        "torch.cat((-{0}[..., {0}.shape[-1] // 2:], {0}[..., :{0}.shape[-1] // 2]), -1)",
        x,
    )
    b.then("rope", "({0} * {1} + {2} * {3}).to({0}.dtype)", x, cos, turned, sin)


@PRODUCERS.add(1.2)
def cast(b: Builder) -> None:
    x = b.rows()
    code = b.rng.choice(
        ("{}.float()", "{}.to(torch.bfloat16)", "{}.half()", "{}.to(torch.float8_e4m3fn).float()",
         "{}.to(torch.float8_e5m2).to(torch.bfloat16)", "{}.double().float()", "{}.to(torch.int32).float()",
         "({} * 16).round().to(torch.int8).to(torch.float16)")
    )  # fmt: skip
    b.then(_label(code), _numbered(code, 1), x)


@PRODUCERS.add(0.8)
def constant(b: Builder) -> None:
    codes = (
        "{0} + torch.arange({0}.shape[-1], device={0}.device).to({0}.dtype) * 0.01",
        "{0} * torch.full_like({0}, 0.3)",
        "{0} + torch.ones({0}.shape[-1], dtype={0}.dtype, device={0}.device)",
        "torch.zeros_like({0}) - {0}",
        "torch.where(torch.arange({0}.shape[-1], device={0}.device) % 2 == 0, {0}, -{0})",
    )
    _take(b, codes, b.rows())


@PRODUCERS.add(1)
def linear(b: Builder) -> None:
    x = b.rows()
    k, n = b.values[x].shape[-1], b.rng.choice((32, 64, 128))
    if k > 256:
        raise RejectedError("a wide product is slow to run")
    w = b.input((n, k), b.values[x].dtype, "normal")
    b.then("F.linear", "F.linear({}, {} / 16)", x, w)


@PRODUCERS.add(1)
def custom_op(b: Builder) -> None:
    if not b.custom_ops:
        raise RejectedError("no custom ops in this recipe")
    x = b.rows()
    which = b.rng.randrange(3)
    if which == 0:
        b.then("custom norm", "ops.norm({}, {}, 1e-5)", x, b.weight(x))
    elif which == 1:
        b.step("custom add_norm", "ops.add_norm({}, {}, {}, 1e-5)", x, b.partner(x), b.weight(x), results=2)
    else:
        b.then("custom silu_and_mul", "ops.silu_and_mul({})", b.rows(multiple=2))


@PRODUCERS.add(1.2)
def dequantized(b: Builder) -> None:
    """What was quantized before, as rows again."""
    if not b.pairs:
        raise RejectedError("nothing is quantized yet")
    pair = b.rng.choice(b.pairs)
    dtype = b.rng.choice(("torch.bfloat16", "torch.float32"))
    b.then("dequantize", f"dequantize({{}}, {{}}, {pair.fmt}, {dtype}{pair.extra})", pair.q, pair.scale)


@PRODUCERS.add(0.6)
def quantized_input(b: Builder) -> None:
    """FP8 rows with a scale for 32 values, as a cache or a weight holds them."""
    x = b.rows(multiple=32)
    if not b._is_plain(b.values[x]):
        raise RejectedError("a new input needs the tokens of an input")
    shape = b.values[x].shape
    q = b.input(shape, torch.float8_e4m3fn)
    s = b.input((*shape[:-1], shape[-1] // 32), torch.float32, "positive")
    b.then(
        "q * scale", "({0}.float().unflatten(-1, (-1, 32)) * {1}.unsqueeze(-1)).flatten(-2).bfloat16()", q, s
    )
