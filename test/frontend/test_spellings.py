"""Every spelling of a quantization is named or says why not, and runs right either way."""

from __future__ import annotations

import pytest
import torch
from models import BF16, assert_near_eager, bits
from rewriting import run_rewritten
from spellings import SPELLINGS
from torch import Tensor

# Spellings that no program with what comes before is made of, and the rule that the report quotes.
UNFUSED = {"padded": "F2: aten.constant_pad_nd.default is not a row op"}


def values() -> Tensor:
    """Rows of zeros, of one value and of large ones among normal ones."""
    x = torch.randn(5, 256, generator=torch.Generator().manual_seed(0)).mul(3)
    x[1] = 0
    x[2, 1:] = 0
    x[3] *= 1e30
    return x.to(BF16)


@pytest.mark.parametrize("name", SPELLINGS)
def test_spelling(name: str) -> None:
    fn, remark = SPELLINGS[name]
    model = lambda x: fn(x.neg())  # noqa: E731
    fused, unfused = run_rewritten(model, values()), run_rewritten(model, values(), fuse=False)
    for a, b in zip(fused.results, unfused.results, strict=True):
        assert torch.equal(bits(a), bits(b))
    assert_near_eager(fused.results, model(values()))
    assert remark in fused.named
    if name in UNFUSED:
        assert f"not fused: {remark.removeprefix('named ')}: {UNFUSED[name]}" in fused.remarks[0]
        return
    assert fused.remarks[0].startswith("fused: ")
    # A scale of the whole tensor is known when the first kernel ends.
    count = 2 if remark == "named quantize(e4m3 tensor)" else 1
    assert fused.calls == ["epiq.row_program.default"] * count
