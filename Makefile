# Everything a newcomer needs; `make help` lists it. Each target sets up by itself.

IS_RECENT := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
  $$python -c '$(IS_RECENT)' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RIVALS := .bench
VARIANT := cpu
TARGET := stages
DEMO := small
RESOLVED := $(VENV)/resolved.lock
BENCH := OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m benchmarks

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-containers check lint types compile image bench lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with the locked versions

$(STAMP): requirements.lock setup.cfg pyproject.toml
	@$(or $(PYTHON),false) -c '$(IS_RECENT)' || { echo "SMAR needs Python 3.11 or newer: name one with make PYTHON=PATH" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	$(BIN)/python -m pip check
	@touch $@

demo: setup ## draw a shop and run the whole pipeline on it: runs/demo/report.html
	$(BIN)/smar demo --out runs/demo

test: setup ## run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test-containers: setup image ## build the image and run the pipeline in it; DEMO=full: the whole demo
	$(BIN)/python -m pytest -m containers --demo $(DEMO) tests/containers

check: lint types test ## what CI runs: lint, types, test

lint: setup ## check format, style and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: setup ## check types
	$(BIN)/mypy

compile: setup ## write the compiled pipelines, manifests/pipelines
	$(BIN)/smar compile

image: ## build the image of the stages; ENGINE=docker|podman BASE_IMAGE=... VARIANT=cpu|cuda TARGET=stages|flink BUILD_ARGS='...'
	@$(or $(PYTHON),false) -m pipelines.image_build $(if $(ENGINE),--engine $(ENGINE)) $(if $(BASE_IMAGE),--base-image $(BASE_IMAGE)) \
	  --variant $(VARIANT) --target $(TARGET) -- $(BUILD_ARGS)

bench: setup $(RIVALS)/.installed ## measure the stages, profile them, and race other libraries: runs/bench/*.json
	mkdir -p runs/bench
	for what in stages profile grouping rivals; do $(BENCH) $$what --out runs/bench/$$what.json || exit 1; done

$(RIVALS)/.installed: benchmarks/requirements.txt $(STAMP)
	rm -rf $(RIVALS)
	$(BIN)/python -m pip install --quiet --no-deps --target $(RIVALS) --requirement benchmarks/requirements.txt
	@touch $@

lock: setup ## resolve setup.cfg's requirements anew into requirements.lock, keeping versions that still fit
	$(BIN)/pip-compile --quiet --extra cluster --extra dev --strip-extras --no-header --no-annotate --no-emit-options \
	  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --constraint requirements.lock --output-file - pyproject.toml > $(RESOLVED)
	sed '/^[^#]/,$$d' requirements.lock > $(RESOLVED).new && sed 's/+cpu$$//; /^ *#/d; /^$$/d' $(RESOLVED) >> $(RESOLVED).new
	mv $(RESOLVED).new requirements.lock

clean: ## remove .venv, runs and caches
	rm -rf $(VENV) $(RIVALS) .smar runs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
