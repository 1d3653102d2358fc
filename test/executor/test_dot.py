"""Matrix products: exact where the operands allow it, and rounded once."""

from __future__ import annotations

import pytest
import torch
from executor_ir import ELEMENTS, evaluate, same, tensor_type

from epiq.executor import floats

F32 = torch.float32


def dot(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, options: str = "") -> torch.Tensor:
    kinds = [tensor_type(tuple(t.shape), ELEMENTS[t.dtype]) for t in (a, b, c)]
    body = f"%y0 = tt.dot %x0, %x1, %x2{options} : {kinds[0]} * {kinds[1]} -> {kinds[2]}"
    return evaluate(body, [a, b, c], [(tuple(c.shape), c.dtype)])[0]


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2], ids=str
)
def test_products_of_narrow_floats_are_rounded_once(dtype: torch.dtype) -> None:
    a, b, c = normal(16, 64).to(dtype), normal(64, 32, seed=1).to(dtype), normal(16, 32, seed=2)
    expected = (a.float().double() @ b.float().double() + c.double()).to(F32)
    assert same(dot(a, b, c), expected)


def test_f32_operands_by_precision() -> None:
    a, b, c = normal(16, 16), normal(16, 16, seed=1), torch.zeros(16, 16)
    exact = (a.double() @ b.double()).to(F32)
    assert same(dot(a, b, c, ", inputPrecision = ieee"), exact)
    assert same(dot(a, b, c, ", inputPrecision = tf32x3"), exact)
    cut = [(t.view(torch.int32) & ~0x1FFF).view(F32).double() for t in (a, b)]
    assert same(dot(a, b, c, ", inputPrecision = tf32"), (cut[0] @ cut[1]).to(F32))


def test_an_f16_accumulator_is_rounded_once() -> None:
    a, b, c = normal(16, 64).half(), normal(64, 16, seed=1).half(), normal(16, 16, seed=2).half()
    assert same(dot(a, b, c), (a.double() @ b.double() + c.double()).half())


def test_int8_products_are_exact() -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.randint(-128, 128, (16, 128), generator=generator, dtype=torch.int8)
    b = torch.randint(-128, 128, (128, 16), generator=generator, dtype=torch.int8)
    c = torch.randint(-1000, 1000, (16, 16), generator=generator, dtype=torch.int32)
    assert torch.equal(dot(a, b, c), (a.long() @ b.long() + c).int())


def test_a_batch_of_matrices() -> None:
    a, b, c = normal(4, 16, 32).half(), normal(4, 32, 16, seed=1).half(), torch.zeros(4, 16, 16)
    assert same(dot(a, b, c), (a.double() @ b.double()).to(F32))


def test_inf_and_nan_go_through() -> None:
    a, b, c = torch.ones(16, 16).half(), torch.ones(16, 16).half(), torch.zeros(16, 16)
    a[0, 0], a[1, 0] = torch.inf, torch.nan
    found = dot(a, b, c)
    assert found[0].isinf().all() and found[1].isnan().all() and (found[2] == 16).all()


def scaled(
    operands: list[torch.Tensor], forms: tuple[str, str], scales: tuple[bool, bool], shape: tuple[int, int]
) -> torch.Tensor:
    """operands: a, a_scale if any, b, b_scale if any, c."""
    kinds = [tensor_type(tuple(t.shape), ELEMENTS[t.dtype]) for t in operands]
    names = [f"%x{i}" for i in range(len(operands))]
    a, a_type = names.pop(0), kinds.pop(0)
    if scales[0]:
        a, a_type = f"{a} scale {names.pop(0)}", f"{a_type}, {kinds.pop(0)}"
    b, b_type = names.pop(0), kinds.pop(0)
    if scales[1]:
        b, b_type = f"{b} scale {names.pop(0)}", f"{b_type}, {kinds.pop(0)}"
    body = (
        f"%y0 = tt.dot_scaled {a}, {b}, {names[0]} lhs = {forms[0]} rhs = {forms[1]}"
        f" {{fastMath = false}} : {a_type} * {b_type} -> {kinds[0]}"
    )
    return evaluate(body, operands, [(shape, F32)])[0]


def test_dot_scaled_mxfp8() -> None:
    a, b = normal(32, 64).to(torch.float8_e4m3fn), normal(64, 32, seed=1).to(torch.float8_e5m2)
    generator = torch.Generator().manual_seed(2)
    a_scale = torch.randint(120, 134, (32, 2), generator=generator, dtype=torch.uint8)
    b_scale = torch.randint(120, 134, (32, 2), generator=generator, dtype=torch.uint8)
    c = normal(32, 32, seed=3)
    left = a.float().double() * torch.exp2(a_scale.double() - 127).repeat_interleave(32, 1)
    right = b.float().double() * torch.exp2(b_scale.double() - 127).repeat_interleave(32, 1).T
    found = scaled([a, a_scale, b, b_scale, c], ("e4m3", "e5m2"), (True, True), (32, 32))
    assert same(found, (left @ right + c.double()).to(F32))


def test_dot_scaled_packed_e2m1_with_bf16() -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.randint(0, 256, (32, 32), generator=generator, dtype=torch.uint8)
    a_scale = torch.randint(120, 134, (32, 2), generator=generator, dtype=torch.uint8)
    b, c = normal(64, 32, seed=1).bfloat16(), torch.zeros(32, 32)
    left = floats.split_e2m1(a, 1, torch.float64)
    left = left * torch.exp2(a_scale.double() - 127).repeat_interleave(32, 1)
    found = scaled([a, a_scale, b, c], ("e2m1", "bf16"), (True, False), (32, 32))
    assert same(found, (left @ b.double()).to(F32))


def test_dot_scaled_scale_255_is_nan() -> None:
    a, b = normal(32, 32).to(torch.float8_e4m3fn), normal(32, 32, seed=1).to(torch.float8_e4m3fn)
    a_scale = torch.full((32, 1), 127, dtype=torch.uint8)
    a_scale[3] = 255
    found = scaled([a, a_scale, b, torch.zeros(32, 32)], ("e4m3", "e4m3"), (True, False), (32, 32))
    assert found[3].isnan().all() and not found[2].isnan().any()
