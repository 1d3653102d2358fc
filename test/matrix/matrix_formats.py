"""Every format of epiq.formats, variants of them that servers use, and the layouts that each can have."""

from __future__ import annotations

import dataclasses

from epiq.formats import ALL, FP8_GROUP128, FP8_PER_TOKEN, MXFP8, QuantFormat
from epiq.formats.format import LAYOUTS


def _variants() -> list[QuantFormat]:
    change = dataclasses.replace
    return [
        *ALL,
        change(FP8_GROUP128, name="fp8_group128_ue8m0", scale_dtype="f8E8M0FNU", scale_rounding="rceil"),
        change(FP8_GROUP128, name="fp8_group128_amax_floor", floor=1e-4, floor_on="amax", division=False),
        change(
            FP8_GROUP128, name="e5m2_group32", element="f8E5M2", group_size=32, floor=1e-10, floor_on="amax"
        ),
        change(FP8_PER_TOKEN, name="fp8_per_token_bound", upper_bound=2.5, division=False),
        change(MXFP8, name="mxfp8_floor", scale_rounding="floor"),
    ]


def _laid_out(fmt: QuantFormat) -> list[QuantFormat]:
    """The format in each layout that it takes."""
    found = []
    for layout in LAYOUTS:
        try:
            found.append(dataclasses.replace(fmt, scale_layout=layout))
        except ValueError:
            continue
    return found


FORMATS = {f"{fmt.name}-{fmt.scale_layout}": fmt for base in _variants() for fmt in _laid_out(base)}
