# Everything a person does with this project, one target each.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help run test test-slow check format bench clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/run.stamp: pyproject.toml bridge/version.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

run: $(VENV)/run.stamp ## Set up, start the bridge with its embedded server, ingest a sample drive
	$(BIN)/mosaico-bridge demo --folder var

check: $(VENV)/dev.stamp ## Lint, format check, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check ## Set up, check and run all tests but the slow sweeps
	$(BIN)/pytest -m "not slow" -n 2

test-slow: $(VENV)/dev.stamp ## The long sweeps: every cut, every kill, every SDK
	$(BIN)/pytest -m slow

bench: $(VENV)/dev.stamp ## Verify, then time against the vendor and the limit; prints ratios
	$(BIN)/python -m benchmarks

format: $(VENV)/dev.stamp ## Format and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove the environment and everything the bridge wrote here
	rm -rf $(VENV) var dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
