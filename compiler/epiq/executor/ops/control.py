"""Structured control flow. Programs of a batch that disagree go on in smaller batches, and their
results are put back in order, so that a program computes the same whatever runs beside it."""

from __future__ import annotations

import torch
from torch import Tensor

from epiq.executor.frame import Frame, agreed, rows_where
from epiq.executor.ops.arith import unsigned_order
from epiq.executor.registry import Op, Step, handler
from epiq.executor.values import Value, merge, select


def _assign(frame: Frame, slots: tuple[int, ...], values: list[Value]) -> None:
    for slot, value in zip(slots, values, strict=True):
        frame.slots[slot] = value


def _merge_all(parts: list[tuple[Tensor, list[Value]]], size: int) -> list[Value]:
    columns = len(parts[0][1])
    return [merge([(rows, values[i]) for rows, values in parts], size) for i in range(columns)]


@handler("scf.if")
def scf_if(op: Op) -> Step:
    condition, results = op.operands[0], op.results
    then = op.regions[0]
    otherwise = op.regions[1] if len(op.regions) > 1 and op.regions[1].blocks else None
    live = tuple(sorted({*then.live_in, *(otherwise.live_in if otherwise else ())}))

    def run(frame: Frame, taken: bool) -> list[Value]:
        if taken:
            return then.call(frame, [])
        return otherwise.call(frame, []) if otherwise is not None else []

    def step(frame: Frame) -> None:
        flag = frame.slots[condition]
        if agreed(flag):
            _assign(frame, results, run(frame, bool(flag[0])))
            return
        parts = []
        for taken, flags in ((True, flag), (False, ~flag)):
            rows = rows_where(flags)
            parts.append((rows, run(frame.select(rows, live), taken)))
        _assign(frame, results, _merge_all(parts, frame.size))

    return step


@handler("scf.execute_region")
def scf_execute_region(op: Op) -> Step:
    region, results = op.regions[0], op.results

    def step(frame: Frame) -> None:
        _assign(frame, results, region.call(frame, []))

    return step


def trip_count(low: Tensor, high: Tensor, stride: Tensor, *, unsigned: bool) -> Tensor:
    """Iterations of `for i = low; i < high; i += stride`, (b,) i64; bounds of 64 bits must not overflow."""
    if unsigned:
        low, high = unsigned_order(low), unsigned_order(high)
    span = high.to(torch.int64) - low.to(torch.int64)
    step = stride.to(torch.int64)
    return torch.where(span > 0, torch.div(span + step - 1, step, rounding_mode="floor"), 0)


@handler("scf.for")
def scf_for(op: Op) -> Step:
    low, high, stride, *initial = op.operands
    region, results = op.regions[0], op.results
    block = region.body
    variable, *carried = block.arguments
    unsigned = op.flag("unsignedCmp")

    def iterate(frame: Frame, values: list[Value], first: int, last: int) -> list[Value]:
        slots = frame.slots
        start, step = slots[low], slots[stride]
        for trip in range(first, last):
            slots[variable] = start if trip == 0 else start + step * trip
            for slot, value in zip(carried, values, strict=True):
                slots[slot] = value
            block.run(frame)
            values = [slots[slot] for slot in block.yields]
        return values

    # The bounds are read inside the loop too, to compute the induction variable.
    live = tuple(sorted({*region.live_in, low, stride}))

    def step(frame: Frame) -> None:
        slots = frame.slots
        if bool((slots[stride] <= 0).any()) and not unsigned:
            raise frame.error(f"the loop's step is {int(slots[stride].min())}, not positive", op.site)
        trips = trip_count(slots[low], slots[high], slots[stride], unsigned=unsigned)
        values = [slots[slot] for slot in initial]
        if agreed(trips):
            _assign(frame, results, iterate(frame, values, 0, int(trips[0])))
            return
        parts: list[tuple[Tensor, list[Value]]] = []
        rows, current, done = torch.arange(frame.size), frame, 0
        while rows.numel():
            stop = int(trips.min())
            values = iterate(current, values, done, stop)
            done = stop
            ended, going = rows_where(trips == stop), rows_where(trips != stop)
            parts.append((rows[ended], [select(value, ended) for value in values]))
            rows, trips = rows[going], trips[going]
            values = [select(value, going) for value in values]
            current = current.select(going, live)
        _assign(frame, results, _merge_all(parts, frame.size))

    return step


@handler("scf.while")
def scf_while(op: Op) -> Step:
    before, after = op.regions
    test, body = before.body, after.body
    operands, results = op.operands, op.results
    live = tuple(sorted({*before.live_in, *after.live_in}))

    def step(frame: Frame) -> None:
        parts: list[tuple[Tensor, list[Value]]] = []
        rows, current = torch.arange(frame.size), frame
        values = [frame.slots[slot] for slot in operands]
        for _ in range(frame.launch.max_iterations):
            _assign(current, test.arguments, values)
            test.run(current)
            flag, *passed = [current.slots[slot] for slot in test.yields]
            if agreed(flag):
                if not bool(flag[0]):
                    parts.append((rows, passed))
                    break
            else:
                ended, going = rows_where(~flag), rows_where(flag)
                parts.append((rows[ended], [select(value, ended) for value in passed]))
                rows, current = rows[going], current.select(going, live)
                passed = [select(value, going) for value in passed]
            _assign(current, body.arguments, passed)
            body.run(current)
            values = [current.slots[slot] for slot in body.yields]
        else:
            limit = frame.launch.max_iterations
            raise current.error(
                f"no end after {limit} iterations; a program that waits for a later one never ends here",
                op.site,
            )
        _assign(frame, results, _merge_all(parts, frame.size))

    return step
