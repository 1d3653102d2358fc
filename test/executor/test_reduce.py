"""Reductions, scans and map_elementwise, and the order that their documentation promises."""

from __future__ import annotations

import pytest
import torch
from executor_ir import evaluate, same

from epiq.executor import run, uninitialized

F32 = torch.float32


def reduce_text(op: str, axis: int, shape: str, result: str) -> str:
    return f"""%y0 = "tt.reduce"(%x0) <{{axis = {axis} : i32}}> ({{
    ^bb0(%a: f32, %b: f32):
      %r = {op} %a, %b : f32
      tt.reduce.return %r : f32
    }}) : (tensor<{shape}xf32>) -> {result}"""


def tree(x: torch.Tensor) -> torch.Tensor:
    """The documented order of a sum along the last dimension."""
    while x.shape[-1] > 1:
        half = x.shape[-1] // 2
        x = x[..., :half] + x[..., half:]
    return x[..., 0]


@pytest.mark.parametrize("axis", [0, 1])
def test_sum_has_the_documented_order(axis: int) -> None:
    x = torch.randn(32, 64, generator=torch.Generator().manual_seed(0)) * 100
    size = 64 if axis == 0 else 32
    found = evaluate(reduce_text("arith.addf", axis, "32x64", f"tensor<{size}xf32>"), [x], [((size,), F32)])[
        0
    ]
    assert torch.equal(found, tree(x if axis == 1 else x.T))


@pytest.mark.parametrize(("op", "function"), [("arith.maximumf", torch.amax), ("arith.minimumf", torch.amin)])
def test_max_and_min_propagate_nan(op: str, function: object) -> None:
    x = torch.randn(4, 16, generator=torch.Generator().manual_seed(0))
    x[2, 5] = torch.nan
    found = evaluate(reduce_text(op, 1, "4x16", "tensor<4xf32>"), [x], [((4,), F32)])[0]
    assert callable(function)
    assert same(found, function(x, 1))


def test_maxnumf_drops_nan() -> None:
    x = torch.tensor([[1.0, torch.nan, 3.0, 2.0]])
    found = evaluate(reduce_text("arith.maxnumf", 1, "1x4", "tensor<1xf32>"), [x], [((1,), F32)])[0]
    assert found.tolist() == [3.0]


def test_argmax_reduces_two_operands_at_once() -> None:
    x = torch.tensor([[1.0, 5.0, 5.0, 2.0], [7.0, 7.0, 0.0, 7.0]])
    index = torch.arange(4, dtype=torch.int32).expand(2, 4).contiguous()
    body = """%y0, %y1 = "tt.reduce"(%x0, %x1) <{axis = 1 : i32}> ({
    ^bb0(%a: f32, %i: i32, %b: f32, %j: i32):
      %gt = arith.cmpf ogt, %a, %b : f32
      %eq = arith.cmpf oeq, %a, %b : f32
      %lt = arith.cmpi slt, %i, %j : i32
      %tie = arith.andi %eq, %lt : i1
      %take = arith.ori %gt, %tie : i1
      %v = arith.select %take, %a, %b : f32
      %k = arith.select %take, %i, %j : i32
      tt.reduce.return %v, %k : f32, i32
    }) : (tensor<2x4xf32>, tensor<2x4xi32>) -> (tensor<2xf32>, tensor<2xi32>)"""
    value, where = evaluate(body, [x, index], [((2,), F32), ((2,), torch.int32)])
    assert value.tolist() == [5.0, 7.0] and where.tolist() == [1, 0]


@pytest.mark.parametrize("reverse", [False, True])
def test_cumulative_sum(reverse: bool) -> None:
    x = torch.randint(-50, 50, (4, 32), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    body = f"""%y0 = "tt.scan"(%x0) <{{axis = 1 : i32, reverse = {str(reverse).lower()}}}> ({{
    ^bb0(%a: i32, %b: i32):
      %r = arith.addi %a, %b : i32
      tt.scan.return %r : i32
    }}) : (tensor<4x32xi32>) -> tensor<4x32xi32>"""
    found = evaluate(body, [x], [((4, 32), torch.int32)])[0]
    expected = x.flip(1).cumsum(1).flip(1) if reverse else x.cumsum(1)
    assert torch.equal(found, expected.to(torch.int32))


def test_a_scan_keeps_the_order_of_an_operation_that_does_not_commute() -> None:
    """(a1, b1) then (a2, b2) is x -> a2 * (a1 * x + b1) + b2: a linear recurrence."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randint(-2, 3, (16,), generator=generator).float()
    b = torch.randint(-3, 4, (16,), generator=generator).float()
    body = """%y0, %y1 = "tt.scan"(%x0, %x1) <{axis = 0 : i32, reverse = false}> ({
    ^bb0(%a1: f32, %b1: f32, %a2: f32, %b2: f32):
      %p = arith.mulf %a1, %a2 : f32
      %q = arith.mulf %b1, %a2 : f32
      %r = arith.addf %q, %b2 : f32
      tt.scan.return %p, %r : f32, f32
    }) : (tensor<16xf32>, tensor<16xf32>) -> (tensor<16xf32>, tensor<16xf32>)"""
    _, found = evaluate(body, [a, b], [((16,), F32)] * 2)
    state, expected = 0.0, []
    for x, y in zip(a.tolist(), b.tolist(), strict=True):
        state = x * state + y
        expected.append(state)
    assert found.tolist() == expected


def test_a_combiner_may_branch() -> None:
    x = torch.tensor([3.0, -9.0, 4.0, 5.0])
    body = """%z = arith.constant 0.0 : f32
    %s = "tt.reduce"(%x0) <{axis = 0 : i32}> ({
    ^bb0(%a: f32, %b: f32):
      %c = arith.cmpf ogt, %b, %z : f32
      %r = scf.if %c -> (f32) {
        %sum = arith.addf %a, %b : f32
        scf.yield %sum : f32
      } else {
        scf.yield %a : f32
      }
      tt.reduce.return %r : f32
    }) : (tensor<4xf32>) -> f32
    %y0 = tt.splat %s : f32 -> tensor<1xf32>"""
    # (3 . 4) . (-9 . 5) = 7 . -4, which is not positive and dropped.
    assert evaluate(body, [x], [((1,), F32)])[0].tolist() == [7.0]


def test_map_elementwise_runs_scalar_code_with_branches() -> None:
    x = torch.tensor([3.0, -9.0, 4.0, -5.0])
    body = """%y0 = "tt.map_elementwise"(%x0) <{pack = 1 : i32}> ({
    ^bb0(%a: f32):
      %z = arith.constant 0.0 : f32
      %c = arith.cmpf ogt, %a, %z : f32
      cf.cond_br %c, ^bb1, ^bb2
    ^bb1:
      %d = arith.addf %a, %a : f32
      cf.br ^bb3(%d : f32)
    ^bb2:
      cf.br ^bb3(%z : f32)
    ^bb3(%r: f32):
      tt.map_elementwise.return %r : f32
    }) : (tensor<4xf32>) -> tensor<4xf32>"""
    assert evaluate(body, [x], [((4,), F32)])[0].tolist() == [6.0, 0.0, 8.0, 0.0]


def test_map_elementwise_of_several_programs_may_read_outer_values() -> None:
    text = """tt.func public @kernel(%y: !tt.ptr<i32>) {
  %pid = tt.get_program_id x : i32
  %c4 = arith.constant 4 : i32
  %r = tt.make_range {end = 4 : i32, start = 0 : i32} : tensor<4xi32>
  %v = "tt.map_elementwise"(%r) <{pack = 1 : i32}> ({
  ^bb0(%a: i32):
    %c = arith.cmpi slt, %a, %pid : i32
    cf.cond_br %c, ^bb1, ^bb2(%a : i32)
  ^bb1:
    %d = arith.muli %a, %pid : i32
    cf.br ^bb2(%d : i32)
  ^bb2(%e: i32):
    tt.map_elementwise.return %e : i32
  }) : (tensor<4xi32>) -> tensor<4xi32>
  %s = arith.muli %pid, %c4 : i32
  %b = tt.addptr %y, %s : !tt.ptr<i32>, i32
  %bs = tt.splat %b : !tt.ptr<i32> -> tensor<4x!tt.ptr<i32>>
  %p = tt.addptr %bs, %r : tensor<4x!tt.ptr<i32>>, tensor<4xi32>
  tt.store %p, %v : tensor<4x!tt.ptr<i32>>
  tt.return
}"""
    y = uninitialized((5, 4), torch.int32)
    run(text, 5, [y])
    assert y.tolist() == [[a * pid if a < pid else a for a in range(4)] for pid in range(5)]


def test_map_elementwise_packs_neighbours() -> None:
    x = torch.tensor([3.0, -9.0, 4.0, -5.0])
    body = """%y0 = "tt.map_elementwise"(%x0) <{pack = 2 : i32}> ({
    ^bb0(%a: f32, %b: f32):
      tt.map_elementwise.return %b, %a : f32, f32
    }) : (tensor<4xf32>) -> tensor<4xf32>"""
    assert evaluate(body, [x], [((4,), F32)])[0].tolist() == [-9.0, 3.0, -5.0, 4.0]
