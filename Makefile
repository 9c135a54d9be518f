# Targets explain themselves: make help
SHELL := /bin/bash
.DEFAULT_GOAL := help
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
LAB := examples/lab/lab
STORIES := 2000

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

sim: prepare ## moves interrupted after every effect by every fault, 2,000 random stories, the model of the protocol
	$(PYTEST) tests/sim tests/model -n 2 -m long
	HACTL_STORIES=$(STORIES) $(PYTEST) tests/sim/test_random.py tests/sim/test_interrupted.py -n 2

speed: prepare ## how many seconds a core simulates in one: a benchmark
	$(BIN)/python -m reconciler.sim.speed

soak: prepare ## random stories until stopped, on all cores; what breaks is kept as a scenario under soak/
	$(BIN)/python -m reconciler.sim.soak

contract: prepare ## what is simulated and what is real keep the same promises: etcd's members, addresses on a LAN (root)
	$(PYTEST) tests/contract

lab-test: prepare ## two real hosts and a witness: moves, what is broken by hand, power cuts, freezes, cut cables, fencing
	$(PYTEST) tests/lab --tb=short -rR

site-test: can-lab prepare ## a whole site with its real daemons and clients; a lab with more memory, so: make a running one down first
	HACTL_LAB_SITE=1 $(PYTEST) tests/site

test: can-lab check sim contract lab-test ## everything: what CI runs

demo: can-lab ## the main job, shown: an NFS service moves to the other host and back under a writing client
	@python3 -m examples.lab.demo

bench: can-lab ## a client's gap in a planned move beside a plain shell script; what a takeover waits for; drift seen and repaired
	@python3 -m examples.lab.bench
	@python3 -m examples.lab.bench takeover
	@python3 -m examples.lab.bench drift

cost: prepare ## what an agent costs at 10 to 1,000 services; writes docs/cost.md and its plot (4 minutes)
	$(BIN)/python -m tests.cost

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

.PHONY: help prepare check sim speed soak contract lab-test site-test test demo bench cost can-lab schemas format lock clean
