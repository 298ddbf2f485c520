# `make` lists all targets. Each target creates or updates the virtual environment if necessary.
PYTHON ?= python3
WORKERS ?= 4
APP_IMAGE ?= livescore:dev
OPERATOR_IMAGE ?= livescore-operator:dev
# docker if its engine is running, else buildah.
CONTAINER ?= $(shell if docker info >/dev/null 2>&1; then echo docker; else echo buildah; fi)
# Platforms of the images, such as `linux/amd64,linux/arm64`; empty for this machine's. Others need binfmt_misc.
PLATFORM ?=
# Base of the images; empty for the one in the Dockerfile.
PYTHON_IMAGE ?=
# true pushes the images to the registry of their names.
PUSH ?= false
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
COMMIT = $(shell git rev-parse --short HEAD)
# Time of the commit, so that builds are reproducible.
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)
CREATED = $(shell $(PYTHON) -c 'import time; print(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime($(SOURCE_DATE_EPOCH))))')
BUILD_ARGS = $(foreach name,VERSION COMMIT CREATED SOURCE_DATE_EPOCH $(if $(PYTHON_IMAGE),PYTHON_IMAGE),--build-arg $(name)=$($(name)))
KUBECTL ?= kubectl
# The version that the tests run.
HELM ?= $(shell $(BIN)/python -c 'from tests.support.tools import helm; print(helm())')
OVERLAY ?= k8s/default
SAMPLE ?= k8s/samples/minimal.yaml
NAMESPACE ?= default
CLUSTER ?= livescore
# Image of kind's nodes, such as `kindest/node:v1.36.2`; empty for kind's default.
NODE_IMAGE ?=
STEPS ?= 2000
# Examples of `make fold`.
EXAMPLES ?= 5000
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/pytest
LOCKS := requirements/build.lock requirements/development.lock requirements/tools.lock
INSTALL := $(BIN)/python -m pip --disable-pip-version-check install -qq
# A lock is valid for all platforms and all supported Python versions, and names no host.
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-header --no-annotate --no-emit-index-url --no-emit-find-links

# Let pytest cache its rewritten tests: otherwise every worker repeats that work, a third of its start.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run migrate test report coverage bench generators simulate converge fold chaos-webhooks e2e e2e-install lint types audit format check lock upgrade image images sbom dist publish-charts version crd charts docs golden deploy smoke undeploy kind clean

help: ## List all targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(READY) ## Run the whole service on this machine: PostgreSQL, Valkey, API, worker, scheduler (INSTANCES, PORT)
	@$(BIN)/livescore dev

migrate: $(READY) ## Upgrade the schema of DATABASE_URL
	$(BIN)/livescore migrate

test: $(READY) ## Run the tests in parallel (WORKERS=4)
	$(PYTEST) --numprocesses $(WORKERS)

# Takes 1.5 times as long as `make test`, because it measures every process that the tests start.
coverage: $(READY) ## Run the tests and report uncovered lines; fails below 90 %
	$(BIN)/coverage erase
	$(MAKE) --no-print-directory test PYTEST="$(BIN)/coverage run -m pytest"
	@$(MAKE) --no-print-directory report

report: ## Report the coverage of all processes of the last `make coverage`
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --show-missing

bench: $(READY) ## Benchmark the service (tests/load)
	$(BIN)/python -m tests.load

# The generators are in no lock: only this target uses them.
generators: $(READY) ## Test clients that public generators make from OpenAPI (needs npm)
	$(BIN)/python -m venv .generators
	.generators/bin/pip --disable-pip-version-check install -qq openapi-python-client==0.29.1 datamodel-code-generator==0.89.0
	npm install --silent --no-save --prefix .generators openapi-typescript@7.13.0 typescript@5.9.3
	PATH="$(CURDIR)/.generators/bin:$(CURDIR)/.generators/node_modules/.bin:$(CURDIR)/$(BIN):$$PATH" $(PYTEST) tests/generators --numprocesses 0

simulate: $(READY) ## Simulate match days under our scaling rule and the HPA's; writes docs/scaling/ and docs/scaling.md
	$(BIN)/python -m tools.simulation

converge: $(READY) ## Search for a state that the operator cannot recover from (STEPS)
	CONVERGENCE_STEPS=$(STEPS) $(BIN)/pytest tests/operator/test_convergence.py --numprocesses 0 -s

fold: $(READY) ## Search for concurrent writes after which a match is not the fold of its entries (EXAMPLES)
	FOLD_EXAMPLES=$(EXAMPLES) $(PYTEST) tests/service/test_fold_properties.py --numprocesses 0 --timeout 0

chaos-webhooks: $(READY) ## Deliver 10 000 events to 21 webhooks while servers and workers fail
	WEBHOOK_CHAOS=full $(BIN)/pytest tests/chaos/test_webhooks.py -k every_event --numprocesses 0 -s

e2e: $(READY) ## Run the end-to-end tests on the cluster of KUBECONFIG, which must have the images
	E2E=1 $(BIN)/pytest tests/e2e --numprocesses 0

e2e-install: $(READY) ## Install, upgrade and remove in every documented way, on the same cluster
	E2E=1 $(BIN)/pytest tests/install --numprocesses 0

lint: $(READY) ## Check style, spelling, imports, dead code and dependencies
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-logo
	$(BIN)/codespell app operator tests tools docs charts k8s images requirements .github .ci *.md Makefile Dockerfile *.toml *.yaml
	$(BIN)/vulture
	$(BIN)/deptry app operator images tools

types: $(READY) ## Check types
	$(BIN)/mypy

audit: $(READY) ## Check the locked packages of both images for known vulnerabilities (queries a public database)
	for image in app operator; do $(BIN)/uv tool run pip-audit@2.10 --require-hashes --disable-pip -r requirements/$$image.lock || exit 1; done

format: $(READY) ## Format the code and apply automatic fixes
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format

check: lint types test ## Run all checks of CI

lock: $(READY) ## Update the lock files after a change of dependencies
	$(COMPILE) pyproject.toml --extra app --extra operator --extra embedded --extra dev $(UPGRADE) --output-file requirements/development.lock
	$(COMPILE) pyproject.toml --extra app --constraint requirements/development.lock --output-file requirements/app.lock
	$(COMPILE) pyproject.toml --extra operator --constraint requirements/development.lock --output-file requirements/operator.lock
	$(COMPILE) --group build --constraint requirements/development.lock $(UPGRADE) --output-file requirements/build.lock
	$(COMPILE) --group tools --no-deps $(UPGRADE) --output-file requirements/tools.lock

upgrade: ## Update the lock files to the newest versions allowed
	$(MAKE) lock UPGRADE=--upgrade

# buildah sets all timestamps in the image. BuildKit does so only when it pushes.
ifeq ($(notdir $(CONTAINER)),buildah)
# Nodes resolve `livescore:dev` to `docker.io/library/livescore:dev`, as docker does; buildah would name it `localhost/…`.
NAMED = $(if $(findstring /,$(IMAGE)),$(IMAGE),docker.io/library/$(IMAGE))
# buildah only ever adds to an existing manifest.
RENEW = $(if $(PLATFORM),buildah manifest exists $(NAMED) && buildah manifest rm $(NAMED) || true)
BUILD = buildah build --timestamp $(SOURCE_DATE_EPOCH) $(if $(PLATFORM),--platform $(PLATFORM) --manifest,--tag) $(NAMED)
PUBLISH = $(if $(PLATFORM),buildah manifest push --all,buildah push) $(NAMED) docker://$(NAMED)
else
PUSHED = --output type=registry,rewrite-timestamp=true
BUILD = docker buildx build $(if $(PLATFORM),--platform $(PLATFORM)) $(if $(filter true,$(PUSH)),$(PUSHED),--load) --tag $(IMAGE)
endif

image: ## Build one image (TARGET=app or operator, IMAGE, PYTHON_IMAGE, PLATFORM, PUSH, CONTAINER=docker or buildah, BUILD_FLAGS)
	$(RENEW)
	$(BUILD) --target $(TARGET) $(BUILD_ARGS) $(BUILD_FLAGS) .
	$(if $(filter true,$(PUSH)),$(PUBLISH))

images: ## Build both images (APP_IMAGE, OPERATOR_IMAGE, and the variables of `image`)
	@$(MAKE) --no-print-directory image TARGET=app IMAGE=$(APP_IMAGE)
	@$(MAKE) --no-print-directory image TARGET=operator IMAGE=$(OPERATOR_IMAGE)

sbom: $(READY) ## Write the SBOMs of both images to dist/ (CycloneDX)
	@SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) $(BIN)/python -m images.sbom dist

dist: $(READY) sbom ## Build a release in dist/: wheel, source archive, charts, SBOMs and SHA256SUMS
	SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) $(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python --out-dir dist
	for chart in charts/*/; do $(HELM) package --destination dist $$chart; done
	cd dist && sha256sum *.whl *.tar.gz *.tgz *.json > SHA256SUMS

publish-charts: $(READY) ## Push the charts of dist/ to REGISTRY as OCI artifacts
	for chart in dist/*.tgz; do $(HELM) push $$chart oci://$(REGISTRY)/charts; done

version: ## Print the version of the project
	@echo $(VERSION)

crd: $(READY) ## Generate the CustomResourceDefinition from the operator's model
	$(BIN)/livescore-operator crd > k8s/crd/livescores.livescore.dev.yaml

charts: crd ## Generate parts of the charts (schema, roles, tables of values) and their golden files
	$(BIN)/python -m tools.charts
	$(BIN)/python -m tools.golden charts

docs: $(READY) ## Generate the tables of docs/: settings, and the fields of a LiveScore
	$(BIN)/python -m tools.documentation

golden: $(READY) ## Rewrite the golden files of the tests; review the diff
	$(BIN)/python -m tools.golden

deploy: ## Install the operator and a LiveScore on the cluster of KUBECONFIG (OVERLAY, SAMPLE, NAMESPACE, APP_IMAGE, OPERATOR_IMAGE)
	$(KUBECTL) apply -k $(OVERLAY)
	$(KUBECTL) set image --namespace livescore-system deployment/livescore-operator operator=$(OPERATOR_IMAGE)
	$(KUBECTL) rollout status --namespace livescore-system deployment/livescore-operator --timeout=5m
	sed 's|image: livescore:dev|image: $(APP_IMAGE)|' $(SAMPLE) | $(KUBECTL) apply --namespace $(NAMESPACE) -f -
	$(KUBECTL) wait --namespace $(NAMESPACE) --for=condition=Ready livescore/demo --timeout=10m

smoke: $(READY) ## Test the LiveScore `demo`: create a match and receive its event (NAMESPACE)
	$(BIN)/python -m tests.smoke --namespace $(NAMESPACE)

# In the foreground: otherwise the CRD may be deleted before the garbage collector has deleted the owned resources.
undeploy: ## Remove everything that `make deploy` installed, including data (OVERLAY, NAMESPACE)
	$(KUBECTL) delete livescore/demo --namespace $(NAMESPACE) --ignore-not-found --cascade=foreground
	$(KUBECTL) delete -k $(OVERLAY) --ignore-not-found
	$(KUBECTL) delete pvc,secret --namespace $(NAMESPACE) -l app.kubernetes.io/name=livescore,app.kubernetes.io/instance=demo

kind: images ## Create a kind cluster with the operator and a tested LiveScore (CLUSTER, NODE_IMAGE)
	kind get clusters | grep -qx $(CLUSTER) || \
	  kind create cluster --name $(CLUSTER) --config k8s/kind.yaml --wait 5m $(if $(NODE_IMAGE),--image $(NODE_IMAGE))
	kind load docker-image --name $(CLUSTER) $(APP_IMAGE) $(OPERATOR_IMAGE)
	$(KUBECTL) config use-context kind-$(CLUSTER)
	$(MAKE) --no-print-directory deploy smoke

clean: ## Delete the virtual environment and all caches, but not DATA_DIR
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage .coverage.* dist build
	find app operator images tests tools -name __pycache__ -prune -exec rm -rf {} +

# The build tools come first, from their own lock, so that no package is built with unchecked tools.
$(READY): $(LOCKS) pyproject.toml
	@echo "preparing $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(INSTALL) --require-hashes -r requirements/build.lock
	@$(INSTALL) --require-hashes --no-build-isolation -r requirements/development.lock
	@$(INSTALL) --require-hashes --no-deps -r requirements/tools.lock
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@
