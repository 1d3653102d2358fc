"""Loads a compiled kernel on a GPU and launches it with as little host work as Triton's launcher allows.

The cubin goes to the driver as it is; nothing is compiled again. Triton provides two small C parts, which it
builds once a machine and caches: `utils.load_binary`, and a launcher for the types of the arguments.
Arguments are passed as the launcher takes them: a pointer as an int (`tensor.data_ptr()`), which spares a
driver call for each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from epiq.codegen.compile import Compiled
from epiq.codegen.errors import LaunchError

# The driver counts programs in 32 bits; Triton's launcher multiplies the grid in them, and skips a launch
# that overflows.
_MAX_PROGRAMS = 2**31 - 1


# Runs a kernel: grid, arguments, raw stream.
Launch = Callable[[tuple[int, int, int], Sequence[Any], int], None]


class Kernel:
    """A kernel on one device: `kernel(grid, args, stream)`.

    grid: three positive ints, or a 0 to launch nothing. args: ints for pointers and integers, floats; in the
    order of `signature`. stream: the raw handle of a CUDA stream. The caller keeps the tensors alive and the
    device current.
    """

    __slots__ = ("_launch", "_num_args", "compiled", "device", "max_threads", "module", "registers", "spills")

    def __init__(
        self, compiled: Compiled, device: int, launch: Callable[..., Any], loaded: Sequence[Any]
    ) -> None:
        self.compiled = compiled
        self.device = device
        self._launch = launch
        self._num_args = len(compiled.signature)
        # The module is kept because Triton 3.9 unloads one whose handle is gone.
        self.module, _, self.registers, self.spills, self.max_threads = loaded

    @property
    def signature(self) -> tuple[str, ...]:
        """Types of the arguments."""
        return self.compiled.signature

    def __call__(self, grid: tuple[int, int, int], args: Sequence[Any], stream: int) -> None:
        x, y, z = grid
        if x * y * z > _MAX_PROGRAMS:
            raise ValueError(f"grid {grid} has more than {_MAX_PROGRAMS} programs")
        if len(args) != self._num_args:  # Triton 3.9 would read past the end of them.
            raise TypeError(f"kernel {self.compiled.name} takes {self._num_args} arguments, got {len(args)}")
        self._launch(x, y, z, stream, args)


_loaded: dict[tuple[str, int], Kernel] = {}


def load(compiled: Compiled, device: int | None = None) -> Kernel:
    """Loads a kernel on a CUDA device, the current one by default; the same kernel is loaded once a device.

    Raises: LaunchError without a CUDA device, for a device of another architecture, or for a kernel that
    takes more shared memory, threads or descriptors than can be given to it.
    """
    if device is None:
        device = _current_device()
    kernel = _loaded.get((compiled.key, device))
    if kernel is None:
        kernel = _loaded.setdefault((compiled.key, device), _load(compiled, device))
    return kernel


_loaded_with_descriptors: dict[tuple[str, int, tuple[str, ...]], Launch] = {}


def load_with_descriptors(compiled: Compiled, kinds: Sequence[str]) -> Launch:
    """Loads on the current device a kernel that takes tensor descriptors from the host.

    Triton's launcher encodes them: an argument is then a triton TensorDescriptor where the kernel has the
    descriptor, its shape and its strides.
    Args: kinds: types of the arguments as Triton spells them, "tensordesc<..>" for each descriptor.
    Raises: as `load` does.
    """
    device = _current_device()
    key = (compiled.key, device, tuple(kinds))
    known = _loaded_with_descriptors.get(key)
    return known or _loaded_with_descriptors.setdefault(key, _load_launch(compiled, kinds, device))


def _load_launch(compiled: Compiled, kinds: Sequence[str], device: int) -> Launch:
    from triton.runtime.driver import driver

    active: Any = driver.active
    _check_device(active, compiled, device)
    module, function, *counts = _load_binary(active, compiled, device)
    metadata = _triton_metadata(compiled)
    source = SimpleNamespace(signature=dict(enumerate(kinds)), constants={})
    launcher = active.launcher_cls(source, metadata)
    packed = (compiled.num_warps, metadata.num_ctas, compiled.shared)

    def launch(grid: tuple[int, int, int], args: Sequence[Any], stream: int) -> None:
        launcher(*grid, stream, function, packed, None, None, None, *args)

    # Triton 3.9 unloads a module whose handle is gone.
    launch.module = (module, counts)  # type: ignore[attr-defined]
    return launch


def _current_device() -> int:
    import torch

    if not torch.cuda.is_available():
        raise LaunchError("no CUDA device to load a kernel on")
    return torch.cuda.current_device()


def _load(compiled: Compiled, device: int) -> Kernel:
    from triton.runtime.driver import driver

    active: Any = driver.active
    if any("tensordesc" in kind for kind in compiled.signature):
        raise LaunchError(
            f"kernel {compiled.name} takes tensor descriptors, which only triton's own launcher passes"
        )
    _check_device(active, compiled, device)
    loaded = _load_binary(active, compiled, device)
    threads, most = compiled.num_warps * 32, loaded[4]
    if threads > most:
        raise LaunchError(
            f"kernel {compiled.name} needs {threads} threads a program, its registers leave {most}"
        )
    return Kernel(compiled, device, _launcher(active, compiled, loaded[1]), loaded)


def _check_device(active: Any, compiled: Compiled, device: int) -> None:
    major, minor = active.get_device_capability(device)
    if major * 10 + minor != compiled.target.arch:
        raise LaunchError(
            f"kernel {compiled.name} is for {compiled.target.name}, device {device} is sm_{major}{minor}"
        )
    limit = active.utils.get_device_properties(device)["max_shared_mem"]
    if compiled.shared > limit:
        raise LaunchError(
            f"kernel {compiled.name} takes {compiled.shared} bytes of shared memory, "
            f"device {device} has {limit}"
        )


def _load_binary(active: Any, compiled: Compiled, device: int) -> Sequence[Any]:
    """(module, function, registers, spills, threads a program can have); loads into the device's context."""
    current = active.get_current_device()
    active.set_current_device(device)
    try:
        loaded: Sequence[Any] = active.utils.load_binary(
            compiled.name, compiled.cubin, compiled.shared, device
        )
        return loaded
    finally:
        active.set_current_device(current)


def _launcher(
    active: Any, compiled: Compiled, function: int
) -> Callable[[int, int, int, int, Sequence[Any]], None]:
    """A function of (x, y, z, stream, args) with all else bound."""
    metadata = _triton_metadata(compiled)
    source = SimpleNamespace(signature=dict(enumerate(_launcher_types(compiled.signature))), constants={})
    triton_launcher = active.launcher_cls(source, metadata)
    packed = (compiled.num_warps, metadata.num_ctas, compiled.shared)
    if metadata.global_scratch_size or metadata.profile_scratch_size:
        # Scratch is allocated by size of the grid; triton's Python launcher does it.
        def launch_with_scratch(x: int, y: int, z: int, stream: int, args: Sequence[Any]) -> None:
            triton_launcher(x, y, z, stream, function, packed, None, None, None, *args)

        return launch_with_scratch

    raw = triton_launcher.launch
    cooperative, pdl = metadata.launch_cooperative_grid, metadata.launch_pdl
    if not hasattr(triton_launcher, "kernel_signature"):

        def launch(x: int, y: int, z: int, stream: int, args: Sequence[Any]) -> None:
            raw(x, y, z, stream, function, cooperative, pdl, None, None, packed, None, None, None, *args)

        return launch

    # Triton 3.9 has one launcher for all signatures, which is told them.
    # The five: launch metadata, two hooks, two scratch pointers.
    five_none = (None,) * 5
    annotations, kinds = triton_launcher.arg_annotations, triton_launcher.kernel_signature

    def launch_generic(x: int, y: int, z: int, stream: int, args: Sequence[Any]) -> None:
        raw(x, y, z, stream, function, cooperative, pdl, packed, *five_none, annotations, kinds, args)

    return launch_generic


def _triton_metadata(compiled: Compiled) -> SimpleNamespace:
    """The fields that Triton's launchers read; defaults where the metadata has none."""
    defaults: dict[str, Any] = {
        "num_ctas": 1,
        "tensordesc_meta": None,
        "global_scratch_size": 0,
        "global_scratch_align": 1,
        "profile_scratch_size": 0,
        "profile_scratch_align": 1,
        "launch_cooperative_grid": False,
        "launch_pdl": False,
        "instrumentation_mode": "",
    }
    return SimpleNamespace(**{**defaults, **compiled.metadata})


def _launcher_types(signature: Sequence[str]) -> list[str]:
    """Pointers to any element are one type to the launcher; its table does not have all of the IR's."""
    return ["*i8" if kind.startswith("*") else kind for kind in signature]
