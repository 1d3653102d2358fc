"""Runs one recipe every way and says what is wrong: fused, unfused, as torch computes it."""

from __future__ import annotations

import re
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor
from torch.fx import GraphModule

from epiq.frontend.inexact import inexact_outputs
from epiq.frontend.record import CompilationRecord
from epiq.runtime.bits import bit_difference
from epiq.testing import ops
from epiq.testing.compare import outside, same_form
from epiq.testing.graphs import Traced, rewritten, trace
from epiq.testing.perturb import Perturbed
from epiq.testing.recipe import Recipe

# Perturbed runs, tried until one explains a difference.
_PERTURBED = ((3, 2.0**-22), (12, 2.0**-20))
_LABEL = re.compile(r"\b([A-Z]\d+): ")
_NUMBERS = re.compile(r"0x[0-9a-f]+|\d+")


@dataclass(frozen=True)
class Finding:
    """Something that must not happen.

    kind: "error" raised by us, "bits" that fusing changed, "form" of a result, "eager" not near, "refused" a
    group that has no kernel, "mutation" of an input, "hang", "crash".
    """

    kind: str
    message: str
    detail: str = ""

    @property
    def signature(self) -> str:
        """Equal for findings that have one cause, as far as their words tell."""
        return f"{self.kind}: {_NUMBERS.sub('#', self.message)[:160]}"


@dataclass
class Outcome:
    """What one recipe did.

    nodes: calls in the traced graph. programs: the named parts of each program that runs as a kernel.
    groups: programs that are several kernels unfused.
    rules: labels of the rules that refused something. skipped: why torch itself cannot run the recipe.
    """

    nodes: int = 0
    programs: list[tuple[str, ...]] = field(default_factory=list)
    groups: int = 0
    rules: Counter[str] = field(default_factory=Counter)
    opaque: int = 0
    runs: int = 0
    skipped: str = ""
    finding: Finding | None = None


class FoundError(Exception):
    """Ends a check."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


class Traces:
    """A recipe traced once, all its values being results: what its variants share.

    custom: as the backend gets it. plain: with the functions that stand for custom ops.
    """

    def __init__(self, recipe: Recipe, device: str = "cpu") -> None:
        ops.register()
        self.device = device
        self.values = [name for step in recipe.steps for name in step.results]
        every = replace(recipe, outputs=tuple(self.values))
        self.inputs = {each.name: index for index, each in enumerate(recipe.inputs)}
        self.custom = trace(every, every.make_inputs(device=device))
        self.plain = self.custom
        if recipe.uses_custom_ops():
            self.plain = trace(every, every.make_inputs(device=device), plain=True)

    def of(self, variant: Recipe) -> tuple[Traced, Traced]:
        """The two graphs of a recipe that has the same steps, or some of them."""
        indices = [self.values.index(name) for name in variant.outputs]
        custom = self.custom.returning(indices)
        return custom, custom if self.plain is self.custom else self.plain.returning(indices)


def check(recipe: Recipe, device: str = "cpu", shared: tuple[Recipe, Traces] | None = None) -> Outcome:
    """Checks one recipe; what it finds is in the outcome.

    shared: a recipe that holds all its steps and inputs, and the traces of that.
    """
    outcome = Outcome()
    try:
        if recipe.route == "backend":
            from epiq.testing.backend_oracle import check_backend

            check_backend(recipe, device, outcome)
        else:
            _check(recipe, device, shared, outcome)
    except FoundError as found:
        outcome.finding = found.finding
    return outcome


def _check(recipe: Recipe, device: str, shared: tuple[Recipe, Traces] | None, outcome: Outcome) -> None:
    whole = recipe if shared is None else shared[0]
    inputs = whole.make_inputs(device=device)
    try:
        traced, plain = (Traces(recipe, device) if shared is None else shared[1]).of(recipe)
        wanted = plain.run(plain.gm, inputs)
    except Exception as error:
        outcome.skipped = f"{type(error).__name__}: {error}".split("\n")[0]
        return
    outcome.nodes = sum(node.op == "call_function" for node in traced.gm.graph.nodes)
    fused, record = _rewritten(traced, "fused", fuse=True)
    note_record(record, outcome)
    unfused, _ = _rewritten(plain, "unfused", fuse=False)
    sides = Sides(plain, traced, fused, unfused, device)
    check_runs(sides, inputs, wanted, outcome)
    for sizes in recipe.others:
        others = whole.make_inputs(sizes, device)
        if not traced.serves(others) or (plain is not traced and not plain.serves(others)):
            continue
        try:
            wanted = plain.run(plain.gm, others)
        except Exception:
            continue
        check_runs(sides, others, wanted, outcome)


@dataclass
class Sides:
    """A graph as torch runs it, and the two forms that we make of it."""

    plain: Traced
    traced: Traced
    fused: GraphModule
    unfused: GraphModule
    device: str


def _rewritten(traced: Traced, which: str, *, fuse: bool) -> tuple[GraphModule, CompilationRecord]:
    try:
        return rewritten(traced, fuse=fuse)
    except Exception as error:
        raise _error(error, f"rewriting the {which} graph") from error


def _error(error: Exception, doing: str) -> FoundError:
    first = (str(error).strip() or "no message").split("\n")[0]
    message = f"{type(error).__name__} in {doing}: {first}"
    return FoundError(Finding("error", message, traceback.format_exc()))


def note_record(record: CompilationRecord, outcome: Outcome) -> None:
    """Keeps what the tables count. Raises: for a group that was made but has no kernel."""
    outcome.opaque += len(record.opaque)
    if record.grouped is None:
        return
    outcome.programs += [program.composites for program in record.used]
    outcome.groups += sum(len(program.parts) > 1 for program in record.used)
    for remark in record.grouped.remarks:
        if "fused" in remark.message and (label := _LABEL.search(remark.message)):
            outcome.rules[label[1]] += 1
    for _, reason in record.refused:
        outcome.rules[reason.split(":")[0]] += 1
        if reason.startswith("E5"):
            raise FoundError(Finding("refused", reason.split("\n")[0], reason))


def check_runs(sides: Sides, inputs: Sequence[Tensor], wanted: Sequence[Tensor], outcome: Outcome) -> None:
    """Compares fused with unfused and both with `wanted` on one set of inputs. Raises: what is found."""
    kept = [x.clone() for x in inputs]
    results = {}
    for which, owner, gm in (
        ("fused", sides.traced, sides.fused),
        ("unfused", sides.plain, sides.unfused),
    ):
        try:
            results[which] = owner.run(gm, inputs)
        except Exception as error:
            raise _error(error, f"running the {which} graph") from error
    outcome.runs += 1
    for index, (x, before) in enumerate(zip(inputs, kept, strict=True)):
        if bit_difference(x, before) is not None:
            raise FoundError(Finding("mutation", f"input {index} is written to"))
    for which, found in results.items():
        for index, (a, b) in enumerate(zip(found, wanted, strict=True)):
            if difference := same_form(a, b):
                raise FoundError(Finding("form", f"{which} result {index} has {difference}"))
    # What torch computes in both graphs is the same; what it does in one of them may round otherwise.
    torchs = _rounded_apart(sides.fused, sides.unfused)
    pairs = zip(results["fused"], results["unfused"], torchs, strict=True)
    for index, (a, b, by_torch) in enumerate(pairs):
        if not by_torch and (unequal := bit_difference(a, b)):
            raise FoundError(Finding("bits", f"fused result {index} ({a.dtype}): {unequal}"))
    _check_eager(sides, inputs, results["fused"], wanted)


def _rounded_apart(fused: GraphModule, unfused: GraphModule) -> list[bool]:
    """For each result, whether something inexact upstream of it is computed by torch in one graph only."""
    names = [{node.name for node in gm.graph.nodes} for gm in (fused, unfused)]
    ours, theirs = inexact_outputs(fused, names[1]), inexact_outputs(unfused, names[0])
    return [a or b for a, b in zip(ours, theirs, strict=True)]


def _check_eager(
    sides: Sides, inputs: Sequence[Tensor], found: Sequence[Tensor], wanted: Sequence[Tensor]
) -> None:
    inexact = inexact_outputs(sides.plain.gm)
    on_gpu = sides.device != "cpu"
    left = []
    for index, (a, b) in enumerate(zip(found, wanted, strict=True)):
        unequal = bit_difference(a, b)
        if unequal is None:
            continue
        if not inexact[index] and not on_gpu:
            raise FoundError(Finding("eager", f"exact result {index} ({a.dtype}): {unequal}"))
        left.append(index)
    perturbed: list[tuple[Tensor, ...]] = []
    for count, size in _PERTURBED:
        if not left:
            return
        for _ in range(count):
            runner = Perturbed(sides.plain.gm, len(perturbed), size, everywhere=on_gpu)
            perturbed.append(sides.plain.run(runner.run, inputs))
        left = [i for i in left if outside(found[i], wanted[i], [each[i] for each in perturbed])]
    for index in left:
        count = outside(found[index], wanted[index], [each[index] for each in perturbed])
        total, dtype = wanted[index].numel(), wanted[index].dtype
        unequal = bit_difference(found[index], wanted[index])
        raise FoundError(
            Finding("eager", f"result {index} ({dtype}): {count} of {total} are out of bounds; {unequal}")
        )
