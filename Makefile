# Two commands do it all on a fresh machine: make book, make test. `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PY := .venv/bin/python
READY := .venv/.ready
HOUSE := bash book/house.sh

export OMP_NUM_THREADS ?= 1
NOTEBOOK_TESTS := chapters/ja -p book.nbval_as_jupyter --nbval --nbval-current-env --nbval-sanitize-with tests/nbval_sanitize.cfg \
	--nbval-kernel-startup-timeout 120 --nbval-cell-timeout 120 -n 2 --dist loadfile
# each worker has one half in order, and takes from what is left of the other's when it is done: none waits
PYTEST := $(PY) -m pytest -n 2 --dist worksteal --durations 25
SITE_TESTS := $(wildcard tests/test_site.py tests/browser)
UNIT_TESTS := tests $(addprefix --ignore=,$(SITE_TESTS))

.PHONY: help setup book test lint check notebooks bench lab serve clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## only the environment: .venv with the exact pins

$(READY): requirements.txt constraints.txt pyproject.toml book/house.sh
	@$(HOUSE) setup

book: $(READY)  ## run the chapters, build both editions into _build/site; quick when nothing changed
	@$(HOUSE) step "building the book" $(PY) -m book.build

test: $(READY)  ## unit tests, notebooks, editions, strict book build, browser tests
	@$(HOUSE) step "comparing the editions" $(PY) -m book.editions check
	@$(HOUSE) step "unit tests" $(PYTEST) $(UNIT_TESTS)
	@$(HOUSE) step "running the notebooks" $(PY) -m pytest $(NOTEBOOK_TESTS)
	@$(HOUSE) step "building the book, warnings are errors" $(PY) -m book.build --strict
	@$(HOUSE) step "site and browser tests" $(PYTEST) $(SITE_TESTS)

lint: $(READY)  ## format, lint and types
	@$(HOUSE) step "ruff format" $(PY) -m ruff format --check .
	@$(HOUSE) step "ruff lint" $(PY) -m ruff check .
	@$(HOUSE) step "pyright" $(PY) -m pyright

check: lint  ## lint, unit tests and editions (what a change must pass before it is pushed)
	@$(HOUSE) step "comparing the editions" $(PY) -m book.editions check
	@$(HOUSE) step "unit tests" $(PYTEST) $(UNIT_TESTS)

notebooks: $(READY)  ## run the Japanese notebooks, normalise, copy code and outputs to the English ones
	@$(PY) -m book.editions execute
	@$(PY) -m book.editions sync
	@$(PY) -m book.editions check

bench: $(READY)  ## orders, overhead, error per network call: benchmarks/results (hours; NAMES="orders race" runs some)
	@$(PY) -m benchmarks $(NAMES)

lab: $(READY)  ## JupyterLab on the chapters (PORT=8888)
	@$(HOUSE) lab

serve: book  ## the built book on http://localhost (PORT=8000)
	@$(HOUSE) serve

clean:  ## remove what was built (not the environment)
	rm -rf _build
