# The whole developer menu. `make` alone lists it.
# One virtual environment in .venv; everything else, servers included, comes as wheels into it.
# PYTHON names the interpreter of a new environment, VENV another place for it, TESTS some of the tests.
PYTHON ?= python3
VENV   := .venv
TESTS  ?=
FORM   := default
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# The tests start a thousand commands, each of which would compile us anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test long long-short lint format bench bench-full exactness tampering stateful faults faults-short mutation test-browser test-rabbitmq screenshot up clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Backtrail needs Python 3.11 or later: make clean, then make PYTHON=python3.11 …")'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: $(READY) ## the main job on sample data, with nothing running beforehand
	$(BIN)/backtrail demo

test: $(READY) ## the tests, or TESTS=tests/ledger, against real servers that they start
	@# Three at a time, also on two cores: much of a test is waiting for processes and servers.
	$(BIN)/python -m pytest -n 3 --dist worksteal --durations 20 $(TESTS)

long: $(READY) ## the tests that take longer
	@# Two at a time: each has workers, which give way to whatever else runs, and would hardly get on among more.
	$(BIN)/python -m pytest -n 2 --dist worksteal --durations 20 -m long $(TESTS)

long-short: $(READY) ## the same; what they do on several databases on one of them, another with every commit, or with every TURN
	$(BIN)/python -m pytest -n 2 --dist worksteal --durations 20 -m long --turn $(or $(TURN),$(shell git rev-list --count HEAD 2>/dev/null || echo 0)) $(TESTS)

lint: $(READY) ## style, format and strict types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## put the code into its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## speed, as ratios to references in the same run, in half an hour; writes the figures and the picture in the docs
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	$(BIN)/python -m bench --form $(FORM) --markdown docs/performance.md --picture docs/images/bench.svg

bench-full: ## the same with up to a million users, which takes hours
	$(MAKE) bench FORM=full

exactness: $(READY) ## every type of every database there and back, judged by the databases' own bytes; writes the table in the docs
	$(BIN)/python -m tests.exactness --markdown docs/exactness.md

tampering: $(READY) ## every way to tamper with a ledger, on every database: each must be found and named, and nothing where nothing was done
	$(BIN)/python -m tests.tampering

stateful: $(READY) ## anything in any order, on every database, judged by a model; draws anew each time, or as BACKTRAIL_STATEFUL_SEED says
	BACKTRAIL_STATEFUL_SEED=$${BACKTRAIL_STATEFUL_SEED:-0} $(BIN)/python -m pytest -s -n 0 tests/stateful -k any_order

faults: $(READY) ## campaigns on every kind of database while everything around them is killed, cut and flushed; writes the figures in the docs
	$(BIN)/python -m tests.faults --markdown docs/faults.md

faults-short: $(READY) ## the same, each kind of scenario once, in two minutes
	$(BIN)/python -m tests.faults --short

mutation: $(READY) ## small mistakes put into the ledger's modules, which the tests must notice; half an hour, and it writes the page in the docs
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[mutation]'
	$(BIN)/python -m tests.mutation --write docs/mutation.md

test-rabbitmq: $(READY) ## campaigns through RabbitMQ, on nodes of their own; needs Debian's rabbitmq-server, whose service need not run
	$(BIN)/python -m pytest -n 2 --dist worksteal -m rabbitmq tests/rabbitmq

test-browser: $(READY) ## Flower's page in headless Chromium, driven by Playwright; needs Debian's chromium
	@command -v chromium >/dev/null || { echo "there is no chromium: apt-get install --no-install-recommends chromium" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[browser]'
	$(BIN)/python -m pytest -n 0 -m browser tests/browser

screenshot: ## the same, and its picture becomes the one in the docs
	$(MAKE) test-browser BACKTRAIL_TEST_SCREENSHOT=$(CURDIR)/docs/images/flower.png

up: $(READY) ## worker, feeder and Flower for the database of the settings, with a broker if they name none, until Ctrl-C
	$(BIN)/backtrail up

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
