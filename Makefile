# Everything a person does with this project, one target each.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help run test test-slow check audit format proto bench docs dist install-debian clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/run.stamp: pyproject.toml bridge/version.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

$(VENV)/docs.stamp: $(VENV)/run.stamp
	$(BIN)/pip install --quiet --editable '.[docs]'
	@touch $@

run: $(VENV)/run.stamp ## Set up, start the bridge with its embedded server, ingest a sample drive; PORT=, FOLDER=
	$(BIN)/mosaico-bridge demo --folder $(or $(FOLDER),var) $(if $(PORT),--http-port $(PORT))

check: $(VENV)/dev.stamp $(VENV)/audit.json ## Lint, format check, types, dependencies: contradictions and known vulnerabilities
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pip check
	$(PYTHON) .ci/audit.py < $(VENV)/audit.json

audit: $(VENV)/dev.stamp ## Look afresh for known vulnerabilities; an error where none can be looked up
	@rm -f $(VENV)/audit.json
	@$(MAKE) --no-print-directory $(VENV)/audit.json
	$(PYTHON) .ci/audit.py --strict < $(VENV)/audit.json

# What is known of what is installed, asked once for each installation; empty where nobody answers.
$(VENV)/audit.json: $(VENV)/dev.stamp
	@$(PYTHON) -m venv $(VENV)/audit
	@$(BIN)/pip freeze --exclude-editable > $(VENV)/audit/installed.txt
	@$(VENV)/audit/bin/pip install --quiet pip-audit && $(VENV)/audit/bin/pip-audit --format json \
	  --progress-spinner off --no-deps --disable-pip -r $(VENV)/audit/installed.txt 2> /dev/null > $@ || true

test: check ## Set up, check and run all tests but the slow sweeps
	$(BIN)/pytest -m "not slow" -n 2

test-slow: $(VENV)/dev.stamp ## The long sweeps: every cut, every kill, every SDK
	$(BIN)/pytest -m slow

bench: $(VENV)/dev.stamp ## Verify, then time against the vendor and the limit; prints ratios
	$(BIN)/python -m benchmarks

docs: $(VENV)/docs.stamp ## Build the documentation as a site into site/, without a warning
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

dist: ## Build the sdist, and the wheel from it, into dist/
	$(PYTHON) -m venv $(VENV)/build
	$(VENV)/build/bin/pip install --quiet build
	$(VENV)/build/bin/python -m build --outdir dist .

install-debian: ## Install the programs that some tests use and skip without
	@if command -v apt-get > /dev/null && [ "$$(id -u)" = 0 ]; then \
	  apt-get update -qq > /dev/null && apt-get install -qq --yes --no-install-recommends \
	    chromium fish fonts-dejavu-core openssl prometheus prometheus-alertmanager rsync systemd systemd-container zsh \
	    mmdebstrap podman runc > /dev/null \
	  || echo "not all could be installed: tests that need them will be skipped"; \
	else echo "no apt-get, or not root: tests that need these programs will be skipped"; fi

format: $(VENV)/dev.stamp ## Format and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

proto: ## Write bridge/protobuf/generated from the .proto file; an old compiler, for all libraries from 4.25 on
	$(PYTHON) -m venv $(VENV)/proto
	$(VENV)/proto/bin/pip install --quiet 'grpcio-tools==1.62.3' 'setuptools<81'
	$(VENV)/proto/bin/python -m grpc_tools.protoc -Ibridge/protobuf \
	  --python_out=bridge/protobuf/generated mosaico_bridge.proto

clean: ## Remove the environment and everything the bridge wrote here
	rm -rf $(VENV) var dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis
