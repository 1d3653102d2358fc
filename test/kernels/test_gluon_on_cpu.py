"""The Gluon kernel's logic without a GPU: tiles, edges, phases of its barriers, scales and epilogues."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from gluon_on_cpu import run_on_cpu
from products import FP8, Case, case, same_bits, within_one_rounding

import epiq
from epiq.formats import FP8_GROUP64, FP8_GROUP128, quantize
from epiq.kernels import Config
from epiq.kernels.gluon_epilogue import HALF
from epiq.kernels.gluon_product import call
from epiq.kernels.operands import check_operands, check_pair
from epiq.kernels.product import _IDENTITY, _composed, _results

PROGRAMS = 2


def gluon(
    given: Case,
    rows: int,
    epilogue: epiq.Epilogue | None = None,
    gate_up: bool = False,
    **inputs: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    """The product as the kernel computes it, with two stages and programs, so that both come round again."""
    scales = (given.scales.get("a_scale"), given.scales.get("b_scale"))
    operands = check_operands(given.a, given.b, *scales, gate_up)
    depth = 128 if given.a.dtype == FP8 else 64
    config = Config(rows, 256, depth, 4, 2, group_m=2, persistent=True, kernel="gluon")
    results = _results(operands, epilogue, inputs)
    composed = _composed(epilogue or _IDENTITY, gate_up, HALF)
    _, arguments, constants = call(operands, config, composed, inputs, results, PROGRAMS)
    run_on_cpu(arguments, constants)
    return results


@pytest.mark.parametrize("rows", [64, 128], ids=["one group", "two groups"])
@pytest.mark.parametrize(
    ("dtype", "scales"),
    [(torch.bfloat16, "none"), (FP8, "tensor"), (FP8, "vector"), (FP8, "block")],
    ids=str,
)
def test_product(dtype, scales, rows):
    """Cut in each direction: rows inside a group's, columns inside a half tile, K inside a stage."""
    given = case(dtype, scales, 200, 656, 336)
    (c,) = gluon(given, rows)
    within_one_rounding(c, given.product(), 336)


@pytest.mark.parametrize("scales", ["tensor", "vector", "block"])
def test_gate_up(scales):
    given = case(FP8, scales, 150, 768, 256)
    (c,) = gluon(given, 128)
    (y,) = gluon(given, 128, gate_up=True)
    expected = F.silu(c[:, :384]) * c[:, 384:]
    assert same_bits(y, expected)
    q, scale = gluon(given, 128, epiq.Quantize(FP8_GROUP128), gate_up=True)
    expected_q, expected_scale = quantize(expected, FP8_GROUP128)
    assert same_bits(scale, expected_scale)
    assert same_bits(q, expected_q)


@pytest.mark.parametrize("scales", ["tensor", "vector", "block"])
def test_gate_and_up_apart(scales):
    gate, up = (case(FP8, scales, 150, 384, 256, seed=seed) for seed in (0, 1))
    up.scales["a_scale"], up.a = gate.scales["a_scale"], gate.a
    (one,), (other,) = gluon(gate, 128), gluon(up, 128)
    operands = check_pair(
        gate.a, (gate.b, up.b), gate.scales["a_scale"], (gate.scales["b_scale"], up.scales["b_scale"])
    )
    config = Config(128, 256, 128, 4, 2, group_m=2, persistent=True, kernel="gluon")
    (y,) = results = _results(operands, None, {})
    composed = _composed(_IDENTITY, True, HALF)
    _, arguments, constants = call(operands, config, composed, {}, results, PROGRAMS)
    run_on_cpu(arguments, constants)
    assert same_bits(y, F.silu(one) * other)


def test_epilogue_with_inputs():
    def fn(y, bias, residual):
        return quantize(F.relu(y + bias) + residual, FP8_GROUP64)

    given = case(FP8, "tensor", 70, 384, 128)
    inputs = {"bias": torch.randn(384).bfloat16(), "residual": torch.randn(70, 384).bfloat16()}
    (c,) = gluon(given, 64)
    q, scale = gluon(given, 64, epiq.Epilogue(fn), **inputs)
    expected_q, expected_scale = fn(c, *inputs.values())
    assert same_bits(scale, expected_scale)
    assert same_bits(q, expected_q)
