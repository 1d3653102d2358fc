"""Casts to ue8m0 and e2m1, lowered for both targets and run in the executor, against the eager casts.

With target 90 the kernel does integer work, with 100 it has the instructions; all three must agree on every
value where one of them could go another way.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from epiq import ir
from epiq.executor import Executor, run, uninitialized
from epiq.formats.elements import E2M1_MIDPOINTS, to_e2m1, to_ue8m0

WIDTH = 64


def lowered(body: str, row: str, result: str, layout: str, target: int) -> str:
    """A kernel of one row program over rows of WIDTH f32 values."""
    module = ir.parse(
        f"""func.func @graph(%arg: tensor<?x{WIDTH}xf32>) -> {result} {{
  %out = epiq.row_program @cast (%arg) {{layouts = [#epiq.layout<{layout}>]}}
      : (tensor<?x{WIDTH}xf32>) -> {result} {{
  ^bb0(%x: tensor<?x{WIDTH}xf32>):
    {body}
    epiq.yield {row} : {result}
  }}
  return %out : {result}
}}
"""
    )
    ir.run_passes(module, f"builtin.module(epiq-lower-row-program{{target={target}}})")
    return ir.print_triton(module)


def pack_kernel(target: int) -> str:
    return lowered(
        f"""%t = arith.truncf %x : tensor<?x{WIDTH}xf32> to tensor<?x{WIDTH}xf4E2M1FN>
    %p = epiq.relayout %t to packed_e2m1 : tensor<?x{WIDTH}xf4E2M1FN> to tensor<?x{WIDTH // 2}xi8>""",
        "%p", f"tensor<?x{WIDTH // 2}xi8>", "packed_e2m1", target,
    )  # fmt: skip


def scale_kernel(rounding: str, less: int, target: int) -> str:
    suffix = f" less {less}" if less else ""
    result = f"tensor<?x{WIDTH}xf8E8M0FNU>"
    return lowered(
        f"%s = epiq.to_ue8m0 {rounding} %x{suffix} : tensor<?x{WIDTH}xf32> to {result}",
        "%s", result, "row_major", target,
    )  # fmt: skip


def apply(text: str, values: Tensor, width: int) -> Tensor:
    """The kernel's bytes for a flat tensor of values, padded to whole rows with ones."""
    rows = -(-values.numel() // WIDTH)
    x = torch.ones(rows * WIDTH)
    x[: values.numel()] = values
    out = uninitialized((rows, width), torch.uint8)
    run(text, (rows, 1, 1), [x.reshape(rows, WIDTH), out, rows, WIDTH])
    return out


def neighbours(values: Tensor) -> Tensor:
    """Each value, the floats next to it, and the negatives of all."""
    inf = torch.full_like(values, float("inf"))
    around = torch.cat([values, torch.nextafter(values, inf), torch.nextafter(values, -inf)])
    return torch.cat([around, -around])


def special() -> Tensor:
    nan = torch.tensor([0x7FC00000, 0x7F800001, -0x400000, -1], dtype=torch.int32).view(torch.float32)
    odd = torch.tensor([0.0, 1e-45, 1e-38, 1.17549435e-38, 6.0, 7.99, 8.0, 1e30, 3.4028234e38, float("inf")])
    return torch.cat([nan, odd, -odd])


def check_packed(values: Tensor, target: int) -> None:
    if values.numel() % 2:
        values = torch.cat([values, torch.ones(1)])
    got = apply(pack_kernel(target), values, WIDTH // 2).flatten()[: values.numel() // 2]
    assert torch.equal(got, to_e2m1(values).view(torch.uint8))


@pytest.mark.parametrize("target", [90, 100])
def test_e2m1_at_every_tie_and_beside_it(target):
    """All pairs of neighbours as well: each nibble is the other one's bystander."""
    magnitudes = torch.tensor([0.5, 1.0, 1.5, 2.0, 3.0, 4.0, *E2M1_MIDPOINTS])
    values = torch.cat([neighbours(magnitudes), special()])
    check_packed(values, target)
    check_packed(values.roll(1), target)
    check_packed(torch.stack([values, values.flip(0)], -1).flatten(), target)


@pytest.mark.parametrize("target", [90, 100])
def test_e2m1_of_every_bf16(target):
    bits = torch.arange(2**16, dtype=torch.int32) << 16
    check_packed(bits.view(torch.float32), target)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(width=32), min_size=2, max_size=32))
def test_e2m1_of_any_floats(values):
    check_packed(torch.tensor(values, dtype=torch.float32), 90)


@pytest.mark.parametrize("target", [90, 100])
@pytest.mark.parametrize(
    ("rounding", "less"), [("rceil", 0), ("floor", 0), ("floor", 2), ("floor", 8), ("rceil", 3)]
)
def test_ue8m0_of_every_exponent_and_head_of_a_mantissa(rounding, less, target):
    """Every bf16 that is not negative, the floats next to the powers of two, and NaNs of either sign."""
    heads = (torch.arange(2**15, dtype=torch.int32) << 16).view(torch.float32)
    powers = (torch.arange(255, dtype=torch.int32) << 23).view(torch.float32)
    beside = (powers.view(torch.int32)[:, None] + torch.tensor([1, 0x400000, 0x7FFFFF])).to(torch.int32)
    values = torch.cat([heads, beside.view(torch.float32).flatten(), special()[:4]])
    got = apply(scale_kernel(rounding, less, target), values, WIDTH).flatten()[: values.numel()]
    want = to_ue8m0(values, round_up=rounding == "rceil", less=less)
    assert torch.equal(got, want.view(torch.uint8))


def test_the_instructions_are_those_of_the_target():
    assert "cvt.rn.satfinite.e2m1x2.f32" in pack_kernel(100)
    assert "cvt.rp.satfinite.ue8m0x2.f32" in scale_kernel("rceil", 0, 100)
    assert "cvt." not in pack_kernel(90) + scale_kernel("rceil", 0, 90)


@pytest.mark.parametrize(
    "change", [("$5, $1", "$1, $5"), ("satfinite.e2m1x2", "satfinite.e3m2x2"), ("b3}", "b2}")]
)
def test_assembly_that_is_not_quite_a_cast_is_refused(change):
    with pytest.raises(Exception, match="is not known"):
        Executor(pack_kernel(100).replace(*change))


@pytest.mark.parametrize("group", [2, 6, 16, 48])
@pytest.mark.parametrize("chunk_cols", [0, 1])
def test_packed_rows_of_odd_widths(group, chunk_cols):
    """Groups that are no power of two, and rows cut into chunks, leave no byte unwritten and no pair torn."""
    groups = 5
    width = groups * group
    results = f"tensor<?x{width // 2}xi8>, tensor<?x{groups}xf32>"
    module = ir.parse(
        f"""func.func @graph(%arg: tensor<?x{width}xf32>) -> ({results}) {{
  %out:2 = epiq.row_program @cast (%arg) {{layouts = [#epiq.layout<packed_e2m1>, #epiq.layout<row_major>]}}
      : (tensor<?x{width}xf32>) -> ({results}) {{
  ^bb0(%x: tensor<?x{width}xf32>):
    %g = epiq.reshape %x : tensor<?x{width}xf32> to tensor<?x{groups}x{group}xf32>
    %m = epiq.reduce max %g dims [2] : tensor<?x{groups}x{group}xf32> to tensor<?x{groups}xf32>
    %t = arith.truncf %g : tensor<?x{groups}x{group}xf32> to tensor<?x{groups}x{group}xf4E2M1FN>
    %f = epiq.reshape %t : tensor<?x{groups}x{group}xf4E2M1FN> to tensor<?x{width}xf4E2M1FN>
    %p = epiq.relayout %f to packed_e2m1 : tensor<?x{width}xf4E2M1FN> to tensor<?x{width // 2}xi8>
    epiq.yield %p, %m : {results}
  }}
  return %out#0, %out#1 : {results}
}}
"""
    )
    schedule = f"block-rows=2 chunk-cols={chunk_cols * group}"
    ir.run_passes(module, f"builtin.module(epiq-lower-row-program{{{schedule}}})")
    x = torch.randn(3, width, generator=torch.Generator().manual_seed(0)) * 3
    packed, amax = uninitialized((3, width // 2), torch.uint8), uninitialized((3, groups), torch.float32)
    run(ir.print_triton(module), (2, 1, 1), [x, packed, amax, 3, width])
    assert torch.equal(packed, to_e2m1(x).view(torch.uint8))
    assert torch.equal(amax, x.unflatten(-1, (groups, group)).amax(-1))
