# make bench   the smoke benchmarks, in a virtual environment of their own
# make test    the tests
# make help    the rest

PYTHON ?= python3
VENV ?= .venv
TIER ?= smoke
ARGS ?=
JOBS ?= 2
BIN := $(VENV)/bin

.PHONY: help bench test lint format check clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

bench: $(VENV)/.train ## Run the benchmarks: TIER=smoke|standard|full|auto, ARGS="-k vgg --cnnperf-repeats 5"
	$(BIN)/python -m pytest benchmarks --benchmark-json=reports/run.json --cnnperf-tier=$(TIER) $(ARGS)

test: $(VENV)/.dev ## Run the tests, JOBS=2 at a time: ARGS="-k record" for some of them
	$(BIN)/python -m pytest -n $(JOBS) --dist=worksteal $(ARGS)

lint: $(VENV)/.dev ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev ## Mend style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: ## All that CI runs
	bash .ci/run

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "cnnperf needs Python 3.11 or newer: say make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.train: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[train]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[train,dev]'
	@touch $@ $(VENV)/.train
