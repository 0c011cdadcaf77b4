# What a fresh clone can do. Every target prepares what it needs: `make demo` alone is enough.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The first of these that runs and is in range; `make PYTHON=/path/to/python3.12 ...` overrules it.
IN_RANGE := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3; do \
	if $$name -c '$(IN_RANGE)' 2>/dev/null; then echo $$name; break; fi; done)

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# A torch per worker: more than four only fill the memory.
WORKERS_MAX ?= 4

.PHONY: help setup demo test attack e2e check bench simulate fuzz clean

help:  ## This list
	@grep -hE '^[a-z0-9]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: $(INSTALLED)  ## Virtual environment with everything in it; asks for system packages that are missing

$(INSTALLED): pyproject.toml constraints.txt tools/system-packages.sh
	@[ -n "$(PYTHON)" ] || { echo "Hanse needs Python 3.11, 3.12 or 3.13, and found none; name one with make PYTHON=..." >&2; exit 1; }
	@tools/system-packages.sh $(PYTHON)
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(INSTALLED)  ## Five factories on this machine train one model, pay for it and check each other (3 minutes)
	@$(BIN)/hanse devnet $(DEMO)

# Real daemons come last, and at most two leagues at once: a league waits more than it works, and three would starve
# each other. A file's tests share a league, so they stay with one worker.
test: $(INSTALLED)  ## All tests
	@status=0; \
	$(BIN)/python -m pytest -q -n logical --maxprocesses $(WORKERS_MAX) --dist worksteal --ignore tests/processes || status=$$?; \
	$(BIN)/python -m pytest -q -n 2 --dist loadfile tests/processes || status=$$?; \
	exit $$status

e2e: $(INSTALLED)  ## Faults on real daemons: all of tests/e2e/manifests (twenty minutes), or MANIFEST=... or RANDOM_SEED=7
	@$(BIN)/python -m tests.e2e.run $(MANIFEST) $(if $(RANDOM_SEED),--random $(RANDOM_SEED)) $(if $(REPORT),--report $(REPORT))

# SEEDS=1000000 [FROM=...] runs so many on all cores until one breaks; SEED=123 runs one and prints what happened.
attack: $(INSTALLED)  ## The consensus adversary, for SEEDS=... seeds or one SEED=... (docs/adversary.md)
	@$(BIN)/python -m tests.attack $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),100000) --first $(or $(FROM),0))

check: $(INSTALLED)  ## Lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(INSTALLED)  ## The measurements listed in bench/README.md, one after the other
	@sed -nE 's/^\| `bench\/([a-z_]+)\.py` .*/\1/p' bench/README.md | while read -r name; do \
		printf '\n== bench/%s.py\n' "$$name"; $(BIN)/python -m bench.$$name </dev/null; done

simulate: $(INSTALLED)  ## Whole nodes on virtual time, one league a seed, all cores; SEEDS=100000 for more
	@$(BIN)/python -m node.simulation --seeds $(or $(SEEDS),200)

fuzz: $(INSTALLED)  ## Damaged bytes into every decoder for SECONDS=60; GUIDED=1 follows what code they reach (atheris)
	@$(if $(GUIDED),$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fuzz]')
	@$(BIN)/python -m tests.support.fuzzer $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED)) $(if $(GUIDED),--guided)

clean:  ## Remove the environment and all caches; data directories of nodes stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
