"""`capture`: what the backend would do, without a GPU, memory for weights, or a compiler."""

from __future__ import annotations

import pytest
import torch
from models import add_norm_columns, silu_group
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from epiq.frontend import capture


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_fake_tensors_of_any_device(device: str) -> None:
    with FakeTensorMode():
        x, r = (torch.empty(8192, 4096, dtype=torch.bfloat16, device=device) for _ in range(2))
        w = torch.empty(4096, dtype=torch.bfloat16, device=device)
        records = capture(add_norm_columns, x, r, w)
    assert [record.num_rows for record in records] == [(8192,)]
    assert [program.row_width for program in records[0].used] == [4096]
    assert records[0].refused == ()
    assert records[0].nodes_after == records[0].nodes_before


def test_fake_tensors_outside_of_their_mode() -> None:
    """The numbers that the function makes tensors of are fake then, too."""
    with FakeTensorMode():
        x, r = (torch.empty(64, 256, dtype=torch.bfloat16) for _ in range(2))
    assert [len(record.used) for record in capture(add_norm_columns, x, r, x[0])] == [1]


def test_real_tensors_and_several_graphs() -> None:
    def model(x: Tensor, r: Tensor) -> tuple[Tensor, ...]:
        first = silu_group(x, r, x)
        torch._dynamo.graph_break()
        return first + silu_group(r, x, x)

    x, r = torch.randn(4, 256), torch.randn(4, 256)
    records = capture(model, x, r)
    assert [record.name for record in records] == ["graph 0", "graph 1"]
    assert [len(record.used) for record in records] == [1, 1]


def test_dynamic_token_counts() -> None:
    x = torch.randn(6, 256, dtype=torch.bfloat16)
    torch._dynamo.mark_dynamic(x, 0)
    records = capture(lambda x: silu_group(x, x, x), x)
    assert records[0].num_rows == (6,)
    assert records[0].grouped is not None
    assert records[0].grouped.programs[0].num_rows is None


def test_a_model_with_parameters_needs_no_no_grad() -> None:
    layer = torch.nn.Linear(256, 256)
    records = capture(lambda x: silu_group(layer(x), x, x), torch.randn(4, 256))
    assert [len(record.used) for record in records] == [1]


def test_nothing_is_quantized() -> None:
    records = capture(lambda x: x + 1, torch.randn(4))
    assert [record.left_alone for record in records] == ["no value of the graph is quantized"]


def test_errors_of_the_function_are_its_own() -> None:
    def model(x: Tensor) -> Tensor:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        capture(model, torch.randn(4))
