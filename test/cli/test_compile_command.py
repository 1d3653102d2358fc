"""`epiq compile` and `epiq explain` on files, without a GPU."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from epiq.cli.app import app, main

runner = CliRunner()
EXAMPLE = Path(__file__).parents[2] / "examples" / "norm_quant.py"
SPEC = f"{EXAMPLE}:add_norm_quantize"

KERNEL = """
module {
  tt.func public @scale(%x: !tt.ptr<f32> {tt.divisibility = 16 : i32}) {
    %i = tt.make_range {end = 64 : i32, start = 0 : i32} : tensor<64xi32>
    %p = tt.splat %x : !tt.ptr<f32> -> tensor<64x!tt.ptr<f32>>
    %q = tt.addptr %p, %i : tensor<64x!tt.ptr<f32>>, tensor<64xi32>
    %v = tt.load %q : tensor<64x!tt.ptr<f32>>
    %w = arith.addf %v, %v : tensor<64xf32>
    tt.store %q, %w : tensor<64x!tt.ptr<f32>>
    tt.return
  }
}
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EPIQ_CACHE_DIR", str(tmp_path / "cache"))


def test_a_function_to_both_targets(tmp_path):
    out = tmp_path / "out"
    options = ["--target", "sm_90a", "--target", "sm_100a", "--out", str(out)]
    result = runner.invoke(app, ["compile", SPEC, *options])
    assert result.exit_code == 0, result.output
    names = {path.name for path in out.rglob("*") if path.is_file()}
    for stage in ("import", "raise", "group"):
        assert any(name.endswith(f"-{stage}.mlir") for name in names), names
    for suffix in (".ttir", ".sm_90a.ptx", ".sm_90a.cubin", ".sm_100a.ptx", ".sm_100a.cubin"):
        assert f"epiq_add_rms_norm_quantize_4096{suffix}" in names
    (ptx,) = out.rglob("*.sm_100a.ptx")
    assert ".target sm_100a" in ptx.read_text()


LINEAR = """
import torch, epiq
def linear_quantize(x, w):
    return epiq.quantize(torch.nn.functional.linear(x, w), epiq.formats.FP8_GROUP128)
def inputs():
    return tuple(torch.empty(s, dtype=torch.bfloat16, device="meta") for s in ((16, 512), (1024, 512)))
"""


def test_a_product_to_both_targets(tmp_path):
    source, out = tmp_path / "linear.py", tmp_path / "out"
    source.write_text(LINEAR)
    options = ["--target", "sm_90a", "--target", "sm_100a", "--out", str(out)]
    result = runner.invoke(app, ["compile", f"{source}:linear_quantize", *options])
    assert result.exit_code == 0, result.output
    for kind, target, dot in (
        ("triton", "sm_90a", "wgmma.mma_async"),
        ("triton", "sm_100a", "tcgen05.mma"),
        ("gluon", "sm_90a", "wgmma.mma_async"),
    ):
        assert dot in (out / f"mm_epiq_quantize_1024.{kind}.{target}.ptx").read_text()
    rows = [line.split() for line in result.output.splitlines() if line.startswith("mm_epiq")]
    assert [row[4] for row in rows if len(row) > 5] == ["0", "0", "0"], result.output


def test_triton_ir(tmp_path):
    source, out = tmp_path / "scale.ttir", tmp_path / "out"
    source.write_text(KERNEL)
    result = runner.invoke(app, ["compile", str(source), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert ".target sm_90a" in (out / "scale.sm_90a.ptx").read_text()


@pytest.mark.parametrize(
    "text",
    ["module {", KERNEL.replace("tt.load %q", "tt.load %p, %i"), KERNEL.replace("64xi32>\n", "32xi32>\n")],
    ids=["cut off", "wrong operands", "wrong type"],
)
def test_malformed_triton_ir_ends_in_its_line(tmp_path, monkeypatch, capsys, text):
    source = tmp_path / "bad.ttir"
    source.write_text(text)
    monkeypatch.setattr(sys, "argv", ["epiq", "compile", str(source), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as exit_info:
        main()
    assert exit_info.value.code == 2
    assert "bad.ttir:" in capsys.readouterr().err


def test_nothing_to_fuse(tmp_path):
    path = tmp_path / "plain.py"
    path.write_text(
        "import torch\ndef fn(x):\n    return x + 1\ndef inputs():\n    return (torch.ones(4, 128),)\n"
    )
    result = runner.invoke(app, ["compile", f"{path}:fn", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "nothing to fuse" in result.output


def test_explain_as_text_and_json():
    text = runner.invoke(app, ["explain", SPEC])
    assert text.exit_code == 0, text.output
    assert "rms_norm + add" in text.output
    data = json.loads(runner.invoke(app, ["explain", SPEC, "--json"]).output)
    (quantization,) = data["graphs"][0]["quantizations"]
    assert quantization["fused_into"] == "rms_norm + add"
    assert quantization["where"].startswith("norm_quant.py:")
    assert (data["kernels_before"], data["kernels_after"]) == (4, 1)
