"""Kernels that use every op of Triton IR go through epiq-opt and back into Triton."""

from __future__ import annotations

import re

import pytest
from triton_releases import HERE, ask, epiq_opt, missing, run_python

import epiq.ir
from epiq.errors import PassError

VERSIONS = ("3.6", "3.9")
# What one release has and the other has not, so that no text exists there.
ONLY_39 = ("atomic_load_store", "atomic_poll")
ONLY_36 = ("block_pointers",)


@pytest.fixture(scope="module", params=VERSIONS)
def corpus(request, tmp_path_factory):
    """(version, folder of the corpus's TTIR as this release prints it)."""
    version = request.param
    if reason := missing(version):
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp(f"corpus{version}")
    run_python(version, "dump.py", str(folder))
    assert len(list(folder.glob("*.ttir"))) >= 100
    return version, folder


def test_printing_is_stable_and_parses_in_triton(corpus, tmp_path):
    """What epiq-opt prints reads the same again, and Triton of that release accepts it."""
    version, folder = corpus
    printed = []
    for path in sorted(folder.glob("*.ttir")):
        once = epiq_opt(path, f"--triton-version={version}")
        out = tmp_path / path.name
        out.write_text(once)
        assert epiq_opt(out, f"--triton-version={version}") == once, path.name
        printed.append(str(out))
    errors = {name: why for name, why in ask(version, "parse", printed, tmp_path).items() if why}
    assert not errors


def test_the_input_says_how_to_print(corpus, tmp_path):
    """Without a flag, the spelling of the input is kept wherever the releases differ."""
    version, folder = corpus
    for name in ("cache_policies", "host_descriptors", "descriptor_gather"):
        for path in folder.glob(f"{name}.*.ttir"):
            text = epiq_opt(path)
            assert text == epiq_opt(path, f"--triton-version={version}")
            assert epiq.ir.source_version(epiq.ir.parse(text)) == version


def test_the_other_release_reads_it(corpus, tmp_path):
    """Text converted to the other release parses there; what has no counterpart is refused by name."""
    version, folder = corpus
    other = "3.9" if version == "3.6" else "3.6"
    if reason := missing(other):
        pytest.skip(reason)
    printed = []
    for path in sorted(folder.glob("*.ttir")):
        name = path.name.split(".")[0]
        module = epiq.ir.parse(path.read_text(), filename=path.name)
        if name in (ONLY_39 if other == "3.6" else ONLY_36) and "raw" in path.name:
            with pytest.raises(PassError, match=r"V[14]: "):
                epiq.ir.print_triton(module, other)
            continue
        if name in ONLY_39:
            continue
        out = tmp_path / path.name
        out.write_text(epiq.ir.print_triton(module, other))
        printed.append(str(out))
    errors = {name: why for name, why in ask(other, "parse", printed, tmp_path).items() if why}
    assert not errors


def test_generic_form_reads_back(corpus):
    """The generic form, with numbers for enumerations, means the same."""
    release, folder = corpus
    for path in sorted(folder.glob("*.sm90.ttir")):
        generic = folder / f"{path.stem}.generic.mlir"
        generic.write_text(epiq_opt(path, "--mlir-print-op-generic"))
        version = epiq.ir.source_version(epiq.ir.parse(path.read_text())) or release
        flag = f"--triton-version={version}"
        assert epiq_opt(generic, flag) == epiq_opt(path, flag), path.name


def test_every_op_of_the_dialect_is_used(corpus):
    """Each op of the mirror is in a kernel of one release or in a lit file, so that none is forgotten."""
    _, folder = corpus
    declared = HERE.parents[1] / "passes/include/epiq/TritonIR"
    ops = {
        m
        for td in declared.glob("*Ops.td")
        for m in re.findall(r'^def \w+ : TT_\w+<"([a-z_.]+)"', td.read_text(), re.M)
    }
    assert len(ops) > 50
    texts = [p.read_text() for p in (*folder.glob("*.ttir"), *HERE.glob("*.mlir"))]
    unused = [op for op in sorted(ops) if not any(f"tt.{op}" in text for text in texts)]
    assert not unused
