# Everything a person does with this project, one target each.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' bridge/version.py)
# Exact versions and hashes of all that the bridge needs, for every Python and kind of machine.
LOCK := .ci/constraints.txt
# Where the project is to be found, for the packages: an address at a code host, or nothing.
export PROJECT_URL
INSTALL_LOCKED := install --quiet --require-hashes --no-deps --requirement $(LOCK)

.DEFAULT_GOAL := help
.PHONY: help run test test-slow check audit format proto bench docs dist deb lock install-debian install-debian-slow clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-19s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Debian ships the module that makes environments in a package of its own.
$(VENV)/run.stamp: pyproject.toml bridge/version.py $(LOCK)
	@$(PYTHON) -c 'import importlib.util as u, sys; v = sys.version_info[:2]; \
	  v < (3, 11) and sys.exit("error: this is Python %d.%d; name one from 3.11 on: make PYTHON=..." % v); \
	  u.find_spec("ensurepip") or sys.exit("error: no ensurepip here: apt install python%d.%d-venv" % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip $(INSTALL_LOCKED)
	$(BIN)/pip install --quiet --no-deps --editable .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

$(VENV)/docs.stamp: $(VENV)/run.stamp
	$(BIN)/pip install --quiet --editable '.[docs]'
	@touch $@

run: $(VENV)/run.stamp ## Set up, start the bridge with its embedded server, ingest a sample drive; PORT=, FOLDER=
	$(BIN)/mosaico-bridge demo --folder "$(or $(FOLDER),var)" $(if $(PORT),--http-port $(PORT))

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
	$(BIN)/pytest -m "not slow" -n 3  # much of a test of processes is waiting for them

test-slow: $(VENV)/dev.stamp ## The long sweeps: every cut, every kill, every SDK
	$(BIN)/pytest -m slow

bench: $(VENV)/dev.stamp ## Verify, then time a quarter of the recordings against rivals and the limit; prints ratios
	$(BIN)/python -m benchmarks --scale 0.25

docs: $(VENV)/docs.stamp ## Build the documentation as a site into site/, without a warning
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

dist: ## Build the sdist, the wheel from it, and a list of all components (CycloneDX) into dist/; PROJECT_URL=
	$(PYTHON) -m venv $(VENV)/build
	$(VENV)/build/bin/pip install --quiet build cyclonedx-bom
	$(VENV)/build/bin/python -m build --outdir dist .
	$(PYTHON) -m venv --clear $(VENV)/released
	$(VENV)/released/bin/pip $(INSTALL_LOCKED)
	$(VENV)/released/bin/pip install --quiet --no-deps dist/mosaico_bridge-$(VERSION)-py3-none-any.whl
	$(VENV)/released/bin/pip uninstall --quiet --yes setuptools pip
	@sed 's|^dynamic = .*|version = "$(VERSION)"$(if $(PROJECT_URL),\nurls = {Homepage = "$(PROJECT_URL)"})|' pyproject.toml > $(VENV)/released/pyproject.toml
	$(VENV)/build/bin/cyclonedx-py environment --output-reproducible \
	  --pyproject $(VENV)/released/pyproject.toml \
	  --output-file dist/mosaico-bridge-$(VERSION).cdx.json $(VENV)/released/bin/python

deb: ## Build Debian packages into dist/, for amd64 and arm64, or ARCH=; PROJECT_URL=; takes root and install-debian
	$(PYTHON) -m venv --clear $(VENV)/deb
	$(VENV)/deb/bin/pip install --quiet build
	$(VENV)/deb/bin/python -m build --wheel --outdir $(VENV)/deb/wheel .
	$(VENV)/deb/bin/python .ci/deb/build.py --wheel $(VENV)/deb/wheel/*.whl --into dist \
	  $(if $(ARCH),--architecture $(ARCH))

lock: ## Take the newest versions that fit pyproject.toml, with their hashes, into the lock file
	$(PYTHON) -m venv $(VENV)/lock
	$(VENV)/lock/bin/pip install --quiet uv
	$(VENV)/lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-annotate \
	  --generate-hashes --custom-compile-command "make lock" --output-file $(LOCK) pyproject.toml

install-debian: ## Install the programs that some tests use and skip without
	@if command -v apt-get > /dev/null && [ "$$(id -u)" = 0 ]; then \
	  apt-get update -qq > /dev/null && apt-get install -qq --yes --no-install-recommends \
	    chromium fish fonts-dejavu-core openssl prometheus prometheus-alertmanager rsync systemd systemd-container zsh \
	    binutils binutils-aarch64-linux-gnu mmdebstrap patchelf podman runc $(ALSO) > /dev/null \
	  || echo "not all could be installed: tests that need them will be skipped"; \
	else echo "no apt-get, or not root: tests that need these programs will be skipped"; fi

install-debian-slow: ## The same, and those that only slow tests use: ROS 1's recorder, an emulator of arm64
	@$(MAKE) --no-print-directory install-debian ALSO="python3-rosbag python3-rosmaster qemu-user-static"

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
