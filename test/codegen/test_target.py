"""Targets by any of their names; others are refused with those that exist."""

from __future__ import annotations

import pytest
import torch

from epiq.codegen import Target


@pytest.mark.parametrize("text", ["sm_90a", "sm_90", "sm90", "90", "90a", "cuda:90", " SM_90A "])
def test_spellings_of_hopper(text):
    assert Target.parse(text) == Target(90)


def test_blackwell():
    assert Target.parse("sm_100a").arch == 100
    assert Target(100).name == "sm_100a"


@pytest.mark.parametrize("text", ["sm_80", "89", "cuda", "", "sm_90b", "hopper", "sm_1000"])
def test_others_are_refused_with_the_supported_ones(text):
    with pytest.raises(ValueError, match=f"target '{text}' is not one of sm_90a, sm_100a"):
        Target.parse(text)


def test_bad_types_and_archs():
    with pytest.raises(TypeError, match=r"target must be a string such as 'sm_90a', got int"):
        Target.parse(90)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="target 80 is not one of sm_90a, sm_100a"):
        Target(80)


def test_current_is_none_without_a_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Target.current() is None


@pytest.mark.parametrize(
    ("capability", "target"), [((9, 0), Target(90)), ((10, 0), Target(100)), ((8, 0), None)]
)
def test_current_reads_the_capability(monkeypatch, capability, target):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert Target.current() == target
