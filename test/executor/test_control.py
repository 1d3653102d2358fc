"""Loops, branches and calls whose programs disagree, and the same result from any batch."""

from __future__ import annotations

import pytest
import torch

from epiq.executor import ExecutionError, Executor, run, uninitialized

HEAD = """tt.func public @kernel(%out: !tt.ptr<i32>, %n: i32) {
  %c0 = arith.constant 0 : i32
  %c1 = arith.constant 1 : i32
  %c2 = arith.constant 2 : i32
  %pid = tt.get_program_id x : i32
"""
TAIL = """
  %p = tt.addptr %out, %pid : !tt.ptr<i32>, i32
  tt.store %p, %r : !tt.ptr<i32>
  tt.return
}
"""


def launch(body: str, programs: int = 13, n: int = 5, **options: int) -> list[int]:
    """Runs with all programs side by side, one by one, and in groups of four; all must agree."""
    text = body if "tt.func" in body else HEAD + body + TAIL
    executor = Executor(text)
    results = []
    for batch in (programs, 1, 4):
        out = uninitialized((programs,), torch.int32)
        executor.run(programs, [out, n], batch=batch, **options)
        results.append(out.tolist())
    assert results[0] == results[1] == results[2]
    return results[0]


def test_for_with_a_trip_count_of_its_own_in_each_program() -> None:
    body = """%r = scf.for %i = %c0 to %pid step %c2 iter_args(%s = %c1) -> (i32) : i32 {
    %t = arith.addi %s, %i : i32
    %u = arith.muli %t, %c2 : i32
    scf.yield %u : i32
  }"""

    def expected(pid: int) -> int:
        s = 1
        for i in range(0, pid, 2):
            s = (s + i) * 2
        return s

    assert launch(body) == [expected(pid) for pid in range(13)]


def test_for_that_starts_at_the_program_id_and_nests() -> None:
    body = """%c3 = arith.constant 3 : i32
  %r = scf.for %i = %pid to %n step %c3 iter_args(%s = %c0) -> (i32) : i32 {
    %q = scf.for %j = %c0 to %i step %c1 iter_args(%t = %s) -> (i32) : i32 {
      %u = arith.addi %t, %j : i32
      scf.yield %u : i32
    }
    scf.yield %q : i32
  }"""
    expected = [sum(j for i in range(pid, 11, 3) for j in range(i)) for pid in range(13)]
    assert launch(body, n=11) == expected


def test_for_over_unsigned_bounds() -> None:
    body = """%high = arith.constant -2147483646 : i32
  %low = arith.constant 2147483646 : i32
  %r = scf.for unsigned %i = %low to %high step %c1 iter_args(%s = %c0) -> (i32) : i32 {
    %t = arith.addi %s, %c1 : i32
    scf.yield %t : i32
  }"""
    assert launch(body, programs=2) == [4, 4]


def test_if_where_programs_disagree() -> None:
    body = """%b = arith.remsi %pid, %c2 : i32
  %odd = arith.cmpi eq, %b, %c1 : i32
  %r = scf.if %odd -> (i32) {
    %x = arith.muli %pid, %pid : i32
    scf.yield %x : i32
  } else {
    %big = arith.cmpi sgt, %pid, %n : i32
    %y = scf.if %big -> (i32) {
      scf.yield %n : i32
    } else {
      scf.yield %c0 : i32
    }
    scf.yield %y : i32
  }"""
    assert launch(body) == [pid * pid if pid % 2 else (5 if pid > 5 else 0) for pid in range(13)]


def test_while_ends_for_each_program_in_its_own_time() -> None:
    """Collatz: steps to reach 1."""
    body = """%c3 = arith.constant 3 : i32
  %start = arith.addi %pid, %c1 : i32
  %v, %r = scf.while (%x = %start, %k = %c0) : (i32, i32) -> (i32, i32) {
    %more = arith.cmpi ne, %x, %c1 : i32
    scf.condition(%more) %x, %k : i32, i32
  } do {
  ^bb0(%x: i32, %k: i32):
    %half = arith.divsi %x, %c2 : i32
    %triple = arith.muli %x, %c3 : i32
    %up = arith.addi %triple, %c1 : i32
    %bit = arith.remsi %x, %c2 : i32
    %even = arith.cmpi eq, %bit, %c0 : i32
    %next = arith.select %even, %half, %up : i32
    %k1 = arith.addi %k, %c1 : i32
    scf.yield %next, %k1 : i32, i32
  }"""

    def steps(x: int) -> int:
        count = 0
        while x != 1:
            x, count = (x // 2 if x % 2 == 0 else 3 * x + 1), count + 1
        return count

    assert launch(body) == [steps(pid + 1) for pid in range(13)]


def test_an_endless_while_is_an_error_with_its_place() -> None:
    body = """%r = scf.while (%x = %c0) : (i32) -> (i32) {
    %more = arith.cmpi eq, %pid, %c2 : i32
    scf.condition(%more) %x : i32
  } do {
  ^bb0(%x: i32):
    scf.yield %x : i32
  }"""
    out = uninitialized((4,), torch.int32)
    with pytest.raises(ExecutionError, match=r"no end after 100 iterations") as error:
        Executor(HEAD + body + TAIL).run(4, [out, 0], max_iterations=100)
    assert error.value.program == (2, 0, 0) and error.value.op == "scf.while"


def test_early_return_and_branches_with_arguments() -> None:
    text = """tt.func public @kernel(%out: !tt.ptr<i32>, %n: i32) {
  %c0 = arith.constant 0 : i32
  %c1 = arith.constant 1 : i32
  %pid = tt.get_program_id x : i32
  %p = tt.addptr %out, %pid : !tt.ptr<i32>, i32
  %late = arith.cmpi sge, %pid, %n : i32
  cf.cond_br %late, ^early(%pid : i32), ^loop(%c0, %c0 : i32, i32)
^early(%v: i32):
  tt.store %p, %v : !tt.ptr<i32>
  tt.return
^loop(%i: i32, %s: i32):
  %t = arith.addi %s, %i : i32
  %i1 = arith.addi %i, %c1 : i32
  %more = arith.cmpi sle, %i1, %pid : i32
  cf.cond_br %more, ^loop(%i1, %t : i32, i32), ^done
^done:
  tt.store %p, %t : !tt.ptr<i32>
  tt.return
}"""
    assert launch(text) == [pid if pid >= 5 else sum(range(pid + 1)) for pid in range(13)]


def test_calls_return_values_from_several_returns() -> None:
    text = """tt.func private @pick(%x: i32) -> (i32, i32) attributes {noinline = true} {
  %c3 = arith.constant 3 : i32
  %small = arith.cmpi slt, %x, %c3 : i32
  cf.cond_br %small, ^a, ^b
^a:
  tt.return %x, %c3 : i32, i32
^b:
  tt.return %c3, %x : i32, i32
}
tt.func public @kernel(%out: !tt.ptr<i32>, %n: i32) {
  %pid = tt.get_program_id x : i32
  %a, %b = tt.call @pick(%pid) : (i32) -> (i32, i32)
  %two = arith.muli %b, %n : i32
  %r = arith.addi %a, %two : i32
  %p = tt.addptr %out, %pid : !tt.ptr<i32>, i32
  tt.store %p, %r : !tt.ptr<i32>
  tt.return
}"""
    assert launch(text, n=10) == [pid + 30 if pid < 3 else 3 + 10 * pid for pid in range(13)]


def test_tiles_carried_through_loops_that_end_apart() -> None:
    text = """tt.func public @kernel(%out: !tt.ptr<f32>, %n: i32) {
  %c0 = arith.constant 0 : i32
  %c1 = arith.constant 1 : i32
  %c4 = arith.constant 4 : i32
  %pid = tt.get_program_id x : i32
  %range = tt.make_range {end = 4 : i32, start = 0 : i32} : tensor<4xi32>
  %x = arith.sitofp %range : tensor<4xi32> to tensor<4xf32>
  %sum = scf.for %i = %c0 to %pid step %c1 iter_args(%s = %x) -> (tensor<4xf32>) : i32 {
    %t = arith.addf %s, %x : tensor<4xf32>
    scf.yield %t : tensor<4xf32>
  }
  %start = arith.muli %pid, %c4 : i32
  %base = tt.addptr %out, %start : !tt.ptr<f32>, i32
  %ptrs = tt.splat %base : !tt.ptr<f32> -> tensor<4x!tt.ptr<f32>>
  %p = tt.addptr %ptrs, %range : tensor<4x!tt.ptr<f32>>, tensor<4xi32>
  tt.store %p, %sum : tensor<4x!tt.ptr<f32>>
  tt.return
}"""
    out = uninitialized((6, 4), torch.float32)
    run(text, 6, [out, 0])
    assert torch.equal(out, torch.arange(4.0) * (torch.arange(6.0)[:, None] + 1))


def test_program_ids_of_three_axes_and_a_choice_of_programs() -> None:
    text = """tt.func public @kernel(%out: !tt.ptr<i32>) {
  %x = tt.get_program_id x : i32
  %y = tt.get_program_id y : i32
  %z = tt.get_program_id z : i32
  %nx = tt.get_num_programs x : i32
  %ny = tt.get_num_programs y : i32
  %zy = arith.muli %z, %ny : i32
  %yz = arith.addi %zy, %y : i32
  %yx = arith.muli %yz, %nx : i32
  %i = arith.addi %yx, %x : i32
  %p = tt.addptr %out, %i : !tt.ptr<i32>, i32
  %c100 = arith.constant 100 : i32
  %h = arith.muli %z, %c100 : i32
  %v = arith.addi %h, %x : i32
  tt.store %p, %v : !tt.ptr<i32>
  tt.return
}"""
    out = torch.full((2, 3, 4), -1, dtype=torch.int32)
    assert run(text, (4, 3, 2), [out]).programs == 24
    assert out[1, 2].tolist() == [100, 101, 102, 103]
    out = torch.full((2, 3, 4), -1, dtype=torch.int32)
    report = run(text, (4, 3, 2), [out], programs=[(1, 2, 1), 0])
    assert report.programs == 2 and (out >= 0).sum() == 2 and out[1, 2, 1] == 101 and out[0, 0, 0] == 0
    with pytest.raises(ValueError, match=r"program \(4, 0, 0\) is not in the grid"):
        run(text, (4, 3, 2), [out], programs=[(4, 0, 0)])


def test_an_empty_grid_runs_nothing() -> None:
    out = torch.full((2,), -1, dtype=torch.int32)
    assert run(HEAD + "%r = arith.addi %pid, %n : i32" + TAIL, (0, 1, 1), [out, 1]).programs == 0
    assert out.tolist() == [-1, -1]
