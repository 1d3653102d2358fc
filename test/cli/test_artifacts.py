"""What a compilation leaves behind: files, torch's trace, lines in its logs, one sentence for what lacks."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys

import pytest
import torch

import epiq
from epiq.codegen.cache import kernel_cache
from epiq.codegen.errors import LaunchError
from epiq.config import Settings
from epiq.runtime import notices
from epiq.runtime.prepare import prepare_kernel

X, W = torch.randn(4, 256).bfloat16(), torch.ones(256).bfloat16()


def norm_quantize(x, w):
    return epiq.quantize(torch.rms_norm(x, w.shape, w, 1e-5), epiq.formats.FP8_GROUP128)


def compile_and_run(**options):
    torch._dynamo.reset()
    notices._said.clear()
    settings = {f"epiq.{name}": value for name, value in options.items()}
    with torch.no_grad():
        return torch.compile(norm_quantize, backend="epiq", options=settings)(X, W)


def test_dump_has_the_ir_after_each_pass(tmp_path):
    for _ in range(2):
        compile_and_run(dump=str(tmp_path))
    folders = sorted(tmp_path.iterdir())
    assert len(folders) == 2, "each graph has a folder of its own"
    for folder in folders:
        names = sorted(path.name for path in folder.iterdir())
        assert names[:3] == ["1-import.mlir", "2-raise.mlir", "3-group.mlir"]
        assert names[3].startswith("4-fused_rms_norm_quantize")
        assert "epiq.row_program" in (folder / "3-group.mlir").read_text()
        assert "tt.func" in (folder / names[3]).read_text()
        assert json.loads((folder / "report.json").read_text())["kernels_after"] == 1


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING, "epiq"):
        q, _ = compile_and_run(dump=str(tmp_path / "file" / "below"))
    assert q.dtype == torch.float8_e4m3fn
    assert f"epiq cannot dump to {tmp_path / 'file' / 'below'}: Not a directory" in caplog.text


def test_kept_out_of_fused_kernels(caplog):
    with caplog.at_level(logging.DEBUG, "epiq"):
        compile_and_run(keep_out=["norm"])
    assert "not fused: quantize(e4m3 group 128): F10: rms_norm is kept out by an option" in caplog.text


def test_kernels_for_another_machine_are_put_in_the_cache(tmp_path):
    with epiq.config.patch(cache_dir=str(tmp_path)):
        compile_and_run(target="sm_100a")
        (path,) = kernel_cache().entries()
        sections = kernel_cache().get(path.stem)
    assert b".target sm_100a" in sections["ptx"]


def test_logs_and_trace_of_torch(tmp_path):
    """In a process of its own: torch reads both variables when it is imported."""
    here = os.path.dirname(__file__)
    environment = {**os.environ, "TORCH_LOGS": "+epiq", "TORCH_TRACE": str(tmp_path), "PYTHONPATH": here}
    command = [sys.executable, "-c", "import test_artifacts; test_artifacts.compile_and_run()"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "fused: quantize(e4m3 group 128) into rms_norm" in done.stderr
    lines = "".join(path.read_text() for path in tmp_path.iterdir()).splitlines()
    found = [json.loads(line[line.index("{") :]) for line in lines if line.startswith("V") and "{" in line]
    names = [entry["artifact"]["name"] for entry in found if "artifact" in entry]
    ours = [name for name in names if name.startswith("epiq_")]
    assert ours[:3] == ["epiq_1-import.mlir", "epiq_2-raise.mlir", "epiq_3-group.mlir"]


def test_no_c_compiler_is_one_sentence(caplog):
    """Triton says so when it builds its launcher, deep in a kernel's loading."""

    class Kernel:
        def launcher(self, device, rows):
            raise RuntimeError("Failed to find C compiler. Please specify via CC environment variable or ...")

    notices._said.clear()
    with pytest.raises(LaunchError, match="without a C compiler: install gcc or set CC"):
        prepare_kernel(Settings())(Kernel(), torch.device("cpu"), 4)
    assert caplog.text.count("without a C compiler") == 1
