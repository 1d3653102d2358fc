"""The roofline of fused kernels, drawn as SVG that takes its colors from the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 720, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 16, 44


@dataclass(frozen=True)
class Point:
    """A kernel: bytes that it must move, and microseconds it takes, both of one launch."""

    name: str
    num_bytes: float
    time_us: float


def roofline(points: Sequence[Point], copy_gb_per_s: float) -> str:
    """Time over bytes, both logarithmic, with the line of a plain copy; "" without points."""
    if not points or copy_gb_per_s <= 0:
        return ""
    floor = [point.num_bytes / copy_gb_per_s / 1e3 for point in points]
    x_axis = _Axis([point.num_bytes for point in points], _LEFT, _WIDTH - _RIGHT)
    y_axis = _Axis([*(point.time_us for point in points), *floor], _HEIGHT - _BOTTOM, _TOP)
    said = "; ".join(f"{p.name}: {p.num_bytes / 1e6:.1f} MB in {p.time_us:.1f} us" for p in points)
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
        f"<title>Time over bytes of each fused kernel</title><desc>{escape(said)}</desc>",
    ]
    for value in x_axis.ticks():
        at = x_axis.place(value)
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>')
        parts.append(
            f'<text x="{at:.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{_bytes(value)}</text>'
        )
    for value in y_axis.ticks():
        at = y_axis.place(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{value:g} µs</text>')
    low, high = x_axis.low, x_axis.high
    ends = [(x_axis.place(b), y_axis.place(b / copy_gb_per_s / 1e3)) for b in (low, high)]
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    plot = f'<rect x="{_LEFT}" y="{_TOP}" width="{width}" height="{height}"/>'
    parts.append(f'<clipPath id="plot">{plot}</clipPath>')
    (x1, y1), (x2, y2) = ends
    parts.append(
        f'<line class="roof" clip-path="url(#plot)" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
    )
    said = f"bytes of a launch; dashed: a plain copy, {copy_gb_per_s:.0f} GB/s"
    parts.append(f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 6}" text-anchor="end">{said}</text>')
    for point in points:
        x, y = x_axis.place(point.num_bytes), y_axis.place(point.time_us)
        side = "end" if x > _WIDTH * 0.6 else "start"
        shift = -9 if side == "end" else 9
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5"><title>{escape(point.name)}</title></circle>')
        place = f'x="{x + shift:.1f}" y="{y - 7:.1f}" text-anchor="{side}"'
        parts.append(f'<text class="name" {place}>{escape(point.name.removeprefix("epiq_"))}</text>')
    return "".join([*parts, "</svg>"])


class _Axis:
    """A logarithmic axis over some values, with a third of a decade of room at both ends."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self.low, self.high = min(values) / 2, max(values) * 2
        self.start, self.end = start, end

    def place(self, value: float) -> float:
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """1, 2 and 5 times powers of ten, or powers alone where these would be many."""
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        steps = (1, 2, 5) if len(decades) <= 4 else (1,)
        found = [step * 10.0**power for power in decades for step in steps]
        return [value for value in found if self.low <= value <= self.high]


def _bytes(value: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= size:
            return f"{value / size:g} {unit}"
    return f"{value:g} B"
