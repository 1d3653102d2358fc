"""Layouts in the spellings of servers and libraries, recognized by what they do; near misses are not."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from tracing import trace

from epiq.formats.layouts import LAYOUTS
from epiq.frontend.importer import import_graph


def round_up(size: int, multiple: int) -> int:
    return (size + multiple - 1) // multiple * multiple


def copied_columns(x: Tensor) -> Tensor:
    """Columns in an uninitialized buffer, each a multiple of 16 bytes long."""
    m, n = x.shape
    aligned = torch.empty((1, n, round_up(m, 4)), dtype=x.dtype).transpose(1, 2)
    aligned[:, :m, :] = x.unsqueeze(0)
    return aligned[:, :m, :].squeeze(0)


def padded_columns(x: Tensor) -> Tensor:
    m = x.shape[0]
    return torch.nn.functional.pad(x.t(), (0, round_up(m, 4) - m))[:, :m].t()


def packed_words(x: Tensor) -> Tensor:
    """Exponent bytes in zeros, four to an int32, copied into columns."""
    m, k = x.shape
    aligned_m, aligned_k = round_up(m, 4), round_up(k, 4)
    padded = torch.zeros((1, aligned_m, aligned_k), dtype=torch.uint8)
    padded[:, :m, :k] = x
    words = padded.view(-1).view(torch.int32).view(1, aligned_m, aligned_k // 4)
    columns = torch.zeros((1, aligned_k // 4, aligned_m), dtype=torch.int32).mT
    columns[:, :, :] = words
    return columns[:, :m, :].squeeze(0)


def swizzled_blocks(x: Tensor) -> Tensor:
    """Blocks of 128 x 4 by a six-dimensional permutation."""
    m, k = x.shape
    rows, columns = round_up(m, 128), round_up(k, 4)
    padded = torch.zeros((1, rows, columns), dtype=x.dtype)
    padded[:, :m, :k] = x
    tiles = padded.reshape(1, rows // 128, 4, 32, columns // 4, 4)
    return tiles.permute(0, 1, 4, 3, 2, 5).contiguous().reshape(rows, columns)


def blocked(x: Tensor) -> Tensor:
    """Blocks first, then a transposition inside each."""
    m, k = x.shape
    row_blocks, column_blocks = (m + 127) // 128, (k + 3) // 4
    padded = torch.zeros((row_blocks * 128, column_blocks * 4), dtype=x.dtype)
    padded[:m, :k] = x
    blocks = padded.view(row_blocks, 128, column_blocks, 4).permute(0, 2, 1, 3)
    return blocks.reshape(-1, 4, 32, 4).transpose(1, 2).reshape(-1, 32, 16).flatten()


def padded_with_ones(x: Tensor) -> Tensor:
    m, k = x.shape
    padded = torch.ones((round_up(m, 128), round_up(k, 4)), dtype=x.dtype)
    padded[:m, :k] = x
    tiles = padded.view(padded.shape[0] // 128, 4, 32, padded.shape[1] // 4, 4)
    return tiles.permute(0, 3, 2, 1, 4).contiguous()


def wrongly_permuted(x: Tensor) -> Tensor:
    m, k = x.shape
    padded = torch.zeros((round_up(m, 128), round_up(k, 4)), dtype=x.dtype)
    padded[:m, :k] = x
    tiles = padded.view(padded.shape[0] // 128, 4, 32, padded.shape[1] // 4, 4)
    return tiles.permute(0, 3, 1, 2, 4).contiguous()


def packed_in_uninitialized(x: Tensor) -> Tensor:
    m, k = x.shape
    padded = torch.empty((m, round_up(k, 4)), dtype=torch.uint8)
    padded[:, :k] = x
    words = padded.view(torch.int32)
    return torch.nn.functional.pad(words.t(), (0, round_up(m, 4) - m))[:, :m].t()


def aligned_to_eight(x: Tensor) -> Tensor:
    m = x.shape[0]
    return torch.nn.functional.pad(x.t(), (0, round_up(m, 8) - m))[:, :m].t()


def relayouts(fn: Callable[..., Any], x: Tensor, dynamic: bool) -> list[str]:
    gm = trace(lambda x: fn(x + 1), x, dynamic=dynamic)
    return re.findall(r"epiq\.relayout %\w+ to (\w+)", import_graph(gm.graph, gm).text)


def scales(rows: int, groups: int, dtype: torch.dtype) -> Tensor:
    x = torch.ones(rows, groups, dtype=dtype)
    torch._dynamo.mark_static(x, 1)
    return x


SPELLINGS = [
    (copied_columns, torch.float32, "tma_aligned"),
    (padded_columns, torch.float32, "tma_aligned"),
    (packed_words, torch.uint8, "packed_ue8m0"),
    (swizzled_blocks, torch.uint8, "swizzled_128x4"),
    (blocked, torch.uint8, "swizzled_128x4"),
]


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize(("fn", "dtype", "layout"), SPELLINGS, ids=lambda each: getattr(each, "__name__", ""))
def test_public_spellings_are_recognized(fn, dtype, layout, dynamic):
    assert relayouts(fn, scales(131, 5, dtype), dynamic) == [layout]


@pytest.mark.parametrize("name", ["tma_aligned", "packed_ue8m0", "swizzled_128x4"])
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
def test_the_references_own_spelling_is_recognized(name, dynamic):
    dtype = torch.float32 if name == "tma_aligned" else torch.uint8
    assert relayouts(lambda x: LAYOUTS[name].lay_out(x), scales(128, 8, dtype), dynamic) == [name]


@pytest.mark.parametrize(
    ("fn", "dtype"),
    [
        (padded_with_ones, torch.uint8),
        (wrongly_permuted, torch.uint8),
        (packed_in_uninitialized, torch.uint8),
        (aligned_to_eight, torch.float32),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_near_misses_are_not(fn, dtype):
    assert relayouts(fn, scales(131, 5, dtype), False) == []
