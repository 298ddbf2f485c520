# `make` alone prints what can be done. Every target prepares the virtual environment when it is missing or out of date.
PYTHON ?= python3
WORKERS ?= 4
APP_IMAGE ?= livescore:dev
OPERATOR_IMAGE ?= livescore-operator:dev
# A docker client alone builds nothing: it needs its engine.
CONTAINER ?= $(shell if docker info >/dev/null 2>&1; then echo docker; else echo buildah; fi)
COMMIT = $(shell git rev-parse --short HEAD)
STEPS ?= 2000
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/pytest
LOCKS := requirements/build.lock requirements/development.lock requirements/tools.lock
INSTALL := $(BIN)/python -m pip --disable-pip-version-check install -qq
# One lock for every platform and every Python from the oldest one supported; it names no host.
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-header --no-annotate --no-emit-index-url --no-emit-find-links

.DEFAULT_GOAL := help
.PHONY: help run migrate test report coverage bench simulate converge e2e lint types format check lock upgrade images crd charts clean

help: ## Print this text
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(READY) ## Start everything on this machine: PostgreSQL, Valkey, API, worker, scheduler (INSTANCES=2, PORT=8000)
	@$(BIN)/livescore dev

migrate: $(READY) ## Bring the schema of DATABASE_URL up to date
	$(BIN)/livescore migrate

test: $(READY) ## Run the tests in parallel (WORKERS=4)
	$(PYTEST) --numprocesses $(WORKERS)

# It takes half as long again: every process that the tests start is measured.
coverage: $(READY) ## Run the tests and tell which lines no process reached; less than 90 % fails
	$(BIN)/coverage erase
	$(MAKE) --no-print-directory test PYTEST="$(BIN)/coverage run -m pytest"
	@$(MAKE) --no-print-directory report

report: ## Join what all processes of the last `make coverage` reached
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --show-missing

bench: $(READY) ## Measure the speed (tests/load)
	$(BIN)/python -m tests.load

simulate: $(READY) ## Play match days against the scaling rule and the HPA's; write docs/scaling/ and its table
	$(BIN)/python -m tests.simulation

converge: $(READY) ## Search for a state that the operator does not come out of (STEPS=2000)
	CONVERGENCE_STEPS=$(STEPS) $(BIN)/pytest tests/operator/test_convergence.py --numprocesses 0 -s

e2e: $(READY) ## Run the end-to-end tests on the cluster of KUBECONFIG, which has the images
	E2E=1 $(BIN)/pytest tests/e2e --numprocesses 0

lint: $(READY) ## Check style and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-logo

types: $(READY) ## Check types
	$(BIN)/mypy

format: $(READY) ## Format the code and mend what can be mended by itself
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format

check: lint types test ## Everything that CI checks

lock: $(READY) ## Write the lock files after a change of dependencies (`make upgrade` takes new versions too)
	$(COMPILE) pyproject.toml --extra app --extra operator --extra embedded --extra dev $(UPGRADE) --output-file requirements/development.lock
	$(COMPILE) pyproject.toml --extra app --constraint requirements/development.lock --output-file requirements/app.lock
	$(COMPILE) pyproject.toml --extra operator --constraint requirements/development.lock --output-file requirements/operator.lock
	$(COMPILE) --group build --constraint requirements/development.lock $(UPGRADE) --output-file requirements/build.lock
	$(COMPILE) --group tools --no-deps $(UPGRADE) --output-file requirements/tools.lock

upgrade: ## Write the lock files with the newest versions allowed
	$(MAKE) lock UPGRADE=--upgrade

images: ## Build the container images with docker or buildah (APP_IMAGE, OPERATOR_IMAGE, CONTAINER, BUILD_FLAGS)
	$(CONTAINER) build $(BUILD_FLAGS) --target app --build-arg COMMIT=$(COMMIT) --tag $(APP_IMAGE) .
	$(CONTAINER) build $(BUILD_FLAGS) --target operator --tag $(OPERATOR_IMAGE) .

crd: $(READY) ## Write the CustomResourceDefinition from the operator's model
	$(BIN)/livescore-operator crd > k8s/crd/livescores.livescore.dev.yaml

charts: crd ## Write what the charts have of the model, of k8s/ and of their own comments; then the golden files
	$(BIN)/python -m tests.charts.sources
	$(BIN)/python -m tests.charts.test_golden

clean: ## Delete the virtual environment and all caches; the data in DATA_DIR stays
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage .coverage.* dist build
	find app operator tests -name __pycache__ -prune -exec rm -rf {} +

# The build tools come from their own lock first, so that no package is built with tools nobody checked.
$(READY): $(LOCKS) pyproject.toml
	@echo "preparing $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(INSTALL) --require-hashes -r requirements/build.lock
	@$(INSTALL) --require-hashes --no-build-isolation -r requirements/development.lock
	@$(INSTALL) --require-hashes --no-deps -r requirements/tools.lock
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@
