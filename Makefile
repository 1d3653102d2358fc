# make dev    .venv with everything, the C++ built, the package installed editable
# make build  rebuilds what changed in the C++
# make test   all checks that need no GPU        make demo   the demo
# PYTHON=... chooses the interpreter (3.10 to 3.13), TORCH=... the torch to install.

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
TORCH ?= torch==2.13.0
TRITON ?= triton==3.6.0
PYTHON ?= $(shell for v in 3.12 3.11 3.13 3.10; do \
	p=$$(command -v python$$v) && $$p -c 'import sys, venv; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && { echo $$p; break; }; done)
# Another Triton release, in a folder of its own, for the tests that speak to several.
SIDE := .triton-3.9
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

.PHONY: all dev build compiled test demo lint format lit pytest clean
all: build

dev: build

# The C++ is compiled while torch is installed.
MAKEFLAGS += -j2

# The MLIR wheels are installed once; an isolated build would unpack them each time.
$(VENV)/.tools: pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python 3.10 to 3.13 found: install one or set PYTHON=" >&2; exit 1; }
	@command -v $${CXX:-c++} >/dev/null || { echo "no C++ compiler found: install g++ or clang++, or set CXX" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "[1/3] build tools and MLIR 22 wheels (about 330 MB)"
	@$(BIN)/python cmake/requirements.py build | $(PIP) install -r /dev/stdin || { echo "the build tools could not be installed: MLIR 22 comes as wheels for x86-64 Linux with glibc 2.28 or newer only" >&2; exit 1; }
	@touch $@

$(VENV)/.ready: $(VENV)/.tools
	@echo "[2/3] torch, triton and the test tools"
	@$(PIP) install $(TORCH)
	@$(BIN)/python cmake/requirements.py run | $(PIP) install $(TRITON) -r /dev/stdin
	@echo "[3/3] the package, editable"
	@$(PIP) install --no-build-isolation --no-deps -C wheel.cmake=false -C editable.mode=inplace -e .
	@touch $@

# Passes run for milliseconds: -O1 compiles faster and is fast enough.
build/build.ninja: $(VENV)/.tools
	@$(BIN)/cmake -S . -B build -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja -DCMAKE_CXX_FLAGS_RELEASE="-O1 -DNDEBUG" \
	  -DPython3_EXECUTABLE=$(CURDIR)/$(BIN)/python -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python >build.log 2>&1 \
	  || { cat build.log >&2; exit 1; }
	@rm -f build.log

build: compiled $(VENV)/.ready

compiled: build/build.ninja
	@$(BIN)/ninja -C build -j $(JOBS) --quiet
	@ln -sfn ../../build/python_packages/epiq/_mlir compiler/epiq/_mlir
	@ln -sfn ../../build/python_packages/epiq/_bin compiler/epiq/_bin

$(SIDE)/.ready: $(VENV)/.ready
	@echo "Triton 3.9, to test that it reads what we print"
	@mkdir -p $(SIDE)
	@test -d $(SIDE)/triton || $(PIP) install --no-deps --target $(SIDE) triton==3.9.0 \
	  || { rm -rf $(SIDE)/triton; echo "Triton 3.9 could not be installed: its tests will be skipped" >&2; }
	@touch $@

lint: build
	@.ci/lint

format: $(VENV)/.ready
	@git ls-files '*.cpp' '*.h' | xargs $(BIN)/clang-format -i
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

lit: build
	@$(BIN)/lit -sv --order=lexical test

pytest: build $(SIDE)/.ready
	@$(BIN)/python -m pytest test

test: build $(SIDE)/.ready
	@.ci/test

demo: build
	@$(BIN)/epiq demo

clean:
	rm -rf build compiler/epiq/_mlir compiler/epiq/_bin
