"""Rows of any width and in any place: odd widths, wide rows, strided ones, no rows at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from models import BF16, assert_near_eager, assert_same_bits
from rewriting import run_rewritten
from test_producers import add_norm, check_one_kernel, quantized, torch_norm
from torch import Tensor

from epiq.formats import FP8_GROUP64, FP8_GROUP128, FP8_PER_TOKEN, FP8_STATIC, QuantFormat

H = 256


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(BF16)


def silu_mul(x: Tensor) -> Tensor:
    gate, up = x.chunk(2, -1)
    return F.silu(gate) * up


@pytest.mark.parametrize(
    ("width", "fmt"),
    [
        (64, FP8_GROUP64),
        (96, FP8_PER_TOKEN),
        (100, FP8_STATIC),
        (257, FP8_PER_TOKEN),
        (2880, FP8_GROUP64),
        (4097, FP8_PER_TOKEN),
        (11008, FP8_GROUP128),
        (17000, FP8_PER_TOKEN),
        (32768, FP8_PER_TOKEN),
    ],
    ids=lambda x: getattr(x, "name", None),
)
def test_widths(width: int, fmt: QuantFormat) -> None:
    """A norm's sum spans the row, an activation's does not."""
    check_one_kernel(quantized(add_norm, fmt), normal(2, width), normal(2, width, seed=1), normal(width))
    check_one_kernel(quantized(silu_mul, fmt), normal(2, 2 * width))


STRIDED: dict[str, Callable[[], Tensor]] = {
    "columns": lambda: normal(5, 2 * H)[:, :H],
    "later_columns": lambda: normal(5, 2 * H + 8)[:, H : 2 * H],
    "unaligned": lambda: normal(5, H + 1)[:, 1:],
    "every_second_row": lambda: normal(6, H)[::2],
    "transposed": lambda: normal(H, 6).t(),
    "batches": lambda: normal(2, 3, H),
    "batches_swapped": lambda: normal(3, 2, H).transpose(0, 1),
    "some_of_each_batch": lambda: normal(2, 4, H)[:, :3],
    "one_row_repeated": lambda: normal(1, H).expand(4, H),
    "one_row": lambda: normal(1, H),
    "vector": lambda: normal(H),
}


@pytest.mark.parametrize("name", STRIDED)
def test_inputs_in_any_place(name: str) -> None:
    check_one_kernel(quantized(torch_norm, FP8_GROUP128), STRIDED[name](), normal(H))


def query_norm(qkv: Tensor, w: Tensor) -> Tensor:
    return torch_norm(qkv[..., :H].unflatten(-1, (2, 128)), w).flatten(-2)


SLICES: dict[str, tuple[Callable[..., Any], tuple[Tensor, ...]]] = {
    "query": (query_norm, (normal(5, 3 * H), normal(128))),
    "key": (lambda qkv: qkv[..., H : 2 * H].neg(), (normal(2, 3, 3 * H),)),
    "value_heads": (lambda qkv: qkv[..., 2 * H :].unflatten(-1, (2, 128)).neg(), (normal(5, 3 * H),)),
    "half_heads": (lambda x: x.unflatten(-1, (4, 128))[..., :64].flatten(-2).neg(), (normal(5, 2 * H),)),
}


@pytest.mark.parametrize("name", SLICES)
def test_parts_of_a_row(name: str) -> None:
    fn, args = SLICES[name]
    check_one_kernel(quantized(fn, FP8_PER_TOKEN), *args)


@pytest.mark.parametrize("fmt", [FP8_GROUP128, FP8_PER_TOKEN, FP8_STATIC], ids=lambda fmt: fmt.name)
def test_no_rows(fmt: QuantFormat) -> None:
    args = (normal(0, H), normal(0, H), normal(H))
    found = run_rewritten(quantized(add_norm, fmt), *args)
    assert_same_bits(tuple(found.results), quantized(add_norm, fmt)(*args))


def test_a_transposed_value_is_copied_first() -> None:
    """A transpose in the graph is no row op: what comes before it stays outside, and the report says so."""
    model = quantized(lambda x: (x * 2).t().contiguous(), FP8_PER_TOKEN)
    found = run_rewritten(model, normal(64, 32))
    assert_near_eager(found.results, model(normal(64, 32)))
    assert "F3: epiq.transpose" in found.remarks[0]
