"""epiq fuses quantization into the kernels that produce the values.

`torch.compile(model, backend="epiq")` needs no import of this package; what is here is for eager
code and for looking inside. Names load on first use, so `import epiq` costs no torch import.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from epiq import config as config
    from epiq import formats as formats
    from epiq.backend import epiq as backend
    from epiq.errors import EpiqError, IRError, PassError, UnsupportedError
    from epiq.formats import QuantFormat, dequantize, quantize
    from epiq.frontend.unwrap import UnwrapError, register_unwrap
    from epiq.fuse import Epilogue, Fused, FusionError, Quantize
    from epiq.fuse import fuse as fuse
    from epiq.pull import Pulled, PullError, pull_quant
    from epiq.report import Report, explain

__all__ = [
    "Epilogue",
    "EpiqError",
    "Fused",
    "FusionError",
    "IRError",
    "PassError",
    "PullError",
    "Pulled",
    "QuantFormat",
    "Quantize",
    "Report",
    "UnsupportedError",
    "UnwrapError",
    "__version__",
    "backend",
    "config",
    "dequantize",
    "explain",
    "formats",
    "fuse",
    "pull_quant",
    "quantize",
    "register_unwrap",
]

# Public name -> module and the name there ("" for the module itself).
_HOMES = {
    "EpiqError": ("epiq.errors", "EpiqError"),
    "Epilogue": ("epiq.fuse", "Epilogue"),
    "Fused": ("epiq.fuse", "Fused"),
    "FusionError": ("epiq.fuse", "FusionError"),
    "IRError": ("epiq.errors", "IRError"),
    "PassError": ("epiq.errors", "PassError"),
    "PullError": ("epiq.pull", "PullError"),
    "Pulled": ("epiq.pull", "Pulled"),
    "QuantFormat": ("epiq.formats", "QuantFormat"),
    "Quantize": ("epiq.fuse", "Quantize"),
    "Report": ("epiq.report", "Report"),
    "UnsupportedError": ("epiq.errors", "UnsupportedError"),
    "UnwrapError": ("epiq.frontend.unwrap", "UnwrapError"),
    "backend": ("epiq.backend", "epiq"),
    "config": ("epiq.config", ""),
    "dequantize": ("epiq.formats", "dequantize"),
    "explain": ("epiq.report", "explain"),
    "formats": ("epiq.formats", ""),
    "fuse": ("epiq.fuse", ""),
    "pull_quant": ("epiq.pull", "pull_quant"),
    "quantize": ("epiq.formats", "quantize"),
    "register_unwrap": ("epiq.frontend.unwrap", "register_unwrap"),
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("epiq")
    if name not in _HOMES:
        raise AttributeError(f"module 'epiq' has no attribute {name!r}")
    module_name, attribute = _HOMES[name]
    module = importlib.import_module(module_name)
    value = getattr(module, attribute) if attribute else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
