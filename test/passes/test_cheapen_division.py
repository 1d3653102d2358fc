"""What `epiq-cheapen-division` makes gives the fp8 values of the division it replaces, bit for bit."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from epiq import ir
from epiq.executor import run, uninitialized

KERNEL = """
tt.func public @quantize(%x_ptr: !tt.ptr<{dtype}>, %q_ptr: !tt.ptr<{fp8}>) {{
  %pid = tt.get_program_id x : i32
  %c256 = arith.constant 256 : i32
  %start = arith.muli %pid, %c256 : i32
  %lanes = tt.make_range {{end = 256 : i32, start = 0 : i32}} : tensor<256xi32>
  %x_row = tt.addptr %x_ptr, %start : !tt.ptr<{dtype}>, i32
  %x_all = tt.splat %x_row : !tt.ptr<{dtype}> -> tensor<256x!tt.ptr<{dtype}>>
  %x_at = tt.addptr %x_all, %lanes : tensor<256x!tt.ptr<{dtype}>>, tensor<256xi32>
  %flat = tt.load %x_at : tensor<256x!tt.ptr<{dtype}>>
  %b = tt.reshape %flat : tensor<256x{dtype}> -> tensor<2x128x{dtype}>
  %x = arith.extf %b : tensor<2x128x{dtype}> to tensor<2x128xf32>
  %a = math.absf %x : tensor<2x128xf32>
  %m = "tt.reduce"(%a) <{{axis = 1 : i32}}> ({{
  ^bb0(%l: f32, %r: f32):
    %mx = arith.maximumf %l, %r : f32
    tt.reduce.return %mx : f32
  }}) : (tensor<2x128xf32>) -> tensor<2xf32>
  %e = tt.expand_dims %m {{axis = 1 : i32}} : tensor<2xf32> -> tensor<2x1xf32>
  %most = arith.constant dense<{most:e}> : tensor<2x1xf32>
  %floor = arith.constant dense<4.35965421E-6> : tensor<2x1xf32>
  %d = tt.precise_divf %e, %most : tensor<2x1xf32>
  %s = arith.maximumf %d, %floor : tensor<2x1xf32>
  %w = tt.broadcast %s : tensor<2x1xf32> -> tensor<2x128xf32>
  %y = tt.precise_divf %x, %w : tensor<2x128xf32>
  %q = tt.fp_to_fp %y, rounding = rtne : tensor<2x128xf32> -> tensor<2x128x{fp8}>
  %q_flat = tt.reshape %q : tensor<2x128x{fp8}> -> tensor<256x{fp8}>
  %q_row = tt.addptr %q_ptr, %start : !tt.ptr<{fp8}>, i32
  %q_all = tt.splat %q_row : !tt.ptr<{fp8}> -> tensor<256x!tt.ptr<{fp8}>>
  %q_at = tt.addptr %q_all, %lanes : tensor<256x!tt.ptr<{fp8}>>, tensor<256xi32>
  tt.store %q_at, %q_flat : tensor<256x!tt.ptr<{fp8}>>
  tt.return
}}
"""
NAMES = {torch.bfloat16: "bf16", torch.float16: "f16"}
FP8 = {torch.float8_e4m3fn: ("f8E4M3FN", 448.0), torch.float8_e5m2: ("f8E5M2", 57344.0)}


def quantized(x: torch.Tensor, fp8: torch.dtype, *, cheap: bool) -> torch.Tensor:
    name, most = FP8[fp8]
    module = ir.parse(KERNEL.format(dtype=NAMES[x.dtype], fp8=name, most=most))
    if cheap:
        ir.run_passes(module, "builtin.module(epiq-cheapen-division)")
        assert "math.fma" in str(module)
    out = uninitialized(x.shape, fp8)
    run(module, (x.numel() // 256, 1, 1), [x, out])
    return out


def rows_to_try(dtype: torch.dtype) -> torch.Tensor:
    """Rows of 256: random ones of many magnitudes, and groups with zeros, denormals, Inf and NaN."""
    torch.manual_seed(0)
    scales = torch.logspace(-30, 30, 61) if dtype == torch.bfloat16 else torch.logspace(-7, 4, 12)
    random = [torch.randn(8, 256) * scale for scale in scales]
    special = torch.randn(8, 256)
    for row, value in enumerate((0.0, -0.0, float("inf"), -float("inf"), float("nan"), 1e-40, 3e38, 448.0)):
        special[row, 5:9] = value
    zeros = torch.zeros(2, 256)
    zeros[0] = -0.0
    return torch.cat([*random, special, zeros]).to(dtype)


@pytest.mark.parametrize("fp8", FP8, ids=str)
@pytest.mark.parametrize("dtype", NAMES, ids=str)
def test_fp8_values_are_those_of_the_division(dtype, fp8):
    """A lost sign of zero, an Inf that makes a NaN, or a quotient rounded twice would show."""
    x = rows_to_try(dtype)
    cheap, exact = quantized(x, fp8, cheap=True), quantized(x, fp8, cheap=False)
    numbers = ~exact.float().isnan()
    assert torch.equal(cheap.float().isnan(), ~numbers)
    assert torch.equal(cheap.view(torch.uint8)[numbers], exact.view(torch.uint8)[numbers])


@pytest.mark.parametrize("bits", [8, 11], ids=["bf16", "f16"])
def test_no_tie_is_missed(bits):
    """Every dividend over every divisor near which the quotient could fall to another fp8 value.

    The value after the step and the rounded quotient are both within two ulp of the quotient, so they
    round to different fp8 values only if the quotient is that close to a tie. Ties have significands of
    five bits (fewer for e5m2, and for denormals), so the divisor is a neighbour of dividend / tie. All of
    it scales by powers of two: D2 and D3 keep every number normal.
    """
    dividend = np.arange(2 ** (bits - 1), 2**bits, dtype=np.float64)[:, None, None]
    tie = np.arange(16, 32, dtype=np.float64)[None, :, None]
    nearest = (dividend / tie).astype(np.float32)
    steps = np.arange(-6, 7)[None, None, :]
    divisor = (nearest.view(np.int32) + steps.astype(np.int32)).view(np.float32).astype(np.float64)
    dividend, tie = np.broadcast_to(dividend, divisor.shape), np.broadcast_to(tie, divisor.shape)

    # Quotients of two f32 rounded by way of f64 are rounded right: 53 >= 2 * 24 + 2.
    wanted = (dividend / divisor).astype(np.float32).astype(np.float64)
    reciprocal = (1.0 / divisor).astype(np.float32).astype(np.float64)
    guess = (dividend * reciprocal).astype(np.float32).astype(np.float64)
    # The fused residual is exact in f64 and rounded once.
    residual = (guess * divisor - dividend).astype(np.float32).astype(np.float64)
    found = (guess - residual * reciprocal).astype(np.float32).astype(np.float64)

    differ = np.sign(wanted - tie) != np.sign(found - tie)
    # The last sum is rounded to f64 first; where that could matter it is done again in fractions.
    inexact = np.abs(found - tie) <= 2 * np.spacing(tie.astype(np.float32))
    for index in np.argwhere(differ | inexact):
        at = tuple(index)
        exact = Fraction(guess[at]) - Fraction(residual[at]) * Fraction(reciprocal[at])
        rounded = nearest_f32(exact)
        assert np.sign(rounded - tie[at]) == np.sign(wanted[at] - tie[at]), (dividend[at], divisor[at])
    assert inexact.any()


def nearest_f32(value: Fraction) -> float:
    """The f32 nearest to a positive number, ties to even."""
    exponent = value.numerator.bit_length() - value.denominator.bit_length() - 24
    scaled = value / Fraction(2) ** exponent
    while scaled >= 2**24:
        scaled, exponent = scaled / 2, exponent + 1
    while scaled < 2**23:
        scaled, exponent = scaled * 2, exponent - 1
    return float(round(scaled) * Fraction(2) ** exponent)  # round() takes ties to even.
