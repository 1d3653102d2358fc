"""Fused products as machine code, without a GPU: no spills, tensor cores, 16-byte stores."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from machine_code import DOT, check_code, check_gluon
from products import FP8

import epiq
from epiq import codegen
from epiq.errors import UnsupportedError
from epiq.formats import FP8_GROUP64, FP8_GROUP128, quantize
from epiq.kernels.configs import Config, table
from epiq.kernels.gluon_writer import write
from epiq.kernels.operands import Operands
from epiq.kernels.product import compile_ahead, specialize


def operands(scales: str, gate_up: bool, m: int, n: int = 4096, k: int = 1024) -> Operands:
    def meta(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    shapes = {"none": None, "tensor": ((1,), (1,)), "block": ((m, k // 128), (n // 128, k // 128))}[scales]
    dtype = torch.bfloat16 if shapes is None else FP8
    a, b = meta(m, k, dtype=dtype), meta(n, k, dtype=dtype)
    if shapes is None:
        return Operands(a, b, scales, None, None, gate_up)
    return Operands(a, b, scales, meta(*shapes[0]), meta(*shapes[1]), gate_up)


def apart(given: Operands) -> Operands:
    """The same product with the gate and the other half in matrices of their own."""
    half = given.b[: given.b.shape[0] // 2]
    scale = given.b_scale
    if scale is not None and scale.numel() > 1:
        scale = scale[: scale.shape[0] // 2]
    return replace(given, b=half, up=half, b_scale=scale, up_scale=scale)


def rule(kernel: str, scales: str, gate_up: bool, max_m: int) -> Config:
    """The config of the table for a kernel and up to `max_m` rows, or for any number of them."""
    kind = ("half" if scales == "none" else "fp8", "block" if scales == "block" else "any", gate_up)
    found = [r for r in table() if (r.dtype, r.scales, r.gate_up) == kind and r.config.kernel == kernel]
    return min((r for r in found if r.max_m >= max_m), key=lambda r: r.max_m).config


@pytest.mark.parametrize(
    ("target", "scales", "gate_up", "m"),
    [
        ("sm_90a", "tensor", True, 8192),
        ("sm_90a", "tensor apart", True, 8192),
        ("sm_90a", "block", True, 16),
        ("sm_90a", "none", False, 16),
        ("sm_100a", "tensor", False, 8192),
    ],
)
def test_triton(target, scales, gate_up, m):
    scales, _, is_apart = scales.partition(" ")
    config = rule("triton", scales, gate_up, m)
    config = Config(**{**config.as_json(), "split_k": config.split_k or 4})
    given = operands(scales, gate_up, m)
    given = apart(given) if is_apart else given
    compiled = specialize(given, config, epiq.Quantize(FP8_GROUP128), {}).compiled(target)
    check_code(compiled.ptx, DOT[target])
    resources = codegen.ptxas_report(compiled)
    assert (resources.spill_stores, resources.spill_loads) == (0, 0)


@pytest.mark.parametrize(
    ("scales", "gate_up", "m"),
    [
        ("tensor", True, 8192),
        ("block", True, 8192),
        ("block apart", True, 8192),
        ("none", False, 16),
    ],
)
def test_gluon(scales, gate_up, m):
    """The executor cannot run it: here its code is checked, its numbers in test_products_gpu.py."""
    scales, _, is_apart = scales.partition(" ")
    config = rule("gluon", scales, gate_up, m)
    given = operands(scales, gate_up, m)
    given = apart(given) if is_apart else given
    check_gluon(compile_ahead(given, config, epiq.Quantize(FP8_GROUP128), {}))


def gluon_source(epilogue: epiq.Epilogue, **inputs: torch.Tensor) -> str:
    """The Gluon function for a plain product of 256 columns."""
    from epiq.kernels.gluon_product import call
    from epiq.kernels.product import _results

    given = operands("tensor", False, 128, n=256)
    results = _results(given, epilogue, inputs)
    config = rule("gluon", "tensor", False, 128)
    return call(given, config, epilogue, inputs, results, 132)[2]["EPILOGUE"].src


def test_gluon_epilogue_reads_inputs_and_stores_rows():
    def fn(y, bias, residual):
        return quantize(F.relu(y + bias) + residual, FP8_GROUP64)

    bias, residual = (torch.empty(s, dtype=torch.bfloat16, device="meta") for s in ((256,), (128, 256)))
    source = gluon_source(epiq.Epilogue(fn), bias=bias, residual=residual)
    assert source.count("gl.load(") == 2
    assert source.count("gl.store(") == 2
    # Values come and leave in rows, 16 bytes a thread.
    assert "gl.BlockedLayout([1, 8], [2, 16], [4, 1], [1, 0])" in source
    assert "gl.BlockedLayout([1, 16], [4, 8], [4, 1], [1, 0])" in source
    assert "gl.div_rn(" in source or "gl.fma(" in source


def test_gluon_epilogue_refuses_what_it_has_no_form_for():
    text = """
    tt.func public @tile(%tile: !tt.ptr<f32>, %c: !tt.ptr<f32>) {
      %range = tt.make_range {end = 64 : i32, start = 0 : i32} : tensor<64xi32>
      %rows = tt.expand_dims %range {axis = 1 : i32} : tensor<64xi32> -> tensor<64x1xi32>
      %splat = tt.splat %tile : !tt.ptr<f32> -> tensor<64x1x!tt.ptr<f32>>
      %ptrs = tt.addptr %splat, %rows : tensor<64x1x!tt.ptr<f32>>, tensor<64x1xi32>
      %x = tt.load %ptrs : tensor<64x1x!tt.ptr<f32>>
      %y = math.tanh %x : tensor<64x1xf32>
      tt.store %ptrs, %y : tensor<64x1x!tt.ptr<f32>>
      tt.return
    }
    """
    with pytest.raises(UnsupportedError, match=r"math.tanh has no form in an epilogue in Gluon"):
        write(text)
