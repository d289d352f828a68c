# firth: make demo, make test. Both set up what they need (.venv, the build) on a fresh clone.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
EXTRAS := all,test,check
Q      ?= all

.PHONY: demo test check bench docs clean asan tsan
.DEFAULT_GOAL := test

# Rebuilt when what it is made of changes; the stamp names the extras that are in.
$(VENV)/.ready: pyproject.toml constraints.txt CMakeLists.txt $(wildcard native/*) $(wildcard native/cpu/*)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@echo "installing firth[$(EXTRAS)] into $(VENV) (a few minutes the first time)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt "torch==$$(sed -n 's/^torch==//p' constraints.txt)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt "scikit-build-core>=1.0" "nanobind>=2.4" ninja
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable ".[$(EXTRAS)]"
	touch $@

demo: $(VENV)/.ready
	$(BIN)/firth demo -o demo-out

test: $(VENV)/.ready check
	$(BIN)/python -m pytest

check: $(VENV)/.ready
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/mypy

bench: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable ".[all,bench]"
	$(BIN)/python benchmarks/run.py $(Q)

asan tsan: $(VENV)/.ready
	PYTHON=$(BIN)/python tests/sanitize.sh $@

docs: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable ".[all,docs]"
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs build/docs
	@echo "read build/docs/index.html"

clean:
	rm -rf build demo-out .bench .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src -name '*.so' -delete
