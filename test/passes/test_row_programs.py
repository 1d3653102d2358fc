"""Row programs, lowered and run in the executor, against the same chain in torch.

Sums of small integers are exact in any order, so with such inputs every chain must give torch's bits;
with other inputs the norm may differ as far as a reordered sum allows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from row_chains import (
    FP8,
    Builder,
    Node,
    add,
    multiply,
    quantize,
    quantize_groups,
    rms_norm,
    silu_mul,
    to_fp8,
)
from torch import Tensor

from epiq import ir
from epiq.codegen import Target, compile_ttir, ptxas_report
from epiq.errors import PassError
from epiq.executor import run, uninitialized

DTYPES = {
    "bf16": torch.bfloat16,
    "f32": torch.float32,
    FP8: torch.float8_e4m3fn,
    "i32": torch.int32,
    "i1": torch.bool,
}


@dataclass(frozen=True)
class Chain:
    """text: the module. reference: inputs -> outputs. outputs: row shape and dtype of each."""

    text: str
    reference: Callable[..., tuple[Tensor, ...]]
    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...]
    column_major: tuple[int, ...] = ()


def chain(
    b: Builder,
    outputs: list[Node],
    reference: Callable[..., tuple[Tensor, ...]],
    column_major: tuple[int, ...] = (),
) -> Chain:
    return Chain(b.program(outputs, column_major), reference, tuple(b.inputs), tuple(outputs), column_major)


def torch_rms_norm(x: Tensor, weight: Tensor, eps: float = 1e-5) -> Tensor:
    wide = x.float()
    mean = (wide * wide).sum(-1, keepdim=True) / x.shape[-1]
    return (wide * torch.rsqrt(mean + eps)).to(x.dtype) * weight


def torch_to_fp8(x: Tensor) -> Tensor:
    return x.clamp(-448.0, 448.0).to(torch.float8_e4m3fn)


def torch_quantize(x: Tensor, floor: float = 1e-10) -> tuple[Tensor, Tensor]:
    amax = x.float().abs().amax(-1, keepdim=True)
    scale = torch.maximum(amax, torch.tensor(floor)) / 448.0
    return torch_to_fp8(x.float() / scale), scale


def torch_quantize_groups(x: Tensor, group: int) -> tuple[Tensor, Tensor]:
    q, scale = torch_quantize(x.unflatten(-1, (-1, group)))
    return q.flatten(-2), scale.squeeze(-1)


def norm_group(
    tokens: tuple[int | None, ...], width: int, group: int = 0, column_major: bool = False
) -> Chain:
    """h = x + r; n = rms_norm(h) * w; q, scale = quantize(n) -> h, n, q, scale"""
    group = group or min(width, 128 if width % 128 == 0 else 48 if width % 48 == 0 else width)
    b = Builder()
    x, r = b.input((*tokens, width), "bf16"), b.input((*tokens, width), "bf16")
    w = b.input((width,), "bf16")
    h = add(b, x, r)
    n = rms_norm(b, h, w)
    q, scale = quantize_groups(b, n, group)

    def reference(x: Tensor, r: Tensor, w: Tensor) -> tuple[Tensor, ...]:
        h = x + r
        n = torch_rms_norm(h, w)
        return h, n, *torch_quantize_groups(n, group)

    return chain(b, [h, n, q, scale], reference, (3,) if column_major else ())


def static(tokens: tuple[int | None, ...], width: int) -> Chain:
    """q = fp8(x * (1 / scale)), the scale given"""
    b = Builder()
    x, s = b.input((*tokens, width), "bf16"), b.input((), "f32")
    wide = b.cast(x, "f32")
    inverse = b.apply("arith.divf", b.constant(1.0, s), s)
    q = to_fp8(b, b.apply("arith.mulf", wide, b.broadcast(inverse, wide.shape)))
    return chain(b, [q], lambda x, s: (torch_to_fp8(x.float() * (1.0 / s)),))


def token(tokens: tuple[int | None, ...], width: int, keep: bool = True) -> Chain:
    b = Builder()
    x = b.input((*tokens, width), "bf16")
    q, scale = quantize(b, x, keep=keep)

    def reference(x: Tensor) -> tuple[Tensor, ...]:
        q, scale = torch_quantize(x)
        return q, scale if keep else scale.squeeze(-1)

    return chain(b, [q, scale], reference)


def silu_group(
    tokens: tuple[int | None, ...], width: int, group: int = 0, column_major: bool = False
) -> Chain:
    """Both halves of one tensor of twice the width."""
    group = group or (128 if width % 128 == 0 else 48 if width % 48 == 0 else width)
    b = Builder()
    x = b.input((*tokens, 2 * width), "bf16")
    y = silu_mul(b, b.slice(x, 0, width), b.slice(x, width, 2 * width))
    q, scale = quantize_groups(b, y, group, keep=False)

    def reference(x: Tensor) -> tuple[Tensor, ...]:
        gate, up = x.chunk(2, -1)
        g = gate.float()
        return torch_quantize_groups((g / (1 + torch.exp(-g))).to(x.dtype) * up, group)

    return chain(b, [q, scale], reference, (1,) if column_major else ())


def power_of_two(tokens: tuple[int | None, ...], width: int, group: int = 0) -> Chain:
    """Scales rounded up to powers of two by their exponent bits."""
    group = group or min(width, 32 if width % 32 == 0 else width)
    b = Builder()
    x = b.input((*tokens, width), "f32")
    wide = b.reshape(x, (*tokens, width // group, group))
    amax = b.reduce("max", b.apply("math.absf", wide))
    scale = b.apply("arith.divf", amax, b.constant(448.0, amax))

    def integer(number: int, like: Node) -> Node:
        scalar = b.emit(f"arith.constant dense<{number}> : tensor<i32>", (), "i32")
        return b.broadcast(scalar, like.shape)

    as_int = Node("", scale.shape, "i32")
    bits = b.emit(f"arith.bitcast {scale.name} : {scale.type} to {as_int.type}", scale.shape, "i32")
    rounded = b.apply("arith.addi", bits, integer(0x7FFFFF, bits))
    kept = b.apply("arith.andi", rounded, integer(0x7F800000, bits))
    power = b.emit(f"arith.bitcast {kept.name} : {kept.type} to {scale.type}", scale.shape, "f32")
    q = to_fp8(b, b.apply("arith.divf", wide, b.broadcast(power, wide.shape)))

    def reference(x: Tensor) -> tuple[Tensor, ...]:
        wide = x.unflatten(-1, (-1, group))
        scale = wide.abs().amax(-1, keepdim=True) / 448.0
        power = ((scale.view(torch.int32) + 0x7FFFFF) & 0x7F800000).view(torch.float32)
        return torch_to_fp8(wide / power).flatten(-2), power.flatten(-2)

    outputs = [b.reshape(q, x.shape), b.reshape(power, (*tokens, width // group))]
    return chain(b, outputs, reference)


def two_reductions(tokens: tuple[int | None, ...], width: int) -> Chain:
    """A layer norm by hand, then a scale per token: three reductions that span the row."""
    b = Builder()
    x, w = b.input((*tokens, width), "bf16"), b.input((width,), "bf16")
    wide = b.cast(x, "f32")
    mean = b.reduce("sum", wide)
    mean = b.apply("arith.divf", mean, b.constant(float(width), mean))
    centered = b.apply("arith.subf", wide, b.broadcast(mean, wide.shape))
    total = b.reduce("sum", b.apply("arith.mulf", centered, centered))
    root = b.apply("math.sqrt", b.apply("arith.addf", total, b.constant(1.0, total)))
    y = b.apply("arith.divf", centered, b.broadcast(root, wide.shape))
    y = multiply(b, b.cast(y, "bf16"), b.broadcast(w, x.shape))
    q, scale = quantize(b, y)

    def reference(x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
        wide = x.float()
        centered = wide - wide.sum(-1, keepdim=True) / width
        root = torch.sqrt((centered * centered).sum(-1, keepdim=True) + 1.0)
        y = (centered / root).to(x.dtype) * w
        return y, *torch_quantize(y)

    return chain(b, [y, q, scale], reference)


CHAINS = {
    "norm_group": norm_group,
    "norm_group_column": lambda t, w: norm_group(t, w, column_major=True),
    "static": static,
    "token": token,
    "token_squeezed": lambda t, w: token(t, w, keep=False),
    "silu_group": silu_group,
    "silu_group_column": lambda t, w: silu_group(t, w, column_major=True),
    "power_of_two": power_of_two,
}


def lower(text: str, block_rows: int = 1, block_cols: int = 0, chunk_cols: int = 0) -> str:
    module = ir.parse(text)
    ir.run_passes(
        module,
        f"epiq-lower-row-program{{block-rows={block_rows} block-cols={block_cols} chunk-cols={chunk_cols}}}",
    )
    return ir.print_triton(module)


def facts(text: str) -> dict[str, object]:
    """The attributes that epiq-annotate-rows attaches."""
    module = ir.parse(text)
    ir.run_passes(module, "epiq-annotate-rows")
    op = module.body.operations[0].regions[0].blocks[0].operations[0]
    return {name: op.attributes[name].value for name in ("row_width", "column_unit", "full_row", "num_rows")}


def execute(
    case: Chain, inputs: list[Tensor], block_rows: int = 1, block_cols: int = 0, chunk_cols: int = 0
) -> list[Tensor]:
    known = facts(case.text)
    num_rows = next(
        math.prod(given.shape[: node.shape.index(None) + 1])
        for node, given in zip(case.inputs, inputs, strict=True)
        if None in node.shape
    )
    outputs = []
    for index, node in enumerate(case.outputs):
        row = node.shape[node.shape.index(None) + 1 :]
        shape = (num_rows, *row) if index not in case.column_major else (*row, num_rows)
        outputs.append(uninitialized(shape, DTYPES[node.dtype]))
    strides = [
        given.stride(node.shape.index(None))
        for node, given in zip(case.inputs, inputs, strict=True)
        if None in node.shape
    ]
    columns = math.ceil(known["row_width"] / block_cols) if block_cols else 1
    grid = (math.ceil(num_rows / block_rows) * columns, 1, 1)
    run(lower(case.text, block_rows, block_cols, chunk_cols), grid, [*inputs, *outputs, num_rows, *strides])
    return [out.t() if index in case.column_major else out for index, out in enumerate(outputs)]


def random_inputs(case: Chain, num_rows: int, kind: str, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = []
    for node in case.inputs:
        shape = [num_rows if dim is None else dim for dim in node.shape]
        if kind == "integers":
            values = torch.randint(-4, 5, shape, generator=generator).float()
        else:
            values = torch.randn(shape, generator=generator) * 3
        if node.shape == ():
            values = values.abs() + 0.5
        inputs.append(values.to(DTYPES[node.dtype]))
    return inputs


def assert_same_bits(ours: Tensor, theirs: Tensor) -> None:
    assert ours.dtype == theirs.dtype
    theirs = theirs.reshape(ours.shape)
    as_int = {1: torch.uint8, 2: torch.int16, 4: torch.int32}[ours.element_size()]
    nan = ours.float().isnan() & theirs.float().isnan()
    different = (ours.contiguous().view(as_int) != theirs.contiguous().view(as_int)) & ~nan
    assert not different.any(), f"{int(different.sum())} of {ours.numel()} elements differ"


@pytest.mark.parametrize("num_rows", [0, 1, 7])
@pytest.mark.parametrize("width", [48, 128, 384, 2880])
@pytest.mark.parametrize("name", CHAINS)
def test_gives_the_bits_of_torch(name, width, num_rows):
    """Pads that leak into a reduction, a wrong stride or a folded cast all change bits."""
    case = CHAINS[name]((None,), width)
    inputs = random_inputs(case, num_rows, "integers")
    outputs = execute(case, inputs)
    for ours, theirs in zip(outputs, case.reference(*inputs), strict=True):
        assert_same_bits(ours, theirs)


@pytest.mark.parametrize("block_rows", [2, 8])
@pytest.mark.parametrize("num_rows", [1, 7, 16])
@pytest.mark.parametrize("name", CHAINS)
def test_rows_of_one_program_do_not_mix(name, num_rows, block_rows):
    case = CHAINS[name]((None,), 384)
    inputs = random_inputs(case, num_rows, "integers")
    for ours, theirs in zip(execute(case, inputs, block_rows), case.reference(*inputs), strict=True):
        assert_same_bits(ours, theirs)


@pytest.mark.parametrize("block_rows", [1, 4])
@pytest.mark.parametrize(("name", "width", "block_cols"), [
    ("static", 2880, 1024),
    ("static", 4096, 1024),
    ("silu_group", 1408, 256),
    ("silu_group", 1024, 128),
    ("silu_group_column", 1408, 512),
    ("power_of_two", 480, 128),
])  # fmt: skip
def test_columns_may_be_cut(name, width, block_cols, block_rows):
    """Some widths are no multiple of the cut."""
    case = CHAINS[name]((None,), width)
    inputs = random_inputs(case, 5, "integers")
    for ours, theirs in zip(
        execute(case, inputs, block_rows, block_cols), case.reference(*inputs), strict=True
    ):
        assert_same_bits(ours, theirs)


@pytest.mark.parametrize(("width", "chunk_cols", "num_rows", "block_rows"), [
    (640, 0, 3, 1),
    (896, 0, 0, 1),
    (896, 0, 1, 1),
    (1152, 0, 5, 2),
    (1024, 256, 3, 1),
    (1408, 512, 3, 1),
    (1408, 512, 5, 4),
])  # fmt: skip
@pytest.mark.parametrize("name", CHAINS)
def test_rows_may_be_split_into_chunks(name, width, chunk_cols, num_rows, block_rows):
    """The last chunk of 1408 = 2.75 x 512 is padded, no other one is."""
    case = CHAINS[name]((None,), width)
    inputs = random_inputs(case, num_rows, "integers")
    outputs = execute(case, inputs, block_rows, chunk_cols=chunk_cols)
    for ours, theirs in zip(outputs, case.reference(*inputs), strict=True):
        assert_same_bits(ours, theirs)


@pytest.mark.parametrize("name", ["norm_group", "silu_group"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_special_values_of_any_chunk_reach_the_row(name, value):
    case = CHAINS[name]((None,), 640)
    inputs = random_inputs(case, 6, "integers")
    for chunk in range(5):
        inputs[0][chunk, 128 * chunk + 5] = value
    for ours, theirs in zip(execute(case, inputs), case.reference(*inputs), strict=True):
        assert_same_bits(ours, theirs)


def test_sums_of_chunks_do_not_depend_on_groups():
    """A norm alone, which knows no groups, must add in the order of the fused one."""
    b = Builder()
    x, w = b.input((None, 640), "bf16"), b.input((640,), "bf16")
    alone = chain(b, [rms_norm(b, x, w)], lambda x, w: (torch_rms_norm(x, w),))
    fused = norm_group((None,), 640)
    x, _, w = random_inputs(fused, 7, "normal")
    assert_same_bits(execute(alone, [x, w])[0], execute(fused, [x, torch.zeros_like(x), w])[1])


@pytest.mark.parametrize("name", ["token", "silu_group", "static", "power_of_two"])
def test_random_values_give_the_bits_of_torch(name):
    case = CHAINS[name]((None,), 384)
    inputs = random_inputs(case, 9, "normal")
    for ours, theirs in zip(execute(case, inputs), case.reference(*inputs), strict=True):
        assert_same_bits(ours, theirs)


@pytest.mark.parametrize("name", ["token", "norm_group", "silu_group", "two_reductions"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_special_values_give_what_torch_gives(name, value):
    """A row with one NaN or infinity, and a row of zeros only."""
    case = {**CHAINS, "two_reductions": two_reductions}[name]((None,), 384)
    inputs = random_inputs(case, 4, "integers")
    inputs[0][1] = value
    inputs[0][2, 5] = value
    for ours, theirs in zip(execute(case, inputs), case.reference(*inputs), strict=True):
        assert_same_bits(ours, theirs)


@pytest.mark.parametrize("width", [48, 384, 2880])
def test_norm_differs_by_a_reordered_sum_at_most(width):
    """Sums of H non-negative terms in two orders differ by 2 H eps relative, the root by half of
    that: far below half a bf16 step, so each of the two roundings to bf16 moves one step at most.
    """
    case = norm_group((None,), width)
    inputs = random_inputs(case, 5, "normal")
    h, norm, _, _ = execute(case, inputs)
    expected_h, expected, _, _ = case.reference(*inputs)
    assert_same_bits(h, expected_h)
    step = expected.float().abs().clamp(min=1e-30) * 2.0**-7
    assert bool(((norm.float() - expected.float()).abs() <= 2 * step).all())


def test_several_reductions_follow_one_another():
    case = two_reductions((None,), 384)
    inputs = random_inputs(case, 3, "integers")
    inputs[0][..., -1] -= inputs[0].float().sum(-1).to(torch.bfloat16) % 384
    for ours, theirs in zip(execute(case, inputs), case.reference(*inputs), strict=True):
        assert (ours.float() - theirs.reshape(ours.shape).float()).abs().max() <= 2.0**-4 * 448


def test_tokens_may_have_several_dimensions():
    case = norm_group((3, None), 256, 128)
    text = lower(case.text)
    x, r = (torch.randint(-4, 5, (3, 5, 256)).to(torch.bfloat16) for _ in range(2))
    w = torch.ones(256, dtype=torch.bfloat16)
    outputs = [
        uninitialized((3, 5, size), dtype)
        for size, dtype in [
            (256, torch.bfloat16), (256, torch.bfloat16), (256, torch.float8_e4m3fn), (2, torch.float32)
        ]
    ]  # fmt: skip
    run(text, (15, 1, 1), [x, r, w, *outputs, 15, 256, 256])
    for ours, theirs in zip(outputs, case.reference(x, r, w), strict=True):
        assert_same_bits(ours, theirs)


def test_input_rows_may_be_far_apart():
    case = token((None,), 128)
    wide = torch.randn(6, 512).to(torch.bfloat16)
    x = wide[:, 128:256]
    for ours, theirs in zip(execute(case, [x]), case.reference(x), strict=True):
        assert_same_bits(ours, theirs)


def test_unclamped_cast_saturates():
    """Torch before 2.13 gives NaN instead; between 464 and 480 every torch does."""
    b = Builder()
    x = b.input((None, 64), "f32")
    case = chain(b, [b.cast(x, FP8)], lambda x: (x.to(torch.float8_e4m3fn),))
    x = torch.tensor([448.0, 464.0, 500.0, -1e9, 1e9, float("inf"), float("nan"), -448.0])
    x = x.repeat(3, 8)
    assert_same_bits(execute(case, [x])[0], torch_to_fp8(x))


@pytest.mark.parametrize("arch", ["sm_90a", "sm_100a"])
@pytest.mark.parametrize("name", CHAINS)
def test_compiles_without_spills(name, arch):
    case = CHAINS[name]((None,), 4096)
    compiled = compile_ttir(lower(case.text), Target.parse(arch), num_warps=8)
    assert ptxas_report(compiled).spill_stores == 0


@pytest.mark.parametrize("arch", ["sm_90a", "sm_100a"])
def test_threads_move_16_bytes_and_shuffle_only_to_reduce(arch):
    """Values of one thread are neighbours in every tensor: 8 bf16, hence 8 fp8."""
    case = norm_group((None,), 4096)
    ptx = compile_ttir(lower(case.text), Target.parse(arch), num_warps=8).ptx
    assert ptx.count("ld.global.v4.b32") == 6
    assert ptx.count("st.global.v4.b32") == 4
    assert ptx.count("st.global.v2.b32") == 2
    assert "ld.global.b" not in ptx


@pytest.mark.parametrize("arch", ["sm_90a", "sm_100a"])
@pytest.mark.parametrize(("width", "chunk_cols", "num_warps"), [(7168, 1024, 4), (5120, 1024, 8)])
def test_chunks_move_wide_vectors_and_no_lane_is_masked(arch, width, chunk_cols, num_warps):
    case = norm_group((None,), width)
    text = lower(case.text, chunk_cols=chunk_cols)
    assert "cmpi" not in text and "arith.select" not in text
    compiled = compile_ttir(text, Target.parse(arch), num_warps=num_warps)
    loads = [line for line in compiled.ptx.splitlines() if "ld.global" in line]
    lane_words = chunk_cols // (32 * num_warps) // 2
    assert len(loads) == 3 * (width // chunk_cols)
    assert all(f".v{lane_words}.b32" in line for line in loads), loads
    assert ptxas_report(compiled).spill_stores == 0


def test_schedule_that_cuts_a_reduced_row_is_refused():
    case = norm_group((None,), 4096)
    with pytest.raises(PassError, match="L7: block-cols 1024 cuts a row of 4096"):
        lower(case.text, block_cols=1024)


def test_schedule_that_cuts_a_group_is_refused():
    case = silu_group((None,), 4096)
    with pytest.raises(PassError, match="L7: block-cols 64 is not a multiple of the column unit 128"):
        lower(case.text, block_cols=64)
