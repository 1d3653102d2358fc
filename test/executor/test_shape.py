"""Ops that move values within a tile, against torch."""

from __future__ import annotations

import pytest
import torch
from executor_ir import ELEMENTS, evaluate, same, tensor_type

from epiq.executor import ExecutionError

F32 = torch.float32
DTYPES = [torch.float32, torch.int8, torch.bfloat16, torch.float8_e4m3fn]


def some(shape: tuple[int, ...], dtype: torch.dtype = F32) -> torch.Tensor:
    values = torch.randint(-100, 100, shape, generator=torch.Generator().manual_seed(0))
    return values.to(dtype) if dtype != torch.float8_e4m3fn else values.float().to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_trans_expand_broadcast(dtype: torch.dtype) -> None:
    x = some((4, 8), dtype)
    e = ELEMENTS[dtype]
    body = f"""%y0 = tt.trans %x0 {{order = array<i32: 1, 0>}} : tensor<4x8x{e}> -> tensor<8x4x{e}>
    %w = tt.expand_dims %x0 {{axis = 1 : i32}} : tensor<4x8x{e}> -> tensor<4x1x8x{e}>
    %y1 = tt.broadcast %w : tensor<4x1x8x{e}> -> tensor<4x2x8x{e}>"""
    transposed, spread = evaluate(body, [x], [((8, 4), dtype), ((4, 2, 8), dtype)])
    assert same(transposed, x.T.contiguous())
    assert same(spread, x.unsqueeze(1).expand(4, 2, 8).contiguous())


def test_trans_of_higher_rank() -> None:
    x = some((2, 4, 8))
    body = "%y0 = tt.trans %x0 {order = array<i32: 2, 0, 1>} : tensor<2x4x8xf32> -> tensor<8x2x4xf32>"
    assert torch.equal(evaluate(body, [x], [((8, 2, 4), F32)])[0], x.permute(2, 0, 1))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_cat_join_split(dtype: torch.dtype) -> None:
    a, b = some((8,), dtype), some((2, 8), dtype)[1]
    one, two, pair = (tensor_type(s, ELEMENTS[dtype]) for s in ((8,), (16,), (8, 2)))
    body = f"""%y0 = tt.cat %x0, %x1 : {one} -> {two}
    %y1 = tt.join %x0, %x1 : {one} -> {pair}
    %y2, %y3 = tt.split %y1 : {pair} -> {one}"""
    outputs = [((16,), dtype), ((8, 2), dtype), ((8,), dtype), ((8,), dtype)]
    joined, stacked, left, right = evaluate(body, [a, b], outputs)
    assert same(joined, torch.cat([a, b])) and same(stacked, torch.stack([a, b], -1))
    assert same(left, a) and same(right, b)


@pytest.mark.parametrize("axis", [0, 1])
def test_gather(axis: int) -> None:
    x = some((8, 4))
    shape = (8, 4) if axis == 0 else (8, 8)
    index = torch.randint(
        0, x.shape[axis], shape, generator=torch.Generator().manual_seed(1), dtype=torch.int32
    )
    kind = f"tensor<{shape[0]}x{shape[1]}x"
    body = f"%y0 = tt.gather %x0[%x1] {{axis = {axis} : i32}} : (tensor<8x4xf32>, {kind}i32>) -> {kind}f32>"
    assert torch.equal(evaluate(body, [x, index], [(shape, F32)])[0], x.gather(axis, index.long()))


def test_a_gather_outside_its_axis_is_an_error() -> None:
    body = "%y0 = tt.gather %x0[%x1] {axis = 0 : i32} : (tensor<4xf32>, tensor<4xi32>) -> tensor<4xf32>"
    index = torch.tensor([0, 1, 4, 2], dtype=torch.int32)
    with pytest.raises(ExecutionError, match=r"index 4 is outside the 4 elements of axis 0"):
        evaluate(body, [some((4,)), index], [((4,), F32)])


def test_histogram_counts_what_has_a_bin() -> None:
    x = torch.tensor([0, 3, 3, 7, 8, -1, 0, 3], dtype=torch.int32)
    body = "%y0 = tt.histogram %x0 : tensor<8xi32> -> tensor<8xi32>"
    assert evaluate(body, [x], [((8,), torch.int32)])[0].tolist() == [2, 0, 0, 3, 0, 0, 0, 1]


def test_histogram_leaves_out_masked_lanes() -> None:
    x = torch.tensor([0, 3, 3, 7], dtype=torch.int32)
    body = """%m = arith.constant dense<[true, false, true, true]> : tensor<4xi1>
    %y0 = tt.histogram %x0, %m : tensor<4xi32> -> tensor<8xi32>"""
    assert evaluate(body, [x], [((8,), torch.int32)])[0].tolist() == [1, 0, 0, 1, 0, 0, 0, 1]


def test_splat_and_unsplat() -> None:
    body = """%s = tt.unsplat %x0 : tensor<1xf32>
    %y0 = tt.splat %s : f32 -> tensor<4x2xf32>"""
    assert evaluate(body, [torch.tensor([2.5])], [((4, 2), F32)])[0].tolist() == [[2.5, 2.5]] * 4


def test_a_tile_of_rank_ten() -> None:
    shape = (2, 1) * 5
    x = some(shape)
    kind = tensor_type(shape, "f32")
    body = f"%y0 = arith.addf %x0, %x0 : {kind}"
    assert torch.equal(evaluate(body, [x], [(shape, F32)])[0], x + x)
