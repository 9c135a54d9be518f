# Targets explain themselves: make help
SHELL := /bin/bash
.DEFAULT_GOAL := help
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
LAB := examples/lab/lab
STORIES := 1000

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

prepare: ## install what is missing: Debian packages (as root), .venv with locked versions
	@.ci/prepare

check: prepare ## linters, types, unit tests, simulation: under 2 minutes, no root
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy --no-error-summary
	$(BIN)/lint-imports --no-logo > .lint-imports.log || { cat .lint-imports.log; exit 1; }
	$(PYTEST) tests/unit tests/sim -n 2 -m "not long"

sim: prepare ## moves interrupted after every effect by every fault, 1,000 random stories, the model of the protocol
	$(PYTEST) tests/sim tests/model -n 2 -m long
	HACTL_STORIES=$(STORIES) $(PYTEST) tests/sim/test_random.py tests/sim/test_interrupted.py -n 2

soak: prepare ## random stories until stopped, on all cores; what breaks is kept as a scenario under soak/
	$(BIN)/python -m reconciler.sim.soak

contract: prepare ## what is simulated and what is real keep the same promises: etcd's members, addresses on a LAN (root)
	$(PYTEST) tests/contract

lab-test: prepare ## the main job on two real hosts and a witness; takes the lab up and down again
	$(PYTEST) tests/lab --ignore=tests/lab/test_takeover.py

takeover-test: prepare ## in the lab: hosts that lose power, freeze, are cut off; fencing, while a client writes (15 minutes)
	$(PYTEST) tests/lab/test_takeover.py

test: can-lab check sim contract lab-test ## everything: what CI runs

demo: can-lab ## the main job, shown: an NFS service moves to the other host and back under a writing client
	@python3 -m examples.lab.demo

bench: can-lab ## a client's gap in a planned move, beside a plain shell script over ssh
	@python3 -m examples.lab.bench

can-lab:
	@$(LAB) preflight

schemas: prepare ## write crds-like-specs/ anew from the models
	$(BIN)/python -m reconciler.schemas

format: prepare ## put the code in its form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: ## pin today's newest versions in requirements*.lock, from pyproject.toml
	@.ci/lock

clean: ## take the lab and its cache away, and .venv
	-$(LAB) clean
	rm -rf .venv

.PHONY: help prepare check sim soak contract lab-test takeover-test test demo bench can-lab schemas format lock clean
