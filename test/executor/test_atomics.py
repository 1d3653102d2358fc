"""Atomics: results, old values, order, and what they mean for the race checks."""

from __future__ import annotations

import pytest
import torch

from epiq.executor import ExecutionError, Executor, run, uninitialized

PROGRAMS = 12


def kernel(kind: str, element: str, sem: str = "acq_rel") -> str:
    return f"""tt.func public @kernel(%acc: !tt.ptr<{element}>, %x: !tt.ptr<{element}>,
                       %old: !tt.ptr<{element}>) {{
  %pid = tt.get_program_id x : i32
  %p = tt.addptr %x, %pid : !tt.ptr<{element}>, i32
  %v = tt.load %p : !tt.ptr<{element}>
  %o = tt.atomic_rmw {kind}, {sem}, gpu, %acc, %v : (!tt.ptr<{element}>, {element}) -> {element}
  %q = tt.addptr %old, %pid : !tt.ptr<{element}>, i32
  tt.store %q, %o : !tt.ptr<{element}>
  tt.return
}}"""


def unsigned(value: int) -> int:
    return value & 0xFFFFFFFF


INTEGER = {
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "add": lambda a, b: a + b,
    "max": max,
    "min": min,
    "umax": lambda a, b: max(a, b, key=unsigned),
    "umin": lambda a, b: min(a, b, key=unsigned),
    "exch": lambda a, b: b,
}


@pytest.mark.parametrize("batch", [PROGRAMS, 1])
@pytest.mark.parametrize("kind", sorted(INTEGER))
def test_integer_kinds_in_the_order_of_programs(kind: str, batch: int) -> None:
    x = torch.randint(-100, 100, (PROGRAMS,), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    acc, old = torch.tensor([13], dtype=torch.int32), uninitialized((PROGRAMS,), torch.int32)
    Executor(kernel(kind, "i32")).run(PROGRAMS, [acc, x, old], batch=batch)
    state, expected = 13, []
    for value in x.tolist():
        expected.append(state)
        state = INTEGER[kind](state, value)
    assert old.tolist() == expected and acc.item() == state


@pytest.mark.parametrize("element", ["f32", "f16", "bf16", "f64"])
def test_float_sums_are_added_in_the_order_of_programs(element: str) -> None:
    dtype = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16, "f64": torch.float64}[
        element
    ]
    x = torch.randn(PROGRAMS, generator=torch.Generator().manual_seed(0)).to(dtype)
    acc, old = torch.zeros(1, dtype=dtype), uninitialized((PROGRAMS,), dtype)
    run(kernel("fadd", element, "relaxed"), PROGRAMS, [acc, x, old])
    state = torch.zeros(1, dtype=dtype)
    for position in range(PROGRAMS):
        assert old[position] == state[0]
        state = state + x[position]
    assert acc[0] == state[0]


HISTOGRAM = """tt.func public @kernel(%bins: !tt.ptr<i32>, %x: !tt.ptr<i32>, %n: i32) {
  %pid = tt.get_program_id x : i32
  %c8 = arith.constant 8 : i32
  %one = arith.constant dense<1> : tensor<8xi32>
  %r = tt.make_range {end = 8 : i32, start = 0 : i32} : tensor<8xi32>
  %s = arith.muli %pid, %c8 : i32
  %ss = tt.splat %s : i32 -> tensor<8xi32>
  %i = arith.addi %ss, %r : tensor<8xi32>
  %ns = tt.splat %n : i32 -> tensor<8xi32>
  %m = arith.cmpi slt, %i, %ns : tensor<8xi32>
  %xs = tt.splat %x : !tt.ptr<i32> -> tensor<8x!tt.ptr<i32>>
  %xp = tt.addptr %xs, %i : tensor<8x!tt.ptr<i32>>, tensor<8xi32>
  %v = tt.load %xp, %m : tensor<8x!tt.ptr<i32>>
  %bs = tt.splat %bins : !tt.ptr<i32> -> tensor<8x!tt.ptr<i32>>
  %bp = tt.addptr %bs, %v : tensor<8x!tt.ptr<i32>>, tensor<8xi32>
  %o = tt.atomic_rmw add, relaxed, gpu, %bp, %one, %m
    : (tensor<8x!tt.ptr<i32>>, tensor<8xi32>, tensor<8xi1>) -> tensor<8xi32>
  tt.return
}"""


def test_lanes_and_programs_that_meet_at_one_address() -> None:
    x = torch.randint(0, 5, (45,), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    bins = torch.zeros(5, dtype=torch.int32)
    run(HISTOGRAM, 6, [bins, x, 45])
    assert torch.equal(bins.long(), torch.bincount(x, minlength=5))


def test_an_atomic_out_of_bounds_is_an_error() -> None:
    x = torch.tensor([0, 1, 7, 1, 0, 0, 0, 0], dtype=torch.int32)
    with pytest.raises(ExecutionError, match=r"A1: byte 28 of argument 0 is out of bounds") as error:
        run(HISTOGRAM, 1, [torch.zeros(5, dtype=torch.int32), x, 8])
    assert error.value.op == "tt.atomic_rmw"


def test_an_atomic_on_memory_that_nothing_wrote_is_an_error() -> None:
    x = torch.zeros(8, dtype=torch.int32)
    with pytest.raises(ExecutionError, match=r"A3"):
        run(HISTOGRAM, 1, [uninitialized((5,), torch.int32), x, 8])


def test_compare_and_swap_lets_one_program_win() -> None:
    text = """tt.func public @kernel(%flag: !tt.ptr<i32>, %old: !tt.ptr<i32>) {
  %pid = tt.get_program_id x : i32
  %c0 = arith.constant 0 : i32
  %c5 = arith.constant 5 : i32
  %v = arith.addi %pid, %c5 : i32
  %o = tt.atomic_cas acq_rel, gpu, %flag, %c0, %v : (!tt.ptr<i32>, i32, i32) -> i32
  %q = tt.addptr %old, %pid : !tt.ptr<i32>, i32
  tt.store %q, %o : !tt.ptr<i32>
  tt.return
}"""
    flag, old = torch.zeros(1, dtype=torch.int32), uninitialized((4,), torch.int32)
    run(text, 4, [flag, old])
    assert flag.item() == 5 and old.tolist() == [0, 5, 5, 5]


LOCKED_SUM = """tt.func public @kernel(%lock: !tt.ptr<i32>, %sum: !tt.ptr<f32>, %x: !tt.ptr<f32>) {
  %pid = tt.get_program_id x : i32
  %c0 = arith.constant 0 : i32
  %c1 = arith.constant 1 : i32
  scf.while : () -> () {
    %o = tt.atomic_cas acq_rel, gpu, %lock, %c0, %c1 : (!tt.ptr<i32>, i32, i32) -> i32
    %busy = arith.cmpi eq, %o, %c1 : i32
    scf.condition(%busy)
  } do {
    scf.yield
  }
  %p = tt.addptr %x, %pid : !tt.ptr<f32>, i32
  %v = tt.load %p : !tt.ptr<f32>
  %s = tt.load %sum : !tt.ptr<f32>
  %t = arith.addf %s, %v : f32
  tt.store %sum, %t : !tt.ptr<f32>
  %u = tt.atomic_rmw exch, acq_rel, gpu, %lock, %c0 : (!tt.ptr<i32>, i32) -> i32
  tt.return
}"""


def test_a_spin_lock_orders_programs() -> None:
    """Neither a deadlock nor a race is reported: programs run one after another."""
    x = torch.arange(6.0)
    total, lock = torch.zeros(1), torch.zeros(1, dtype=torch.int32)
    report = run(LOCKED_SUM, 6, [lock, total, x])
    assert total.item() == 15.0 and lock.item() == 0 and report.batches == 6


def test_a_lock_that_is_never_free_is_an_error() -> None:
    lock = torch.ones(1, dtype=torch.int32)
    with pytest.raises(ExecutionError, match=r"no end after 50 iterations; a program that waits") as error:
        Executor(LOCKED_SUM).run(1, [lock, torch.zeros(1), torch.zeros(1)], max_iterations=50)
    assert error.value.op == "scf.while"


def test_the_last_program_to_arrive_may_read_what_all_wrote() -> None:
    """Split-K with a counter: an acquiring atomic orders the last program after the others."""
    text = """tt.func public @kernel(%count: !tt.ptr<i32>, %parts: !tt.ptr<f32>,
                       %out: !tt.ptr<f32>, %n: i32) {
  %pid = tt.get_program_id x : i32
  %c1 = arith.constant 1 : i32
  %v = arith.sitofp %pid : i32 to f32
  %p = tt.addptr %parts, %pid : !tt.ptr<f32>, i32
  tt.store %p, %v : !tt.ptr<f32>
  %o = tt.atomic_rmw add, acq_rel, gpu, %count, %c1 : (!tt.ptr<i32>, i32) -> i32
  %last = arith.subi %n, %c1 : i32
  %is_last = arith.cmpi eq, %o, %last : i32
  scf.if %is_last {
    %r = tt.make_range {end = 8 : i32, start = 0 : i32} : tensor<8xi32>
    %ps = tt.splat %parts : !tt.ptr<f32> -> tensor<8x!tt.ptr<f32>>
    %pp = tt.addptr %ps, %r : tensor<8x!tt.ptr<f32>>, tensor<8xi32>
    %all = tt.load %pp : tensor<8x!tt.ptr<f32>>
    %s = "tt.reduce"(%all) <{axis = 0 : i32}> ({
    ^bb0(%a: f32, %b: f32):
      %t = arith.addf %a, %b : f32
      tt.reduce.return %t : f32
    }) : (tensor<8xf32>) -> f32
    tt.store %out, %s : !tt.ptr<f32>
  }
  tt.return
}"""
    for batch in (8, 1, 3):
        out = uninitialized((1,), torch.float32)
        count, parts = torch.zeros(1, dtype=torch.int32), uninitialized((8,), torch.float32)
        Executor(text).run(8, [count, parts, out, 8], batch=batch)
        assert out.item() == 28.0


POLL = """tt.func public @kernel(%flags: !tt.ptr<i32>, %data: !tt.ptr<f32>) {
  %pid = tt.get_program_id x : i32
  %c0 = arith.constant 0 : i32
  %c1 = arith.constant 1 : i32
  %p = tt.addptr %data, %pid : !tt.ptr<f32>, i32
  %f = tt.addptr %flags, %pid : !tt.ptr<i32>, i32
  %one = arith.constant 1.0 : f32
  %first = arith.cmpi eq, %pid, %c0 : i32
  %v = scf.if %first -> (f32) {
    scf.yield %one : f32
  } else {
    %prev = arith.subi %pid, %c1 : i32
    %fp = tt.addptr %flags, %prev : !tt.ptr<i32>, i32
    %ok = tt.atomic_poll acquire, gpu, %fp, %c1 : !tt.ptr<i32>, i32 -> i1
    %dp = tt.addptr %data, %prev : !tt.ptr<f32>, i32
    %d = tt.load %dp : !tt.ptr<f32>
    %e = arith.addf %d, %d : f32
    scf.yield %e : f32
  }
  tt.store %p, %v : !tt.ptr<f32>
  tt.atomic_store release, gpu, %f, %c1 : !tt.ptr<i32>
  tt.return
}"""


def test_a_chain_of_programs_that_wait_for_one_another() -> None:
    flags, data = torch.zeros(5, dtype=torch.int32), uninitialized((5,), torch.float32)
    run(POLL, 5, [flags, data])
    assert data.tolist() == [1, 2, 4, 8, 16] and flags.tolist() == [1] * 5


def test_waiting_for_what_never_comes_is_an_error() -> None:
    flags, data = torch.zeros(5, dtype=torch.int32), uninitialized((5,), torch.float32)
    with pytest.raises(
        ExecutionError, match=r"waits for a value that no earlier program stores; found 0"
    ) as error:
        run(POLL, 5, [flags, data], programs=[2])
    assert error.value.op == "tt.atomic_poll" and error.value.program == (2, 0, 0)
