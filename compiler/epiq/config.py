"""Options: what they are, where they are set, and what is said about those that cannot be.

An option is set, the first that is found counting, by
  1. `torch.compile(model, backend="epiq", options={"epiq.autotune": "off"})`
  2. `epiq.config.autotune = "off"`, or `with epiq.config.patch(autotune="off")`, in the process
  3. `EPIQ_AUTOTUNE=off` in the environment
  4. its default.
`Settings` is the one list of them: their checks, the README's table and `epiq doctor` read its fields.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

PREFIX = "epiq."
ENVIRONMENT_PREFIX = "EPIQ_"

# Kinds of operations that epiq-raise names, by what they have in common; `keep_out` takes either.
FAMILIES: dict[str, tuple[str, ...]] = {
    "norm": ("rms_norm", "layer_norm"),
    "activation": ("silu", "silu_mul", "gelu", "gelu_mul", "swiglu", "relu2"),
}
_WORDS = {
    "1": True,
    "true": True,
    "on": True,
    "yes": True,
    "0": False,
    "false": False,
    "off": False,
    "no": False,
}


def option(default: Any, doc: str, *, choices: Iterable[str] = (), of_process: bool = False) -> Any:
    """A field of Settings. of_process: all models share it, so `torch.compile` does not take it."""
    return field(default=default, metadata={"doc": doc, "choices": tuple(choices), "of_process": of_process})


@dataclass(frozen=True)
class Settings:
    """What a compilation is asked to do. Each field is the option `epiq.<field>`."""

    autotune: str = option(
        "quick",
        "schedules timed for each kernel at compile time on a GPU: a few that give the same bits; all in "
        "reach, which may change the order of a norm's sum (full); none (off). What was measured is kept",
        choices=("off", "quick", "full"),
    )
    cache_dir: str = option(
        "",
        "folder of compiled kernels, schedules and decisions; empty: the user's cache folder",
        of_process=True,
    )
    decide: str = option(
        "measure",
        "what computes a matrix product with its epilogue: fused kernel or library call, whichever is faster "
        "on the tensors at hand (the library call where nothing can be timed), or always one of them",
        choices=("measure", "fused", "library"),
    )
    dry_run: bool = option(False, "look for groups and report them, but leave the graph to Inductor")
    dump: str = option("", "folder that gets the IR after each pass, numbered, one folder a graph")
    fail_on_unfused: bool = option(
        False, "raise when a quantization is not part of a fused kernel, in CI say"
    )
    fuse: bool = option(
        True, "False makes each named part a kernel of its own, the form fused kernels are compared with"
    )
    keep_out: tuple[str, ...] = option(
        (), "operations that join no fused kernel: norm, activation, or one kind, such as silu_mul"
    )
    num_rows: tuple[int, ...] = option(
        (), "token counts to compile kernels for ahead, besides the traced one"
    )
    numerics: str = option(
        "exact", "keeps every rounding of the graph; there is no other mode", choices=("exact",)
    )
    strict: bool = option(
        False, "raise errors of epiq's own; otherwise a warning, and Inductor takes the graph"
    )
    target: str = option(
        "", "a GPU to compile kernels for as well, sm_90a or sm_100a: found in the cache on such a machine"
    )

    verify: bool = option(
        False,
        "run each fused group beside its unfused form on the first inputs of each range of token counts, and "
        "warn where bits differ (raise, with strict)",
    )

    def __post_init__(self) -> None:
        for each in dataclasses.fields(self):
            _check(each, getattr(self, each.name), PREFIX + each.name)
        if not self.fuse and self.fail_on_unfused:
            raise ValueError(
                "epiq.fuse=False fuses nothing, which epiq.fail_on_unfused=True forbids; drop one"
            )
        if not self.fuse and self.keep_out:
            raise ValueError(
                f"epiq.fuse=False fuses nothing, so epiq.keep_out={self.keep_out!r} has no effect"
            )
        if self.verify and (self.dry_run or not self.fuse):
            other = "epiq.dry_run=True" if self.dry_run else "epiq.fuse=False"
            raise ValueError(f"{other} leaves no fused group for epiq.verify=True to look at; drop one")
        if self.dry_run and self.target:
            raise ValueError(f"epiq.dry_run=True compiles nothing, also not for epiq.target={self.target!r}")

    @property
    def kinds_kept_out(self) -> tuple[str, ...]:
        """`keep_out` with families spelled out, sorted."""
        return tuple(sorted({kind for name in self.keep_out for kind in FAMILIES.get(name, (name,))}))


def split_options(options: Mapping[str, Any] | None) -> tuple[Settings, dict[str, Any]]:
    """Splits the options of `torch.compile` into ours, completed, and those that go to Inductor.

    Raises: ValueError or TypeError for an `epiq.` option that does not exist, a value that it does not
    take, or options that contradict each other.
    """
    if options is None:
        options = {}
    if not isinstance(options, Mapping):
        raise TypeError(f"options must be a dict, got {type(options).__name__}")
    ours: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for key, value in options.items():
        if not isinstance(key, str):
            raise TypeError(f"option names must be strings, got {key!r}")
        if not key.startswith(PREFIX):
            others[key] = value
            continue
        name = key[len(PREFIX) :]
        if _fields_by_name(name, key).metadata["of_process"]:
            raise ValueError(
                f"option {key} is of the process, not of one model: set "
                f"{ENVIRONMENT_PREFIX}{name.upper()} or epiq.config.{name}"
            )
        ours[name] = tuple(value) if isinstance(value, list) else value
    return resolve(ours), others


def resolve(given: Mapping[str, Any] | None = None) -> Settings:
    """The settings that hold now: `given`, then `epiq.config`, then the environment, then the defaults."""
    return Settings(**{**from_environment(), **_process, **(given or {})})


def from_environment(environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The options that `EPIQ_*` variables set.

    Raises: ValueError or TypeError that names the variable.
    """
    environment = os.environ if environment is None else environment
    found: dict[str, Any] = {}
    for each in dataclasses.fields(Settings):
        variable = ENVIRONMENT_PREFIX + each.name.upper()
        if environment.get(variable):
            found[each.name] = _parsed(each, environment[variable], variable)
            _check(each, found[each.name], variable)
    return found


def unknown_variables(environment: Mapping[str, str] | None = None) -> list[str]:
    """`EPIQ_*` variables that set no option. EPIQ_TRACEBACK is the command line's own."""
    environment = os.environ if environment is None else environment
    known = {ENVIRONMENT_PREFIX + each.name.upper() for each in dataclasses.fields(Settings)}
    known.add("EPIQ_TRACEBACK")
    return sorted(name for name in environment if name.startswith(ENVIRONMENT_PREFIX) and name not in known)


def option_table() -> str:
    """The options as a Markdown table."""
    lines = ["| option | default | does |", "|---|---|---|"]
    for each in dataclasses.fields(Settings):
        choices = ", ".join(f"`{choice}`" for choice in each.metadata["choices"])
        text = each.metadata["doc"] + (f"; one of {choices}" if len(each.metadata["choices"]) > 1 else "")
        default = ", ".join(each.default) if isinstance(each.default, tuple) else str(each.default)
        lines.append(f"| `{each.name}` | {f'`{default}`' if default else ''} | {text} |")
    return "\n".join(lines)


def _check(each: dataclasses.Field[Any], value: Any, name: str) -> None:
    """Raises what is wrong with a value; `name` is the option or variable that gave it."""
    if isinstance(each.default, bool):
        if not isinstance(value, bool):
            raise TypeError(f"option {name} must be True or False, got {value!r}")
    elif isinstance(each.default, str):
        if not isinstance(value, str | os.PathLike):
            raise TypeError(f"option {name} must be a string, got {value!r}")
        choices = each.metadata["choices"]
        if each.name == "numerics" and value == "fast":
            raise ValueError(
                f"option {name}='fast' would do nothing yet, so it is refused; leave it at 'exact'"
            )
        if choices and value not in choices:
            listed = ", ".join(repr(choice) for choice in choices)
            raise ValueError(f"option {name} must be one of {listed}, got {value!r}")
    if each.name == "num_rows":
        _check_num_rows(value, name)
    elif each.name == "keep_out":
        _check_kinds(value, name)
    elif each.name == "target" and value:
        from epiq.codegen.target import Target

        Target.parse(value)


def _check_num_rows(value: Any, name: str) -> None:
    if not isinstance(value, tuple) or any(
        isinstance(rows, bool) or not isinstance(rows, int) or rows < 1 for rows in value
    ):
        raise ValueError(f"option {name} must be token counts of at least 1, got {value!r}")


def _check_kinds(value: Any, name: str) -> None:
    known = [*FAMILIES, *(kind for kinds in FAMILIES.values() for kind in kinds)]
    if not isinstance(value, tuple):
        raise TypeError(f"option {name} must be a list of names, got {value!r}")
    for kind in value:
        if kind not in known:
            raise ValueError(f"option {name} knows no {kind!r}; it takes {', '.join(known)}")


def _parsed(each: dataclasses.Field[Any], text: str, variable: str) -> Any:
    """The value that the text of a variable stands for."""
    if isinstance(each.default, bool):
        if text.lower() not in _WORDS:
            raise TypeError(f"{variable} must be 1 or 0, got {text!r}")
        return _WORDS[text.lower()]
    if not isinstance(each.default, tuple):
        return text
    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    if each.name != "num_rows":
        return parts
    if not all(part.isdigit() for part in parts):
        raise ValueError(f"{variable} must be token counts with commas between them, got {text!r}")
    return tuple(map(int, parts))


def _fields_by_name(name: str, key: str) -> dataclasses.Field[Any]:
    known = {each.name: each for each in dataclasses.fields(Settings)}
    if name in known:
        return known[name]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {PREFIX + close[0]!r}?" if close else ""
    listed = ", ".join(PREFIX + option_name for option_name in sorted(known))
    raise ValueError(f"unknown option {key!r}{hint}; options are {listed}")


# What `epiq.config.NAME = value` has set.
_process: dict[str, Any] = {}


class _Config(types.ModuleType):
    """This module, with the options as attributes that are checked when they are set."""

    def __getattr__(self, name: str) -> Any:
        if name in Settings.__dataclass_fields__:
            return getattr(resolve(), name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__ or name.startswith("__"):
            super().__setattr__(name, value)
            return
        each = _fields_by_name(name, PREFIX + name)
        value = tuple(value) if isinstance(value, list) else value
        _check(each, value, PREFIX + name)
        _process[name] = value

    def __delattr__(self, name: str) -> None:
        """Back to what the environment or the default says."""
        if name in Settings.__dataclass_fields__:
            _process.pop(name, None)
        else:
            super().__delattr__(name)


@contextmanager
def patch(**values: Any) -> Iterator[None]:
    """Sets options of the process inside a `with` block."""
    module = sys.modules[__name__]
    before = dict(_process)
    try:
        for name, value in values.items():
            setattr(module, name, value)
        yield
    finally:
        _process.clear()
        _process.update(before)


sys.modules[__name__].__class__ = _Config
