"""`epiq.verify`: a fused group beside its unfused form, on the inputs of the model."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from models import BF16, E4M3, add_norm_columns, add_norm_group, inputs, rms_norm, silu_group
from rewriting import run_rewritten
from torch import Tensor

from epiq.config import Settings
from epiq.formats import FP8_GROUP128, MXFP4, quantize
from epiq.runtime import cpu, registry, verify
from epiq.runtime.verify import VerifyError, verifications


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch._dynamo.reset()
    verify._recent.clear()
    registry._kernels.clear()
    with torch.no_grad():
        yield


def run(fn: Any, *args: Any, strict: bool = True) -> None:
    run_rewritten(fn, *args, verify=True, strict=strict)


@pytest.fixture
def one_wrong_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels of more than one part flip the last bit of byte 5 of their last result."""
    make = cpu.executor_launcher

    def broken(program: Any) -> Any:
        launch = make(program)

        def run(inputs: list[Tensor], outputs: list[Tensor], *rest: Any) -> None:
            launch(inputs, outputs, *rest)
            if len(program.parts) > 1:
                flat = outputs[-1].view(torch.uint8).flatten()
                flat[5] ^= 1

        return run

    monkeypatch.setattr(cpu, "executor_launcher", broken)


@pytest.mark.parametrize("model", [add_norm_group, add_norm_columns, silu_group])
def test_groups_give_the_bits_of_their_unfused_form(model: Any) -> None:
    run(model, *inputs(5))
    (done,) = verifications()
    assert (done.rows, done.wrong, done.failed) == (5, (), "")
    compared = [each.what for each in done.results if each.what.startswith("result")]
    assert len(compared) == len(model(*inputs(5)))
    assert all(each.exact for each in done.results)


def test_a_wrong_bit_raises_with_strict(one_wrong_bit: None) -> None:
    def model(x: Tensor, r: Tensor, w: Tensor) -> tuple[Tensor, ...]:
        return quantize(rms_norm(x + r, w), MXFP4)

    with pytest.raises(VerifyError, match=r"1 of \d+ differ, first at \[") as caught:
        run(model, *inputs(4))
    assert " instead of " in str(caught.value)


def test_a_wrong_bit_is_a_warning(one_wrong_bit: None, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        run(silu_group, *inputs(4), strict=False)
    assert [len(done.wrong) for done in verifications()] == [1]
    said = [record.getMessage() for record in caplog.records if "epiq.verify" in record.getMessage()]
    assert len(said) == 1
    assert "4 rows: not the bits of its unfused form: result" in said[0]


def test_each_bucket_of_token_counts_is_verified_once() -> None:
    fn = torch.compile(
        add_norm_group, backend="epiq", dynamic=True, options={"epiq.verify": True, "epiq.strict": True}
    )
    for tokens in (6, 9, 40, 6, 37):
        fn(*inputs(tokens))
    assert [done.rows for done in verifications()] == [6, 40]
    assert not any(done.wrong or done.failed for done in verifications())


def test_what_torch_rounds_otherwise_is_not_held_against_the_group() -> None:
    """tanh and a bare mean are torch's in the unfused form, the executor's in the fused one."""

    def model(x: Tensor, r: Tensor, w: Tensor) -> tuple[Tensor, ...]:
        y = torch.tanh(x.float()) * x.float().mean(-1, keepdim=True)
        q, scale = quantize(y, FP8_GROUP128)
        return q, scale, y

    run(model, *inputs(7))
    (done,) = verifications()
    assert done.failed == ""
    assert not any(each.exact for each in done.results if each.what.startswith("result"))


def test_a_mutated_input_is_written_once() -> None:
    def model(x: Tensor, r: Tensor, w: Tensor, cache: Tensor) -> Tensor:
        r.add_(x)
        q, scale = quantize(rms_norm(r, w), FP8_GROUP128)
        cache[1:5].copy_(q)
        return scale

    x, r, w = inputs(4)
    mine, cache = r.clone(), torch.zeros(8, 256).to(E4M3)
    run(model, x, mine, w, cache)
    assert [done.wrong for done in verifications()] == [()]
    assert torch.equal(mine, r + x)
    assert cache[1:5].float().abs().sum() > 0
    assert mine.dtype == BF16


def test_there_must_be_something_to_look_at() -> None:
    with pytest.raises(ValueError, match=r"epiq.fuse=False leaves no fused group for epiq.verify=True"):
        Settings(verify=True, fuse=False)
    with pytest.raises(ValueError, match=r"epiq.dry_run=True leaves no fused group"):
        Settings(verify=True, dry_run=True)
