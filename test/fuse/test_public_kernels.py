"""Kernels that no one here wrote, fused: the same bits as unfused, followed by the epilogue."""

from __future__ import annotations

import pytest
import torch
from public_kernels import CASES, Case
from unfused import run_kernel, same_bits

import epiq


def results_of(case: Case, rows: torch.Tensor) -> dict[str, torch.Tensor]:
    """The epilogue by itself, on the unfused kernel's output."""
    return case.epilogue.named(rows, *case.inputs.values())


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_fused_equals_unfused(make):
    case = make()
    kernel = case.kernel()
    output = case.args[case.output]
    run_kernel(kernel, case.grid, **case.args)
    # (B, T, H, V): heads lie side by side in a row.
    width = output.shape[-1] * (output.shape[-2] if output.ndim == 4 else 1)
    expected = results_of(case, output.reshape(-1, width))

    fused = epiq.fuse(kernel, output=case.output, epilogue=case.epilogue, output_dtype=output.dtype)
    found = {name: torch.zeros_like(tensor) for name, tensor in expected.items()}
    fused[case.grid](**{**case.args, case.output: None}, **found, **case.inputs)
    for name, tensor in expected.items():
        assert same_bits(found[name], tensor), name
    assert ("tt.dot" in fused.ir("fused")) == case.has_dot


def test_there_are_kernels_of_all_kinds():
    cases = [make() for make in CASES]
    assert len(cases) >= 10
    assert len({case.package for case in cases}) >= 4
    assert sum(case.has_dot for case in cases) >= 5
