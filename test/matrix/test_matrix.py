"""Every format x layout x producer gives the reference's bits, in the executor, and on a GPU the same test:

    python -m pytest test/matrix --full-matrix
    python -m pytest test/matrix --full-matrix -m gpu

The values that are quantized are a result as well: epiq.quantize of them, in eager torch on the CPU, must
give the bits of the values and of the scales, padding included.
"""

from __future__ import annotations

import pytest
import torch
from matrix_formats import FORMATS
from matrix_producers import PRODUCERS
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

import epiq
from epiq.formats import QuantFormat
from epiq.frontend.record import recording
from epiq.runtime.shapes import OutputSpec

# Sums of a producer in another order than eager's flip a rounding now and then.
CLOSE = {torch.bfloat16: 2.0**-6, torch.float16: 2.0**-9, torch.float32: 1e-4}
# More than the 128 rows that a swizzled layout pads to, for one producer; a few odd ones for the others.
SHAPES = {"nothing": ((131, 384), (1, 128)), "silu_mul": ((5, 640),)}
OTHER_SHAPES = ((3, 384),)


def _marks(producer: str, fmt: str) -> list[pytest.MarkDecorator]:
    """A layout is a matter of the store: two producers show it."""
    shown = fmt.endswith("-row_major") or producer in SHAPES
    return [] if shown else [pytest.mark.triple]


CASES = [
    pytest.param(name, fmt, shape, id=f"{name}-{fmt}-{shape[0]}x{shape[1]}", marks=_marks(name, fmt))
    for name in PRODUCERS
    for fmt in FORMATS
    for shape in SHAPES.get(name, OTHER_SHAPES)
]
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture(autouse=True)
def unwritten_memory_shows(monkeypatch):
    """What a kernel leaves unwritten is 0x7f, a NaN of many types."""
    allocate = OutputSpec.allocate

    def poisoned(spec, *args):
        made = allocate(spec, *args)
        if not spec.zeroed and not isinstance(made, FakeTensor):
            made.untyped_storage().fill_(0x7F)
        return made

    monkeypatch.setattr(OutputSpec, "allocate", poisoned)


@pytest.fixture(params=DEVICES)
def device(request):
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return request.param


def given(fmt: QuantFormat, device: str) -> dict[str, Tensor]:
    """The scales that a format does not compute."""
    if fmt.static:
        return {"scale": torch.full((), 0.037, device=device)}
    if fmt.global_scale:
        return {"global_scale": torch.full((), 37.5, device=device)}
    return {}


def compiled(fn, dynamic=False, whole=True):
    """whole: all of it must be fused; a quantization of an input has nothing to be fused with."""
    torch._dynamo.reset()
    options = {"epiq.strict": True, "epiq.autotune": "off", "epiq.fail_on_unfused": whole}
    return torch.compile(fn, backend="epiq", dynamic=dynamic, fullgraph=True, options=options)


def assert_same(got: Tensor, want: Tensor, what: str) -> None:
    assert (got.shape, got.dtype) == (want.shape, want.dtype), what
    long = [dim for dim, size in enumerate(want.shape) if size > 1]
    assert [got.stride(dim) for dim in long] == [want.stride(dim) for dim in long], f"{what}: strides"
    got, want = got.cpu(), want.cpu()
    views = {1: torch.uint8, 2: torch.int16, 4: torch.int32}
    left, right = (x.view(views[x.dtype.itemsize]) for x in (got, want))
    differing = int((left != right).sum())
    assert differing == 0, f"{what}: {differing} of {left.numel()} differ"


@pytest.mark.parametrize(("producer", "fmt", "shape"), CASES)
def test_fused_is_the_reference(producer, fmt, shape, device):
    made, fmt = PRODUCERS[producer], FORMATS[fmt]
    inputs = made.inputs(*shape, torch.bfloat16, device)
    scales = given(fmt, device)

    def fused(*inputs):
        values = made.fn(*inputs)
        return values, *epiq.quantize(values, fmt, **scales)

    with recording() as records:
        values, q, scale = compiled(fused, whole=producer != "nothing")(*inputs)
    # A scale for the whole tensor takes a second pass, never a third.
    two = fmt.granularity == "tensor" and not fmt.static
    assert [len(record.used) for record in records] == [2 if two else 1]
    expected = made.fn(*inputs)
    torch.testing.assert_close(values, expected, rtol=CLOSE[values.dtype], atol=CLOSE[values.dtype])
    cpu_scales = {name: tensor.cpu() for name, tensor in scales.items()}
    want_q, want_scale = epiq.quantize(values.cpu(), fmt, **cpu_scales)
    assert_same(q, want_q, "values")
    assert_same(scale, want_scale, "scales")


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("producer", ["rms_norm", "silu_mul", "layer_norm"])
@pytest.mark.parametrize("fmt", [name for name in FORMATS if name.endswith("row_major")])
def test_other_dtypes(producer, fmt, dtype, device):
    made, fmt = PRODUCERS[producer], FORMATS[fmt]
    inputs = made.inputs(3, 256, dtype, device)
    scales = given(fmt, device)

    def fused(*inputs):
        values = made.fn(*inputs)
        return values, *epiq.quantize(values, fmt, **scales)

    values, q, scale = compiled(fused)(*inputs)
    torch.testing.assert_close(values, made.fn(*inputs), rtol=CLOSE[dtype], atol=CLOSE[dtype])
    cpu_scales = {name: tensor.cpu() for name, tensor in scales.items()}
    want_q, want_scale = epiq.quantize(values.cpu(), fmt, **cpu_scales)
    assert_same(q, want_q, "values")
    assert_same(scale, want_scale, "scales")


@pytest.mark.parametrize("fmt", FORMATS)
def test_one_compile_serves_every_count_of_tokens(fmt, device):
    """Marked dynamic, tokens are padded to multiples that only the run knows."""
    fmt = FORMATS[fmt]
    made, scales = PRODUCERS["rms_norm"], given(fmt, device)

    def fused(x, w):
        values = made.fn(x, w)
        return values, *epiq.quantize(values, fmt, **scales)

    run = None
    # One block of 128 rows and several are two shapes to Dynamo, as one row and several are.
    for tokens in (5, 2, 7, 128 if fmt.layout.tile else 129):
        x, w = made.inputs(tokens, 256, torch.bfloat16, device)
        torch._dynamo.mark_dynamic(x, 0)
        if run is None:
            run = compiled(fused, dynamic=None)
            limit = torch._dynamo.config.patch(error_on_recompile=True)
            values, q, scale = run(x, w)
        else:
            with limit:
                values, q, scale = run(x, w)
        cpu_scales = {name: tensor.cpu() for name, tensor in scales.items()}
        want_q, want_scale = epiq.quantize(values.cpu(), fmt, **cpu_scales)
        assert_same(q, want_q, "values")
        assert_same(scale, want_scale, "scales")
