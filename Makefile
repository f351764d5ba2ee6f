# SPDX-License-Identifier: GPL-3.0-or-later
# A thin list of programs. Everything they make lies under SUPALOVE_CACHE, outside the checkout.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

export SUPALOVE_CACHE ?= $(HOME)/.cache/supalove
STAGES := lint sanity build test-unit test-integration test-molecule test-e2e
LOCKS := requirements/test.txt requirements/tools.txt
# Two checkouts, or two states of the locks, never share what differs between them.
VENV := $(SUPALOVE_CACHE)/venv/$(shell cat $(LOCKS) .ci/venv | sha256sum | cut -c1-12)
# Apart, because the package ansible brings collections that must not be found anywhere else.
BENCH_VENV = $(SUPALOVE_CACHE)/venv/bench-$(shell cat requirements/bench.txt .ci/venv | sha256sum | cut -c1-12)
export SUPALOVE_VENV := $(VENV)
export SUPALOVE_CHECKOUT_CACHE := $(SUPALOVE_CACHE)/checkouts/$(shell echo '$(CURDIR)' | sha256sum | cut -c1-12)
export SUPALOVE_COLLECTIONS := $(SUPALOVE_CHECKOUT_CACHE)/collections
export ANSIBLE_COLLECTIONS_PATH := $(SUPALOVE_COLLECTIONS)
export PATH := $(VENV)/bin:$(PATH)
# Ansible's own directory: temporary files, collections of ansible-lint, molecule's state.
export ANSIBLE_HOME := $(SUPALOVE_CHECKOUT_CACHE)/ansible
# Ansible refuses a locale that the machine has not generated, and sshd takes over the client's.
export LC_ALL := C.UTF-8
export PYTHONDONTWRITEBYTECODE := 1
export PYTHONUNBUFFERED := 1
export HYPOTHESIS_STORAGE_DIRECTORY := $(SUPALOVE_CHECKOUT_CACHE)/hypothesis
export RUFF_CACHE_DIR := $(SUPALOVE_CHECKOUT_CACHE)/ruff
export MYPY_CACHE_DIR := $(SUPALOVE_CHECKOUT_CACHE)/mypy
# A file of tests after the other in each of two processes: most of them wait for servers.
TWO = --numprocesses=2 --dist=loadfile
# What tests leave to chance begins with this: the same in each run of CI, another one in each of test-long.
SEED = 0
export SUPALOVE_SEED = $(SEED)
PYTEST = pytest --hypothesis-seed=$(SEED) --junit-xml=$(SUPALOVE_CHECKOUT_CACHE)/reports/$@.xml $(ARGS)
# A target's folders, unless ARGS names others.
in = $(if $(findstring tests/,$(ARGS)),,$(1))

.PHONY: help
help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "%-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo demo-down lab-up lab-down
demo: venv ## Three throwaway hosts, the platform and its tenants on them
	@tests/lab/lab demo

demo-down: venv ## Remove every trace of the demo; what was compiled stays in the cache
	@tests/lab/lab down --images

lab-up: venv ## Only the hosts
	@tests/lab/lab up

lab-down: venv ## Remove the hosts
	@tests/lab/lab down

.PHONY: test test-unit test-integration test-molecule test-e2e test-long
test: venv ## Everything that CI runs
	@.ci/stages $(STAGES)

test-unit: venv ## Pure functions and gates; seconds
	@$(PYTEST) $(TWO) $(call in,tests/unit)

test-integration: venv ## The backends against a real API server and PostgreSQL
	@SUPALOVE_LAB_KUBE="$$(tests/lab/lab binaries path kube)" $(PYTEST) $(TWO) -m 'not long' $(call in,tests/integration)

test-molecule: export ANSIBLE_CALLBACK_PLUGINS := $(CURDIR)/tests/lab/callbacks
test-molecule: export ANSIBLE_CALLBACKS_ENABLED := stages
test-molecule: export LAB_STAGES := $(SUPALOVE_CHECKOUT_CACHE)/molecule-stages.jsonl
test-molecule: venv ## The scenario cluster on new hosts: check, converge, idempotence, verify
	@tests/lab/lab down --topology cluster
	@tests/lab/lab up
	@rm -f $(LAB_STAGES)
	@molecule test --scenario-name cluster

test-e2e: venv ## Faults, bad input and tenants' traffic on the lab's hosts
	@$(PYTEST) -m 'not long' $(call in,tests/e2e)

test-long: SEED := $(shell od -An -N4 -tu4 /dev/urandom | tr -d ' ')
test-long: venv ## What takes longer than CI should, and properties with other examples. SEED=N repeats a run's chance
	@echo 'SEED=$(SEED)'
	@$(if $(ARGS),,$(PYTEST) -m hypothesis tests/unit --junit-xml=$(SUPALOVE_CHECKOUT_CACHE)/reports/properties.xml)
	@SUPALOVE_LAB_KUBE="$$(tests/lab/lab binaries path kube)" $(PYTEST) -m long $(call in,tests/integration tests/e2e)

.PHONY: bench bench-recovery
bench-recovery: venv ## A PostgreSQL's way through archived WAL, by archive engine; an hour. ARGS='--help' lists the choices
	@PYTHONPATH='$(SUPALOVE_COLLECTIONS):tests/integration:tests' python -m benchmarks.recovery $(ARGS)

bench: venv ## The engine and archives against a floor and others; 50 minutes. ARGS='--help' lists the choices
	@.ci/venv '$(BENCH_VENV)' requirements/bench.txt
	@SUPALOVE_LAB_KUBE="$$(tests/lab/lab binaries path kube)" SUPALOVE_BENCH_VENV='$(BENCH_VENV)' \
	  PYTHONPATH='$(SUPALOVE_COLLECTIONS):tests/integration:tests' python -m benchmarks $(ARGS)

.PHONY: format reference lint sanity build
format: venv ## Let ruff put Python in form
	@ruff check --quiet --fix-only . ; ruff format .

reference: venv ## Write what repeats the users' vocabulary: reference, schema, options
	@.ci/reference

lint: venv ## Linters, types, import contracts, documentation
	@.ci/lint

sanity: venv ## ansible-test sanity in the path that it wants
	@.ci/sanity $(SANITY)

build: venv ## The artefact: built, installed, its documentation rendered
	@.ci/artefact

.PHONY: venv venv-path lock clean
venv: ## The Python environment and the collection's link; prints nothing when they are there
	@.ci/bootstrap
	@.ci/venv '$(VENV)' $(LOCKS)
	@mkdir -p '$(SUPALOVE_COLLECTIONS)/ansible_collections/supalove' '$(SUPALOVE_CHECKOUT_CACHE)/reports'
	@ln -sfn '$(CURDIR)' '$(SUPALOVE_COLLECTIONS)/ansible_collections/supalove/platform'
	@ln -sfn '$(VENV)' '$(SUPALOVE_CHECKOUT_CACHE)/venv'

venv-path: # Where the environment is or would be; tests/lab/lab asks
	@echo '$(VENV)'

lock: venv ## Compile requirements/*.in again; set UPGRADE=--upgrade to move versions
	@.ci/lock $(UPGRADE)

clean: ## Remove this checkout's caches; the shared ones (venv, Go, images) stay
	@rm -rf '$(SUPALOVE_CHECKOUT_CACHE)'
