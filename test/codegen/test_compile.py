"""Triton IR to PTX and cubin, in process and in a child, and every way that IR can be bad."""

from __future__ import annotations

import re
import time

import pytest

from epiq.codegen import CompileError, Target, compile_ttir, kernel_cache, ptxas_report, sass
from epiq.codegen import compile as compile_module

HOPPER, BLACKWELL = Target(90), Target(100)


def quick(text, **options):
    return compile_ttir(text, HOPPER, num_warps=4, **options)


@pytest.mark.parametrize("target", [HOPPER, BLACKWELL], ids=lambda target: target.name)
def test_compiles_for_each_target_without_a_gpu(group_quant, target):
    compiled = compile_ttir(group_quant, target, num_warps=4)
    assert f".target {target.name}" in compiled.ptx
    assert ".visible .entry group_quant(" in compiled.ptx
    assert compiled.cubin.startswith(b"\x7fELF")
    assert compiled.name == "group_quant"
    assert compiled.num_warps == 4
    assert compiled.shared > 0
    assert compiled.signature == ("*bf16", "*f8E4M3FN", "*f32", "i32", "i64")
    assert re.search(r"cvt\.rn\.satfinite\.e4m3x2\.f32", compiled.ptx)


def test_cleanup_runs_before_the_rest(group_quant):
    """Triton's canonicalizer folds the broadcast of a range; `triton.compile` of text would not run it."""
    unused = group_quant.replace(
        "    tt.return\n", "    %dead = tt.get_num_programs x : i32\n    tt.return\n"
    )
    assert "get_num_programs" not in quick(unused).ttir
    assert "loc(" not in quick(unused).ttir


def test_exact_keeps_multiply_and_add_apart(group_quant):
    text = group_quant.replace(
        "%d = tt.precise_divf %v, %sb : tensor<4x128xf32>",
        "%m1 = arith.mulf %v, %sb : tensor<4x128xf32>\n    %d = arith.addf %m1, %hi : tensor<4x128xf32>",
    )
    assert "fma.rn.f32" not in quick(text).ptx
    assert "fma.rn.f32" in quick(text, exact=False).ptx


def test_a_child_gives_the_same_bytes(group_quant):
    """No path of a temporary folder and no clock reaches the result."""
    here = quick(group_quant, use_cache=False)
    again = quick(group_quant, use_cache=False)
    child = quick(group_quant, use_cache=False, isolate=True)
    assert (here.ptx, here.ttir, here.cubin) == (again.ptx, again.ttir, again.cubin)
    assert (here.ptx, here.ttir, here.metadata) == (child.ptx, child.ttir, child.metadata)


def test_the_second_compile_comes_from_the_cache(group_quant, monkeypatch):
    first = quick(group_quant)
    monkeypatch.setattr(compile_module.triton_stages, "compile_text", None)
    assert quick(group_quant) == first


def test_a_damaged_entry_is_compiled_again(group_quant):
    first = quick(group_quant)
    path = kernel_cache().path(first.key)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.warns(UserWarning, match="its checksum does not fit its contents"):
        assert quick(group_quant) == first
    assert quick(group_quant) == first


def test_everything_that_shapes_the_result_is_in_the_key(group_quant, monkeypatch):
    keys = {
        quick(group_quant).key,
        compile_ttir(group_quant, BLACKWELL, num_warps=4).key,
        compile_ttir(group_quant, HOPPER, num_warps=8).key,
        quick(group_quant, num_stages=2).key,
        quick(group_quant, exact=False).key,
        quick(group_quant + "\n// another text").key,
    }
    monkeypatch.setenv("TRITON_DISABLE_LINE_INFO", "1")
    keys.add(quick(group_quant).key)
    monkeypatch.setattr(compile_module, "epiq_version", lambda: "another version")
    keys.add(quick(group_quant).key)
    assert len(keys) == 8


def test_compiling_here_is_fast(group_quant):
    quick(group_quant)
    start = time.perf_counter()
    quick(group_quant, use_cache=False)
    assert time.perf_counter() - start < 2.0  # 0.1 s on an idle machine


def module(*functions):
    return "\n".join(["module {", *functions, "}"])


def function(symbol, *, visibility="public", arguments="%a: !tt.ptr<f32>", body=""):
    return f"tt.func {visibility} @{symbol}({arguments}) {{\n{body}\ntt.return\n}}"


FP8_TRUNCF = """%y = arith.truncf %x : f32 to f8E4M3FN
tt.store %a, %y : !tt.ptr<f8E4M3FN>"""
BAD = {
    "empty": "",
    "not IR": "once upon a time",
    "unknown op": module(function("f", body='"tt.nonsense"() : () -> ()')),
    "type error": module(function("f", arguments="%a: i32", body="%b = arith.addf %a, %a : i32")),
    "no function": module(),
    "private function": module(function("f", visibility="private")),
    "odd symbol": module(function('"a b"')),
    "two functions": module(function("f"), function("g")),
    "fp8 truncf": module(function("f", arguments="%a: !tt.ptr<f8E4M3FN>, %x: f32", body=FP8_TRUNCF)),
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_malformed_ir_is_an_error_and_never_kills_us(text):
    """Some of these make Triton abort or segfault."""
    with pytest.raises(CompileError, match=r"^triton (refused|crashed)|^triton's process ended"):
        quick(text, isolate=True)


def test_messages_hold_what_triton_said():
    with pytest.raises(CompileError) as caught:
        quick(BAD["type error"], isolate=True)
    message = str(caught.value)
    assert message.startswith("triton refused the IR in stage parse")
    assert 'loc("kernel.ttir":3:6): error: ' in message and "got 'i32'" in message
    assert "/tmp" not in message


def test_a_failure_in_process_is_explained_by_a_child():
    with pytest.raises(CompileError, match="error: "):
        quick(BAD["fp8 truncf"])


def test_a_compile_that_takes_too_long_is_stopped(group_quant):
    with pytest.raises(CompileError, match=r"compiling took more than 0.05 s and was stopped"):
        quick(group_quant, isolate=True, timeout_s=0.05)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"text": b"module {}"}, TypeError, "text must be a string of Triton IR, got bytes"),
        ({"target": "sm_90a"}, TypeError, "target must be a Target, got str"),
        ({"num_warps": 3}, ValueError, "num_warps must be a power of two from 1 to 32, got 3"),
        ({"num_warps": 0}, ValueError, "num_warps must be a power of two from 1 to 32, got 0"),
        ({"num_stages": 0}, ValueError, "num_stages must be at least 1, got 0"),
    ],
)
def test_bad_arguments(change, error, message):
    arguments = {"text": "module {}", "target": HOPPER, "num_warps": 4} | change
    with pytest.raises(error, match=message):
        compile_ttir(**arguments)


@pytest.mark.parametrize("target", [HOPPER, BLACKWELL], ids=lambda target: target.name)
def test_ptxas_counts_registers_and_spills(group_quant, target):
    report = ptxas_report(compile_ttir(group_quant, target, num_warps=4))
    assert 8 <= report.registers <= 64
    assert (report.spill_stores, report.spill_loads) == (0, 0)
    assert report.shared > 0


def test_sass_is_machine_code(group_quant):
    assert "EXIT" in sass(quick(group_quant))
