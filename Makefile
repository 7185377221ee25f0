# Everything a fresh machine needs is Python 3.11+ with venv, and make.
# `make demo` and `make test` each build what they need; nothing else has to be run first.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# A machine that never writes bytecode compiles every import anew: the suites start dozens of processes.
unexport PYTHONDONTWRITEBYTECODE
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: help demo test test-many feast-test feast-suite check format bench bench-small docs lock clean
.DEFAULT_GOAL := help

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements.lock pyproject.toml | $(BIN)/python
	$(PIP) --require-hashes -r requirements.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml | $(BIN)/python
	$(PIP) --require-hashes -r requirements-dev.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(VENV)/.runtime  ## raw flight logs to a served feature, on real data
	$(BIN)/featurestore demo --repo examples/flights

test: $(VENV)/.dev  ## every test, real servers included
	$(BIN)/python -m pytest -n auto

test-many: $(VENV)/.dev  ## thousands of random streams through windows, offline and online: many minutes
	WINDOW_EXAMPLES=5000 $(BIN)/python -m pytest -n auto -m slow tests/windows tests/windows_online

FEAST := .venv-feast/bin/python

.venv-feast/.ready: requirements-feast.lock
	$(PYTHON) -m venv .venv-feast
	$(FEAST) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-feast.lock
	@touch $@

feast-test: .venv-feast/.ready  ## Feast on our stores, in an environment of its own
	PYTHONPATH=$(CURDIR) $(FEAST) -m pytest tests/feast -m "feast" -p no:asyncio

feast-suite: .venv-feast/.ready  ## Feast's own universal suite on our stores: FEAST_TESTS=checkout/sdk/python
	$(FEAST) -m pip install --quiet --disable-pip-version-check -r tests/feast/suite/requirements.txt
	$(FEAST) tests/feast/suite/run.py $(FEAST_TESTS) -q -p no:cacheprovider

check: $(VENV)/.dev  ## lint, format, types, import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev  ## mend what the formatter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev .venv-feast/.ready  ## what it costs against its peers: tables in docs/benchmarks.md
	$(BIN)/python benchmarks/run.py

bench-small: $(VENV)/.dev .venv-feast/.ready  ## the same at a size of seconds, for the answers' sake
	$(BIN)/python benchmarks/run.py --small

docs: $(VENV)/.dev  ## draw the pictures of the docs anew
	$(BIN)/python docs/draw_windows.py

lock: $(VENV)/.dev  ## resolve the lock files anew
	$(PIP) uv
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --extra demo --extra build --generate-hashes --no-emit-index-url --no-header -q -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --extra dev --generate-hashes --no-emit-index-url --no-header -q -o requirements-dev.lock
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --extra feast-test --generate-hashes --no-emit-index-url --no-header -q -o requirements-feast.lock

clean:  ## forget the environment and the demo's data
	rm -rf $(VENV) .featurestore examples/flights/.featurestore
