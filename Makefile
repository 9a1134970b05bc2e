# make bench   run the smoke benchmarks; the first call installs into .venv
# make test    run the tests
# make help    list all targets

PYTHON ?= python3
VENV ?= .venv
TIER ?= smoke
ARGS ?=
JOBS ?= 2
BIN := $(VENV)/bin
GPU_PIECES := $(addprefix gpu-,wheels check all first graphs once floors switches repeats eager group tests standard calibrate peers tuning)

.PHONY: help bench test lint format check clean results examples $(GPU_PIECES)

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10
	@printf 'gpu-...   Measure on a GPU (docs/gpu.md):\n          %s\n' "$(GPU_PIECES)"

bench: $(VENV)/.train ## Run the benchmarks; TIER=smoke|standard|full|auto, ARGS="-k vgg --cnnperf-repeats 5"
	$(BIN)/python -m pytest benchmarks --benchmark-json=reports/run.json --cnnperf-tier=$(TIER) $(ARGS)

test: $(VENV)/.dev ## Run the tests, JOBS=2 at a time; ARGS="-k record" for some of them
	$(BIN)/python -m pytest -n $(JOBS) --dist=loadfile --no-loadscope-reorder $(ARGS)

lint: $(VENV)/.dev ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev ## Fix style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

results: $(VENV)/.train ## Make docs/results.md from the records in reports/
	$(BIN)/python reports/make_results.py -o docs/results.md

OLD := reports/amd-epyc-2core-torch2.15
examples: $(VENV)/.train ## Make the example pages in docs/ from the records in reports/
	$(BIN)/cnnperf report $(OLD)/modified_vgg-28-fast.json -o docs/example-report.html \
	  --title "The study's cases on two cores of a CPU" \
	  $(foreach name,modified_vgg-mnist-28-eager modified_resnet-mnist-28-fast \
	    modified_vgg-cifar10-28-augmented-fast modified_vgg-cifar10-28-30-epochs-fast smoke \
	    peers-mnist-28-40-steps-3-repeats infer-digits,--base $(OLD)/$(name).json)
	$(BIN)/cnnperf report $(OLD)/ab-threads-a.json $(OLD)/ab-threads-b.json \
	  --title "One thread instead of two" -o docs/example-comparison.html
	$(BIN)/cnnperf report $(OLD)/smoke.json reports/amd-epyc-2core-torch2.14/smoke.json --over avx512 \
	  --title "Two machines" -o docs/example-machines.html

# Runs in PYTHON, which has torch; installs nothing. Set GPU_OUT, GPU_DATA, GPU_MINUTES, GPU_WHEELS.
$(GPU_PIECES):
	$(PYTHON) .ci/gpu $(@:gpu-%=%) $(ARGS)

check: ## Run everything that CI runs
	bash .ci/run

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "cnnperf needs Python 3.11 or newer: run make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.train: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[train]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[train,dev]'
	@touch $@ $(VENV)/.train
