# The whole developer menu. `make` alone lists it.
# One virtual environment in .venv; everything else, servers included, comes as wheels into it.
# PYTHON names the interpreter of a new environment, VENV another place for it, TESTS some of the tests.
PYTHON ?= python3
VENV   := .venv
TESTS  ?=
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test lint format bench up clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Backtrail needs Python 3.11 or later: make clean, then make PYTHON=python3.11 …")'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: $(READY) ## the main job on sample data, with nothing running beforehand
	$(BIN)/backtrail demo

test: $(READY) ## all tests, or TESTS=tests/ledger, against real servers that the tests start
	@# Three at a time, also on two cores: much of a test is waiting for processes and servers.
	$(BIN)/python -m pytest -n 3 --dist worksteal $(TESTS)

lint: $(READY) ## style, format and strict types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## put the code into its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## speed, as ratios to references in the same run
	$(BIN)/python -m bench

up: $(READY) ## a worker for the database of the settings, until Ctrl-C
	$(BIN)/backtrail worker

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
