# Two commands for a newcomer: `make demo` and `make test`. Each sets up all that it needs from a
# bare clone: a virtual environment in .venv, dependencies at the versions of requirements.lock.

PYTHON ?= python3
BIN    := .venv/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
LOCKED := --constraint requirements.lock
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help demo test lint bench soak data docs lock clean

help:                    ## say what there is
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' Makefile | expand -t 16

demo: .venv/product      ## audit a real project and leave its report in build/demo
	$(BIN)/python examples/demo.py

test: .venv/develop      ## run the tests (12 minutes at most on two cores)
	$(BIN)/python -m pytest -n auto

lint: .venv/develop      ## style, types, and the floors of the house
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/floors.py --check

bench: .venv/bench       ## measure beside the peers; NAME=startup for one
	@for file in benchmarks/$(or $(NAME),*).py; do $(BIN)/python $$file || exit 1; done

soak: .venv/develop      ## the tests with long counts
	TORCHKEEP_SOAK=1 $(BIN)/python -m pytest -n auto --timeout=7200

data:                    ## say where larger real data comes from; check what TORCHKEEP_DATA holds
	@$(PYTHON) tools/data.py

docs: .venv/docs         ## build the documentation into site/
	$(BIN)/python tools/floors.py
	$(BIN)/mkdocs build --strict

lock:                    ## find the newest versions and write requirements.lock
	$(PYTHON) tools/lock.py

clean:                   ## remove what was built
	rm -rf .venv build dist site

# torch first: where the machine offers a CPU build of this version, whatever depends on torch
# then finds it installed and fetches no other.
.venv/torch: requirements.lock
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv .venv
	$(PIP) install $(LOCKED) pip
	$(PIP) install $(LOCKED) torch==2.13.0
	@touch $@

.venv/product: .venv/torch pyproject.toml
	$(PIP) install $(LOCKED) --editable '.[torch]'
	@touch $@

.venv/develop: .venv/torch pyproject.toml
	$(PIP) install $(LOCKED) --editable '.[all]' --group lint --group test
	@touch $@ .venv/product

.venv/bench: .venv/develop
	$(PIP) install $(LOCKED) --group bench
	@touch $@

.venv/docs: .venv/develop
	$(PIP) install $(LOCKED) --group docs
	@touch $@
