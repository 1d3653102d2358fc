"""Times the configs of the table for one shape on the GPU at hand and keeps the fastest, on disk too."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

import torch
from torch import Tensor

from epiq.codegen.cache import DiskCache, cache_dir, key_of
from epiq.codegen.compile import epiq_version
from epiq.errors import EpiqError
from epiq.fuse import Epilogue
from epiq.kernels.configs import TABLE, Config, candidates, choose
from epiq.kernels.operands import Operands
from epiq.runtime.buckets import bucket

log = logging.getLogger("epiq")
_tuned: dict[str, Config] = {}
# A gain too small to be seen again keeps the config that the table names first.
_MIN_GAIN = 0.02


def tuned(operands: Operands, epilogue: Epilogue | None, inputs: Mapping[str, Tensor]) -> Config:
    """The fastest config for such operands, one for each bucket of rows.

    While the current stream is captured nothing can be timed: what the table says is taken.
    """
    device = operands.a.device
    sms = torch.cuda.get_device_properties(device).multi_processor_count
    key = _key(operands, epilogue)
    if key in _tuned:
        return _tuned[key]
    cache = DiskCache(cache_dir() / "tuned", "config")
    sections = cache.get(key)
    if sections is not None:
        return _tuned.setdefault(key, Config(**json.loads(sections["config"])))
    if torch.cuda.is_current_stream_capturing():
        return choose(operands, sms)
    timed = {config: _time_ms(operands, config, epilogue, inputs) for config in candidates(operands, sms)}
    default = next(iter(timed))
    best = min(timed, key=lambda config: timed[config])
    if timed[best] > timed[default] * (1.0 - _MIN_GAIN):
        best = default
    cache.put(key, {"config": json.dumps(best.as_json()).encode()})
    return _tuned.setdefault(key, best)


def _key(operands: Operands, epilogue: Epilogue | None) -> str:
    facts = {
        "epiq": epiq_version(),
        "device": torch.cuda.get_device_name(operands.a.device),
        "kind": list(operands.kind),
        "scales": operands.scales,
        "sizes": [bucket(operands.m), operands.n, operands.k],
        "epilogue": repr(epilogue),
        "table": TABLE.read_text(),
    }
    return key_of(facts)


def _time_ms(
    operands: Operands, config: Config, epilogue: Epilogue | None, inputs: Mapping[str, Tensor]
) -> float:
    """Median of a launch; infinite where the epilogue does not fit the config."""
    from triton.testing import do_bench

    from epiq.kernels.product import run

    try:
        return float(do_bench(lambda: run(operands, config, epilogue, inputs), return_mode="median"))
    except (EpiqError, ValueError, RuntimeError) as error:
        log.info("%s is left out: %s", config, error)
        return float("inf")
