"""Custom ops that hide what could be fused: replaced where that pays, and else left as they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from models import BF16, assert_near_eager, assert_same_bits
from rewriting import Rewritten, run_rewritten
from server_ops import E4M3, FUNCTIONS, OPS, fused_add_rms_norm, rms_norm
from torch import Tensor

import epiq
from epiq.frontend import unwrap
from epiq.report.build import report_of

H = 256


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    for name, fn in FUNCTIONS.items():
        epiq.register_unwrap(OPS[name], fn)
    yield
    unwrap._registered.clear()


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = BF16) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def norm_then_static(x: Tensor, w: Tensor, scale: Tensor) -> Tensor:
    y, q = torch.empty_like(x), torch.empty_like(x, dtype=E4M3)
    OPS["rms_norm"](y, x, w, 1e-5)
    OPS["static_scaled_fp8_quant"](q, y, scale)
    return q


def add_norm_then_token(x: Tensor, r: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    y, residual = x * 1.0, r * 1.0
    OPS["fused_add_rms_norm"](y, residual, w, 1e-5)
    q = torch.empty_like(x, dtype=E4M3)
    scale = torch.empty(*x.shape[:-1], 1, dtype=torch.float32)
    OPS["dynamic_per_token_scaled_fp8_quant"](q, y, scale, None)
    return q, scale, residual


def silu_then_group(x: Tensor) -> tuple[Tensor, ...]:
    y = torch.empty(*x.shape[:-1], H, dtype=x.dtype)
    OPS["silu_and_mul"](y, x)
    return OPS["group_quant"](y)


def plain_norm_then_group(x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    return OPS["group_quant"](torch.rms_norm(x, w.shape, w, 1e-5), group_size=64)


def norm_then_columns(x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    """The scales are column-major, and both results are written through views."""
    q = torch.empty_like(x, dtype=E4M3)
    scale = torch.empty(H // 64, x.shape[0], dtype=torch.float32).permute(-1, -2)
    y = torch.rms_norm(x, w.shape, w, 1e-5)
    OPS["per_token_group_fp8_quant"](y, q.view(-1, H), scale, 64, 1e-10)
    return q, scale


def norm_through_a_view(x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    y = torch.empty_like(x)
    OPS["rms_norm"](y.view(-1, H), x.view(-1, H), w, 1e-5)
    return OPS["group_quant"](y)


MODELS: dict[str, tuple[Callable[..., Any], tuple[Tensor, ...], int]] = {
    "norm_then_static": (norm_then_static, (normal(3, H), normal(H), torch.tensor(0.03125)), 2),
    "add_norm_then_token": (add_norm_then_token, (normal(3, H), normal(3, H, seed=1), normal(H)), 2),
    "silu_then_group": (silu_then_group, (normal(2, 2, 2 * H),), 2),
    "norm_then_columns": (norm_then_columns, (normal(3, H), normal(H)), 1),
    "norm_through_a_view": (norm_through_a_view, (normal(2, 3, H), normal(H)), 2),
    "plain_norm_then_group": (plain_norm_then_group, (normal(3, H), normal(H)), 1),
}


def check(fn: Callable[..., Any], *args: Tensor) -> Rewritten:
    """The results of the rewritten `fn`, near eager's, with nothing of the arguments changed."""
    before = [arg.clone() for arg in args]
    found = run_rewritten(fn, *args)
    for arg, copy in zip(args, before, strict=True):
        assert torch.equal(arg, copy)
    results, eager = (r if isinstance(r, tuple | list) else (r,) for r in (found.results, fn(*args)))
    assert_near_eager(tuple(results), tuple(eager))
    return found


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("name", MODELS)
def test_what_ops_hide_is_fused(name: str, dynamic: bool) -> None:
    fn, args, count = MODELS[name]
    args = tuple(arg.clone() for arg in args)
    for arg in args:
        if dynamic and arg.dim() > 1:
            torch._dynamo.mark_dynamic(arg, 0)
    found = check(fn, *args)
    assert [len(record.used) for record in found.records] == [1]
    assert len(found.record.unwrapped) == count
    assert all(remark.startswith("fused: ") for remark in found.remarks)
    assert not [call for call in found.calls if "server" in call or "auto_functionalized" in call]
    assert not found.record.still_custom


def test_the_old_form_of_functionalization() -> None:
    with torch._inductor.config.patch(enable_auto_functionalized_v2=False):
        found = check(norm_then_static, *MODELS["norm_then_static"][1])
    assert len(found.record.unwrapped) == 2
    assert found.calls.count("epiq.row_program.default") == 1


def test_an_op_that_nothing_fuses_with_stays() -> None:
    """Its input comes from a matrix product: a kernel of ours would only do what the op does."""
    found = check(lambda x, w: OPS["group_quant"](x @ w), normal(3, H), normal(H, H))
    assert found.record.unwrapped == ()
    reason = "nothing else would be in its kernel"
    assert found.record.still_custom == (("server.group_quant.default", reason),)
    text = str(report_of(found.records))
    assert f"1 x server.group_quant.default stays a custom op: {reason}" in text
    assert "server.group_quant.default" in found.calls
    assert "epiq.row_program.default" not in found.calls


def test_an_op_that_fuses_in_part_stays() -> None:
    """The norm's result is transposed before it is quantized: no program holds the norm."""

    def model(x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
        y = torch.empty_like(x)
        OPS["rms_norm"](y, x, w, 1e-5)
        return OPS["group_quant"](y.t().contiguous().neg())

    found = check(model, normal(H, H), normal(H))
    assert found.record.unwrapped == ("server.group_quant.default",)
    ((op, reason),) = found.record.still_custom
    assert op == "server.rms_norm.default"
    assert reason.endswith("steps are in no fused kernel")
    assert "auto_functionalized_v2" in found.calls
    assert "server.group_quant.default" not in found.calls


def test_arguments_that_a_graph_writes_are_written() -> None:
    def model(x: Tensor, r: Tensor, w: Tensor) -> tuple[Tensor, ...]:
        OPS["fused_add_rms_norm"](x, r, w, 1e-5)
        return OPS["group_quant"](x)

    wanted = [normal(3, H), normal(3, H, seed=1), normal(H)]
    given = [arg.clone() for arg in wanted]
    found = run_rewritten(model, *given)
    assert_near_eager(tuple(found.results), model(*wanted))
    assert_same_bits(tuple(given), tuple(wanted))
    assert len(found.record.unwrapped) == 2


def test_a_part_of_a_tensor_that_is_written_stays() -> None:
    def model(x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
        both = torch.zeros(3, 2 * H, dtype=x.dtype)
        OPS["rms_norm"](both[:, :H], x, w, 1e-5)
        return OPS["group_quant"](both * 2)

    found = check(model, normal(3, H), normal(H))
    assert found.record.unwrapped == ("server.group_quant.default",)
    reason = "it writes a part of a tensor, or one tensor twice"
    assert found.record.still_custom == (("server.rms_norm.default", reason),)


def test_a_result_that_is_an_argument_is_copied() -> None:
    epiq.register_unwrap(OPS["scaled"], lambda input, factor: input)
    found = run_rewritten(
        lambda x: (OPS["group_quant"](OPS["scaled"](x, factor=1.0).abs()), OPS["scaled"](x, factor=2.0)),
        normal(3, H),
    )
    _, y = found.results
    assert torch.equal(y, normal(3, H) * 2)


def test_numbers_of_the_function_are_tensors_of_the_graph() -> None:
    epiq.register_unwrap(OPS["scaled"], lambda input, factor: (input * torch.tensor(2.0)).to(input.dtype))
    found = check(lambda x: OPS["group_quant"](OPS["scaled"](x, factor=2.0)), normal(3, H))
    assert len(found.record.unwrapped) == 2


def test_the_whole_backend() -> None:
    fn, args, _ = MODELS["add_norm_then_token"]
    torch._dynamo.reset()
    with torch.no_grad(), epiq.frontend.recording() as records:
        found = torch.compile(fn, backend="epiq", options={"epiq.strict": True})(*args)
    assert_near_eager(found, fn(*args))
    assert [len(record.unwrapped) for record in records] == [2]


WRONG_RESULTS = {
    "count": (lambda input, group_size: input, "returns 1 results, the op has 2"),
    "dtype": (
        lambda input, group_size: (input, input[..., :2].float()),
        r"result 0 .* is bfloat16 of shape \(3, 256\), the op's is float8_e4m3fn of shape \(3, 256\)",
    ),
    "shape": (
        lambda input, group_size: (input.to(E4M3), input.float()),
        r"result 1 .* is float32 of shape \(3, 256\), the op's is float32 of shape \(3, 2\)",
    ),
    "kind": (lambda input, group_size: (input, 3), "result 1 .* is a int, the op's is a tensor"),
    "error": (lambda input, group_size: input.view(7, -1), "cannot be traced: "),
}


@pytest.mark.parametrize("name", WRONG_RESULTS)
def test_a_function_with_other_results(name: str) -> None:
    fn, message = WRONG_RESULTS[name]
    epiq.register_unwrap(OPS["group_quant"], fn)
    with pytest.raises(Exception, match=message) as caught:
        run_rewritten(lambda x: OPS["group_quant"](x.abs()), normal(3, H))
    assert isinstance(caught.value.__cause__ or caught.value, ValueError) or "UnwrapError" in str(
        caught.value
    )


def test_registering_what_cannot_stand_for_an_op() -> None:
    with pytest.raises(
        TypeError, match=r"op must be an OpOverload .*, got .*did you mean server.rms_norm.default"
    ):
        epiq.register_unwrap(torch.ops.server.rms_norm, rms_norm)
    with pytest.raises(TypeError, match=r"op must be an OpOverload .*, got 'rms_norm'"):
        epiq.register_unwrap("rms_norm", rms_norm)
    with pytest.raises(TypeError, match="torch_fn must be a function, got 3"):
        epiq.register_unwrap(OPS["rms_norm"], 3)
    with pytest.raises(
        ValueError, match=r"rms_norm\(result.* does not take the arguments of server::silu_and_mul"
    ):
        epiq.register_unwrap(OPS["silu_and_mul"], rms_norm)
    with pytest.raises(ValueError, match="missing a required argument: 'residual'"):
        epiq.register_unwrap(OPS["scaled"], fused_add_rms_norm)
    with pytest.raises(ValueError, match="returns a view of an argument"):
        epiq.register_unwrap(torch.ops.aten.add_.Tensor, torch.add)
