# `make` alone prints what can be done. Every target prepares the virtual environment when it is missing or out of date.
PYTHON ?= python3
WORKERS ?= 4
APP_IMAGE ?= livescore:dev
OPERATOR_IMAGE ?= livescore-operator:dev
# A docker client alone builds nothing: it needs its engine.
CONTAINER ?= $(shell if docker info >/dev/null 2>&1; then echo docker; else echo buildah; fi)
# Platforms of the images, `linux/amd64,linux/arm64`; that of this machine if empty. Other ones need binfmt_misc.
PLATFORM ?=
# Base of the images; that of the Dockerfile if empty.
PYTHON_IMAGE ?=
# With PUSH=true images go to their registry instead of staying here.
PUSH ?= false
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
COMMIT = $(shell git rev-parse --short HEAD)
# Of the commit, so that it makes the same images on every day.
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)
CREATED = $(shell $(PYTHON) -c 'import time; print(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime($(SOURCE_DATE_EPOCH))))')
BUILD_ARGS = $(foreach name,VERSION COMMIT CREATED SOURCE_DATE_EPOCH $(if $(PYTHON_IMAGE),PYTHON_IMAGE),--build-arg $(name)=$($(name)))
KUBECTL ?= kubectl
# The one that the tests run.
HELM ?= $(shell $(BIN)/python -c 'from tests.support.tools import helm; print(helm())')
OVERLAY ?= k8s/default
SAMPLE ?= k8s/samples/minimal.yaml
NAMESPACE ?= default
CLUSTER ?= livescore
# Image of kind's nodes, `kindest/node:v1.36.2`; what kind takes by itself if empty.
NODE_IMAGE ?=
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

# pytest keeps the tests as it has rewritten them as bytecode; every worker would do that anew, a third of its start.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run migrate test report coverage bench generators simulate converge e2e e2e-install lint types audit format check lock upgrade image images sbom dist publish-charts version crd charts docs golden deploy smoke undeploy kind clean

help: ## Print this text
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

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

# Not in a lock: only this target uses them, and no image or test run depends on them.
generators: $(READY) ## Generate clients from OpenAPI with public generators and use them (needs npm)
	$(BIN)/python -m venv .generators
	.generators/bin/pip --disable-pip-version-check install -qq openapi-python-client==0.29.1 datamodel-code-generator==0.89.0
	npm install --silent --no-save --prefix .generators openapi-typescript@7.13.0 typescript@5.9.3
	PATH="$(CURDIR)/.generators/bin:$(CURDIR)/.generators/node_modules/.bin:$(CURDIR)/$(BIN):$$PATH" $(PYTEST) tests/generators --numprocesses 0

simulate: $(READY) ## Play match days against the scaling rule and the HPA's; write docs/scaling/ and its table
	$(BIN)/python -m tools.simulation

converge: $(READY) ## Search for a state that the operator does not come out of (STEPS=2000)
	CONVERGENCE_STEPS=$(STEPS) $(BIN)/pytest tests/operator/test_convergence.py --numprocesses 0 -s

e2e: $(READY) ## Run the end-to-end tests on the cluster of KUBECONFIG, which has the images
	E2E=1 $(BIN)/pytest tests/e2e --numprocesses 0

e2e-install: $(READY) ## Install, upgrade and remove in every documented way, on the cluster of KUBECONFIG, which has the images
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

audit: $(READY) ## Look for known vulnerabilities in the locked packages of both images (asks a public database)
	for image in app operator; do $(BIN)/uv tool run pip-audit@2.10 --require-hashes --disable-pip -r requirements/$$image.lock || exit 1; done

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

# buildah sets every time by itself. BuildKit does so where it pushes; what it gives to docker has the times of the build.
ifeq ($(notdir $(CONTAINER)),buildah)
# A node reads `livescore:dev` as `docker.io/library/livescore:dev`, as docker does; buildah would make it `localhost/…`.
NAMED = $(if $(findstring /,$(IMAGE)),$(IMAGE),docker.io/library/$(IMAGE))
# A list of images would only grow.
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

images: ## Build both images (APP_IMAGE, OPERATOR_IMAGE, and as for one)
	@$(MAKE) --no-print-directory image TARGET=app IMAGE=$(APP_IMAGE)
	@$(MAKE) --no-print-directory image TARGET=operator IMAGE=$(OPERATOR_IMAGE)

sbom: $(READY) ## Write what is in the images to dist/sbom-app.json and dist/sbom-operator.json (CycloneDX)
	@SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) $(BIN)/python -m images.sbom dist

dist: $(READY) sbom ## Write what is released to dist/: wheel, source archive, charts, SBOMs and SHA256SUMS
	SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) $(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python --out-dir dist
	for chart in charts/*/; do $(HELM) package --destination dist $$chart; done
	cd dist && sha256sum *.whl *.tar.gz *.tgz *.json > SHA256SUMS

publish-charts: $(READY) ## Push the charts of dist/ to REGISTRY, as OCI artifacts
	for chart in dist/*.tgz; do $(HELM) push $$chart oci://$(REGISTRY)/charts; done

version: ## Print the version of the project
	@echo $(VERSION)

crd: $(READY) ## Write the CustomResourceDefinition from the operator's model
	$(BIN)/livescore-operator crd > k8s/crd/livescores.livescore.dev.yaml

charts: crd ## Write the generated parts of the charts (schema, roles, tables of values) and their golden files
	$(BIN)/python -m tools.charts
	$(BIN)/python -m tools.golden charts

docs: $(READY) ## Write the generated tables of docs/: settings, and the fields of a LiveScore
	$(BIN)/python -m tools.documentation

golden: $(READY) ## Rewrite the golden files of the tests; review the diff
	$(BIN)/python -m tools.golden

deploy: ## Install the operator and a LiveScore on the cluster of KUBECONFIG, and wait (OVERLAY, SAMPLE, NAMESPACE, APP_IMAGE, OPERATOR_IMAGE)
	$(KUBECTL) apply -k $(OVERLAY)
	$(KUBECTL) set image --namespace livescore-system deployment/livescore-operator operator=$(OPERATOR_IMAGE)
	$(KUBECTL) rollout status --namespace livescore-system deployment/livescore-operator --timeout=5m
	sed 's|image: livescore:dev|image: $(APP_IMAGE)|' $(SAMPLE) | $(KUBECTL) apply --namespace $(NAMESPACE) -f -
	$(KUBECTL) wait --namespace $(NAMESPACE) --for=condition=Ready livescore/demo --timeout=10m

smoke: $(READY) ## See the LiveScore `demo` work: create a match and hear of it (NAMESPACE)
	$(BIN)/python -m tests.smoke --namespace $(NAMESPACE)

# In the foreground: by then the garbage collector knows the kind, which would come too late after the CRD has gone.
undeploy: ## Remove what `make deploy` installed, the data of the LiveScore too (OVERLAY, NAMESPACE)
	$(KUBECTL) delete livescore/demo --namespace $(NAMESPACE) --ignore-not-found --cascade=foreground
	$(KUBECTL) delete -k $(OVERLAY) --ignore-not-found
	$(KUBECTL) delete pvc,secret --namespace $(NAMESPACE) -l app.kubernetes.io/name=livescore,app.kubernetes.io/instance=demo

kind: images ## A cluster of kind with both images, the operator and a LiveScore that works (CLUSTER=livescore, NODE_IMAGE)
	kind get clusters | grep -qx $(CLUSTER) || \
	  kind create cluster --name $(CLUSTER) --config k8s/kind.yaml --wait 5m $(if $(NODE_IMAGE),--image $(NODE_IMAGE))
	kind load docker-image --name $(CLUSTER) $(APP_IMAGE) $(OPERATOR_IMAGE)
	$(KUBECTL) config use-context kind-$(CLUSTER)
	$(MAKE) --no-print-directory deploy smoke

clean: ## Delete the virtual environment and all caches; the data in DATA_DIR stays
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage .coverage.* dist build
	find app operator images tests tools -name __pycache__ -prune -exec rm -rf {} +

# The build tools come from their own lock first, so that no package is built with tools nobody checked.
$(READY): $(LOCKS) pyproject.toml
	@echo "preparing $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(INSTALL) --require-hashes -r requirements/build.lock
	@$(INSTALL) --require-hashes --no-build-isolation -r requirements/development.lock
	@$(INSTALL) --require-hashes --no-deps -r requirements/tools.lock
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@
