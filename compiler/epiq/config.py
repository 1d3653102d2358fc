"""Options of the backend: `torch.compile(model, backend="epiq", options={"epiq.autotune": "off"})`."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PREFIX = "epiq."

_CHOICES: dict[str, tuple[str, ...]] = {
    "numerics": ("exact",),
    "autotune": ("off", "quick", "full"),
    "decide": ("measure", "fused", "library"),
}


@dataclass(frozen=True)
class Settings:
    """What a compilation is asked to do. Each field is the option `epiq.<field>`.

    numerics: "exact" keeps every rounding point of the graph; there is no other mode yet.
    fuse: False makes each named part a kernel of its own, the form fused kernels are compared with.
    dry_run: look for groups and report them, but leave the graph to Inductor.
    strict: an error in our own work is raised; otherwise the graph is left to Inductor and a
      warning says why.
    fail_on_unfused: raise when a quantization of the graph is not part of a fused kernel.
    autotune: "quick" times a few schedules of each kernel at compile time on a GPU, those that give the
      same bits; "full" times all in reach, which may change the order of a norm's sum; "off" takes the
      default schedule. What was measured is kept on disk.
    decide: "measure" takes the fused kernel of a matrix product where it is faster on the tensors at hand
      than the library's product and a row program, and these where nothing can be timed; "fused" and
      "library" take one or the other.
    num_rows: token counts to compile kernels for ahead, besides the one that was traced.
    """

    numerics: str = "exact"
    fuse: bool = True
    dry_run: bool = False
    strict: bool = False
    fail_on_unfused: bool = False
    autotune: str = "quick"
    decide: str = "measure"
    num_rows: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                listed = ", ".join(repr(choice) for choice in choices)
                raise ValueError(f"option {PREFIX}{name} must be one of {listed}, got {value!r}")
        for name in ("fuse", "dry_run", "strict", "fail_on_unfused"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"option {PREFIX}{name} must be True or False, got {getattr(self, name)!r}")
        if not isinstance(self.num_rows, tuple) or any(
            isinstance(rows, bool) or not isinstance(rows, int) or rows < 1 for rows in self.num_rows
        ):
            raise ValueError(
                f"option {PREFIX}num_rows must be token counts of at least 1, got {self.num_rows!r}"
            )


def split_options(options: Mapping[str, Any] | None) -> tuple[Settings, dict[str, Any]]:
    """Splits the options of `torch.compile` into ours and those that go to Inductor.

    Raises: ValueError for an `epiq.` option that does not exist or a value that it does not take.
    """
    if options is None:
        options = {}
    if not isinstance(options, Mapping):
        raise TypeError(f"options must be a dict, got {type(options).__name__}")
    known = {field.name for field in dataclasses.fields(Settings)}
    ours: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for key, value in options.items():
        if not isinstance(key, str):
            raise TypeError(f"option names must be strings, got {key!r}")
        if not key.startswith(PREFIX):
            others[key] = value
            continue
        name = key[len(PREFIX) :]
        if name not in known:
            raise ValueError(f"unknown option {key!r}{_suggestion(name, known)}")
        ours[name] = tuple(value) if isinstance(value, list) else value
    return Settings(**ours), others


def _suggestion(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    listed = ", ".join(PREFIX + option for option in sorted(known))
    return (f"; did you mean {PREFIX + close[0]!r}?" if close else "") + f"; options are {listed}"
