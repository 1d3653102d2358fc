"""Makes kernels ready while the model is compiled, so that no first call waits for a compiler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from epiq.codegen.errors import LaunchError
from epiq.config import Settings
from epiq.runtime.buckets import bucket
from epiq.runtime.kernel import Kernel
from epiq.runtime.notices import warn_once

NO_C_COMPILER = "Triton cannot build its launcher without a C compiler: install gcc or set CC"


def device_refusal(example_inputs: Sequence[Any]) -> str:
    """Why graphs on the devices of these inputs are left to Inductor, "" where they are not."""
    from epiq.codegen import SUPPORTED

    supported = ", ".join(f"sm_{arch}" for arch in SUPPORTED)
    for x in example_inputs:
        if not isinstance(x, torch.Tensor) or x.device.type == "cpu":
            continue
        if x.device.type != "cuda":
            return f"kernels run on CUDA devices and the CPU, not on {x.device.type}"
        major, minor = torch.cuda.get_device_capability(x.device)
        if major * 10 + minor not in SUPPORTED:
            return f"kernels are made for {supported}, {x.device} is sm_{major}{minor}"
    return ""


def prepare_kernel(settings: Settings) -> Callable[[Kernel, torch.device, int], None]:
    """A function that compiles and loads a kernel for a device, for `num_rows` and the settings' counts."""

    def prepare(kernel: Kernel, device: torch.device, num_rows: int) -> None:
        if device.type not in ("cpu", "cuda"):
            raise ValueError(f"no kernels for {device.type} tensors")
        for rows in (num_rows, *settings.num_rows):
            if rows == 0:
                continue
            # Tracing runs under a fake mode; what is made ready here must be real.
            with torch._subclasses.fake_tensor.unset_fake_temporarily():
                if device.type == "cuda" and settings.autotune != "off":
                    from epiq.runtime.autotune import tune

                    tune(kernel, device, rows, "full" if settings.autotune == "full" else "quick")
                _make_launcher(kernel, device, rows)
                if settings.target:
                    _compile_for(kernel, settings.target, rows)

    return prepare


def _make_launcher(kernel: Kernel, device: torch.device, num_rows: int) -> None:
    try:
        kernel.launcher(device, num_rows)
    except RuntimeError as error:
        if "C compiler" not in str(error):
            raise
        warn_once(f"epiq leaves groups to Inductor: {NO_C_COMPILER}")
        raise LaunchError(NO_C_COMPILER) from error


def _compile_for(kernel: Kernel, target_name: str, num_rows: int) -> None:
    """Puts the kernel for another machine's GPU, as its default schedule makes it, into the cache."""
    from epiq import pipeline
    from epiq.codegen import Target
    from epiq.runtime.gpu import compile_program

    target = Target.parse(target_name)
    schedule = pipeline.default_schedule(kernel.program, bucket(num_rows), target)
    compile_program(kernel.program, schedule, target)
