"""`torch.compile(model, backend="epiq")` on CPU tensors: the whole way, and what users do to it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from models import (
    BF16,
    E4M3,
    MODELS,
    add_norm_columns,
    add_norm_group,
    assert_near_eager,
    assert_same_bits,
    inputs,
    rms_norm,
    silu_group,
)
from torch import Tensor
from torch._dynamo.exc import BackendCompilerFailed

from epiq.formats import FP8_GROUP128, quantize
from epiq.frontend import CompilationRecord, recording, rewrite
from epiq.runtime import notices


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch._dynamo.reset()
    notices._said.clear()
    with torch.no_grad():
        yield


def compiled(fn: Callable[..., Any], *, dynamic: bool | None = False, **options: Any) -> Callable[..., Any]:
    settings = {"epiq.strict": True, **{f"epiq.{name}": value for name, value in options.items()}}
    return torch.compile(fn, backend="epiq", dynamic=dynamic, options=settings)


def run(fn: Callable[..., Any], *args: Any, **options: Any) -> tuple[Any, list[CompilationRecord]]:
    """The results of the compiled `fn`, and the records of its compilation."""
    with recording() as records:
        results = compiled(fn, **options)(*args)
    return results, records


def inductors(fn: Callable[..., Any], *args: Any) -> Any:
    torch._dynamo.reset()
    return torch.compile(fn, dynamic=False)(*args)


@pytest.mark.parametrize("leading", [(5,), (2, 3), (1,)], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_fused_is_unfused_bit_for_bit_and_near_eager(name: str, leading: tuple[int, ...]) -> None:
    args = inputs(*leading, width=512)
    fused, records = run(MODELS[name], *args, fail_on_unfused=True)
    assert [len(record.used) for record in records] == [1]
    unfused, _ = run(MODELS[name], *args, fuse=False)
    assert_same_bits(fused, unfused)
    assert_near_eager(fused, MODELS[name](*args))


@pytest.mark.parametrize("name", ["add_norm_columns", "silu_group", "add_norm_token"])
def test_one_compilation_serves_many_token_counts(name: str) -> None:
    fn = compiled(MODELS[name], dynamic=None)
    args = inputs(6)
    for x in args[:2]:
        torch._dynamo.mark_dynamic(x, 0)
    with recording() as records:
        for tokens in (6, 2, 37, 300):
            args = args if tokens == 6 else inputs(tokens, seed=tokens)
            found = fn(*args)
            assert_near_eager(found, MODELS[name](*args))
    assert len(records) == 1
    assert len(records[0].used) == 1


def test_dynamic_batch_and_sequence() -> None:
    fn = compiled(add_norm_group, dynamic=True)
    with recording() as records:
        for leading in ((2, 3), (4, 5)):
            args = inputs(*leading)
            assert_near_eager(fn(*args), add_norm_group(*args))
    assert [len(record.used) for record in records] == [1]


def test_no_tokens() -> None:
    for fn in (compiled(add_norm_columns), compiled(add_norm_columns, dynamic=True)):
        h, q, scale = fn(*inputs(0))
        assert (h.shape, q.shape, scale.shape) == ((0, 256), (0, 256), (0, 2))
        assert (q.dtype, scale.dtype) == (E4M3, torch.float32)


def test_no_tokens_in_a_graph_made_for_some() -> None:
    fn = compiled(add_norm_group, dynamic=True)
    fn(*inputs(6))
    h, q, scale = fn(*inputs(0))
    assert (h.shape, q.shape, scale.shape) == ((0, 256), (0, 256), (0, 2))


def test_inputs_that_are_not_contiguous() -> None:
    x, r, w = inputs(6, width=512)
    wide = torch.cat([x, r], -1)
    strided = (wide[:, :512], wide[:, 512:], w)
    assert_same_bits(run(silu_group, *strided)[0], run(silu_group, x, r, w)[0])
    odd = torch.zeros(6, 513, dtype=BF16)
    odd[:, 1:] = x
    assert_same_bits(run(silu_group, odd[:, 1:], r, w)[0], run(silu_group, x, r, w)[0])


def test_a_transposed_input_gives_eagers_values() -> None:
    x, r, w = inputs(256, width=256)
    found, _ = run(silu_group, x.t(), r.t(), w)
    for a, b in zip(found, silu_group(x.t(), r.t(), w), strict=True):
        assert torch.equal(a.float(), b.float())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_values_that_are_not_finite(name: str, value: float) -> None:
    """The unfused chain says what they give; other rows are not touched by them."""
    x, r, w = inputs(5, width=512)
    x[1, 3] = value
    found, _ = run(MODELS[name], x, r, w)
    assert_same_bits(found, run(MODELS[name], x, r, w, fuse=False)[0])
    clean = MODELS[name](x, r, w)
    for a, b in zip(found, clean, strict=True):
        assert torch.equal(a.float().isnan(), b.float().isnan())


def test_rows_of_zeros_have_finite_scales() -> None:
    x, r, w = inputs(4)
    x[2], r[2] = 0.0, 0.0
    _, q, scale = run(add_norm_group, x, r, w)[0]
    assert scale.isfinite().all()
    assert (q[2].float() == 0).all()


def test_a_group_that_does_not_divide_the_row_is_eagers_error() -> None:
    with pytest.raises(Exception, match="200"):
        run(lambda x: quantize(x, FP8_GROUP128), torch.randn(4, 200))


def test_a_wrong_dtype_is_eagers_error() -> None:
    with pytest.raises(Exception, match="int32"):
        run(lambda x: quantize(x, FP8_GROUP128), torch.ones(4, 256, dtype=torch.int32))


def test_graph_breaks_give_several_graphs() -> None:
    def model(x: Tensor, r: Tensor, w: Tensor) -> tuple[Tensor, ...]:
        first = silu_group(x, r, w)
        torch._dynamo.graph_break()
        return first + add_norm_group(x, r, w)

    args = inputs(4)
    found, records = run(model, *args)
    assert [len(record.used) for record in records] == [1, 1]
    assert_near_eager(found, model(*args))


def test_mutated_inputs() -> None:
    """A KV cache written in place, and the residual updated in place, as servers do."""

    def model(x: Tensor, r: Tensor, w: Tensor, cache: Tensor) -> tuple[Tensor, ...]:
        r.add_(x)
        q, scale = quantize(rms_norm(r, w), FP8_GROUP128)
        cache[2:6].copy_(q)
        return q, scale

    x, r, w = inputs(4)
    ours, eagers = (r.clone(), torch.zeros(8, 256).to(E4M3)), (r.clone(), torch.zeros(8, 256).to(E4M3))
    found, records = run(model, x, ours[0], w, ours[1])
    wanted = model(x, eagers[0], w, eagers[1])
    assert [len(record.used) for record in records] == [1]
    assert_near_eager(found, wanted)
    assert_near_eager(ours, eagers)


def test_an_input_that_is_read_and_then_overwritten() -> None:
    def model(x: Tensor, r: Tensor, w: Tensor) -> tuple[Tensor, ...]:
        q, scale = quantize(rms_norm(x, w), FP8_GROUP128)
        x.copy_(r)
        return q, scale, x + r

    x, r, w = inputs(4)
    mine, eagers = x.clone(), x.clone()
    assert_near_eager(run(model, mine, r, w)[0], model(eagers, r, w))
    assert torch.equal(mine, r)


def test_views_and_aliased_outputs() -> None:
    def model(x: Tensor, r: Tensor, w: Tensor) -> tuple[Tensor, ...]:
        h = x + r
        q, scale = quantize(rms_norm(h, w), FP8_GROUP128)
        return h, h.view(-1), q, q.view(2, 2, 256), scale, x.view(-1), x

    args = inputs(4)
    found, wanted = run(model, *args)[0], model(*args)
    assert_near_eager(found, wanted)
    for a, b in ((0, 1), (2, 3), (5, 6)):
        shared = wanted[a].data_ptr() == wanted[b].data_ptr()
        assert (found[a].data_ptr() == found[b].data_ptr()) == shared
    assert found[6].data_ptr() == args[0].data_ptr()


def test_equal_outputs_are_two_tensors() -> None:
    def model(x: Tensor, r: Tensor, w: Tensor) -> tuple[Tensor, ...]:
        return quantize(x, FP8_GROUP128)[0], quantize(x, FP8_GROUP128)[0]

    a, b = run(model, *inputs(4))[0]
    assert a.data_ptr() != b.data_ptr()
    assert_same_bits((a,), (b,))


def test_equal_layers_share_a_kernel() -> None:
    def model(x: Tensor, r: Tensor, w: Tensor) -> tuple[Tensor, ...]:
        h, q, scale = add_norm_group(x, r, w)
        between = (q.float() * 0.01).to(BF16).sort(-1).values
        return add_norm_group(h, between, w) + (scale,)

    args = inputs(4)
    found, records = run(model, *args)
    assert len(records[0].kernels) == 2
    assert_near_eager(found, model(*args))


class Attention(torch.nn.Module):
    """A Llama-like layer of small width: norm, quantized linears, attention, MLP."""

    def __init__(self, width: int = 256, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norms = torch.nn.ParameterList(torch.ones(width, dtype=BF16) for _ in range(2))
        generator = torch.Generator().manual_seed(7)
        self.weights = torch.nn.ParameterList(
            (torch.randn(rows, columns, generator=generator) / columns**0.5).to(BF16)
            for rows, columns in ((3 * width, width), (width, width), (4 * width, width), (width, 2 * width))
        )

    def linear(self, x: Tensor, index: int) -> Tensor:
        q, scale = quantize(x, FP8_GROUP128)
        wide = q.float().unflatten(-1, (-1, 128)) * scale.unsqueeze(-1)
        return wide.flatten(-2).to(BF16) @ self.weights[index].t()

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        qkv = self.linear(rms_norm(x, self.norms[0]), 0)
        q, k, v = (part.view(batch, length, self.heads, -1).transpose(1, 2) for part in qkv.chunk(3, -1))
        attended = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.linear(attended.transpose(1, 2).reshape(batch, length, width), 1)
        gate, up = self.linear(rms_norm(x, self.norms[1]), 2).chunk(2, -1)
        return x + self.linear(torch.nn.functional.silu(gate) * up, 3)


def test_a_decoder_layer() -> None:
    layer = Attention()
    x, _, _ = inputs(2, 8)
    found, records = run(layer, x)
    assert [len(record.used) for record in records] == [4]
    assert records[0].refused == ()
    unfused, _ = run(layer, x, fuse=False)
    torch.testing.assert_close(found.float(), layer(x).float(), rtol=0.05, atol=0.05)
    torch.testing.assert_close(found.float(), unfused.float(), rtol=0.02, atol=0.02)


def test_records_tell_what_happened() -> None:
    _, records = run(add_norm_group, *inputs(5))
    record = records[0]
    assert record.grouped is not None
    assert set(record.grouped.stages) == {"import", "raise", "group"}
    assert record.num_rows == (5,)
    assert record.kernels[0].startswith(record.grouped.programs[0].name)
    assert record.nodes_after < record.nodes_before
    assert any("fused" in remark.message for remark in record.grouped.remarks)
    assert any("models.py" in remark.location for remark in record.grouped.remarks)


# A model that has nothing to fuse, and failures of our own.


def test_nothing_to_fuse_is_inductor() -> None:
    def model(x: Tensor, r: Tensor, w: Tensor) -> Tensor:
        return rms_norm(x + r, w)

    args = inputs(4)
    found, records = run(model, *args)
    assert records[0].left_alone == "no value of the graph is quantized"
    assert torch.equal(found, inductors(model, *args))


def test_a_failure_of_ours_leaves_the_graph_to_inductor(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(rewrite, "import_graph", fail)
    args = inputs(4)
    with caplog.at_level(logging.WARNING), recording() as records:
        for _ in range(2):
            torch._dynamo.reset()
            found = compiled(silu_group, strict=False)(*args)
    assert_same_bits(found, inductors(silu_group, *args))
    assert [record.left_alone for record in records] == ["RuntimeError: broken on purpose"] * 2
    assert [r.message for r in caplog.records if "broken on purpose" in r.message] == [
        "epiq left a graph to Inductor: RuntimeError: broken on purpose"
    ]
    torch._dynamo.reset()
    with pytest.raises(BackendCompilerFailed, match="broken on purpose"):
        compiled(silu_group)(*args)


def test_a_kernel_that_cannot_be_made_stays_with_inductor(monkeypatch: pytest.MonkeyPatch) -> None:
    from epiq import pipeline

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise ValueError("no lowering today")

    monkeypatch.setattr(pipeline, "lower", fail)
    args = inputs(4, width=384)
    found, records = run(silu_group, *args)
    assert records[0].refused[0][1] == "E5: no lowering today"
    assert_same_bits(found, inductors(silu_group, *args))


def test_dry_run_changes_nothing() -> None:
    args = inputs(4)
    found, records = run(silu_group, *args, dry_run=True)
    assert len(records[0].used) == 1
    assert records[0].nodes_after == records[0].nodes_before
    assert_same_bits(found, inductors(silu_group, *args))


def test_fail_on_unfused() -> None:
    def model(x: Tensor, r: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        return quantize((x @ r.t()), FP8_GROUP128)

    with pytest.raises(BackendCompilerFailed, match="a quantization is not fused"):
        run(model, *inputs(128), fail_on_unfused=True)


def test_unknown_options() -> None:
    for options, message in (
        ({"epiq.numeric": "exact"}, "unknown option 'epiq.numeric'; did you mean 'epiq.numerics'"),
        ({"no_such_option": 1}, "no_such_option"),
    ):
        torch._dynamo.reset()
        with pytest.raises(BackendCompilerFailed, match=message) as caught:
            torch.compile(silu_group, backend="epiq", options=options)(*inputs(4))
        assert isinstance(caught.value.inner_exception, ValueError)


def test_training_is_left_to_inductor(caplog: pytest.LogCaptureFixture) -> None:
    x, r, w = inputs(4)
    w = torch.nn.Parameter(w)
    with torch.enable_grad(), caplog.at_level(logging.WARNING), recording() as records:
        for _ in range(2):
            torch._dynamo.reset()
            loss = compiled(lambda x, r, w: rms_norm(x + r, w).float().sum())(x, r, w)
            loss.backward()
    assert w.grad is not None
    assert records == []
    assert len([r for r in caplog.records if "gradients are needed" in r.message]) == 1


def test_inference_mode_and_users_own_pass() -> None:
    seen: list[str] = []
    options = {
        "epiq.strict": True,
        "joint_custom_pre_pass": lambda graph: seen.extend(node.name for node in graph.nodes),
    }
    args = inputs(4)
    with torch.inference_mode(), recording() as records:
        found = torch.compile(add_norm_group, backend="epiq", options=options)(*args)
    assert seen
    assert len(records[0].used) == 1
    assert_near_eager(found, add_norm_group(*args))


@pytest.mark.parametrize("mode", ["default", "reduce-overhead", "max-autotune-no-cudagraphs"])
def test_inductors_modes(mode: str) -> None:
    args = inputs(4)
    found = torch.compile(silu_group, backend="epiq", mode=mode)(*args)
    assert_near_eager(found, silu_group(*args))


def test_the_backend_is_found_without_an_import() -> None:
    assert "epiq" in torch._dynamo.list_backends()
