# Every target works on a fresh clone: Python >= 3.11, make and a package index are all it needs.
# The tools live in .venv, made from requirements.lock and made again when that or pyproject.toml changes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
UV := uv==0.13.9

.DEFAULT_GOAL := help
.PHONY: help demo serve test clients lint format bench lock

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*## /make \1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: $(STAMP)  ## real purchases, fictional people, one consented export, a verified audit log
	$(BIN)/cdp demo

serve: $(STAMP)  ## API on 127.0.0.1:8000, REST docs at /schema, GraphQL at /graphql
	$(BIN)/cdp init
	$(BIN)/cdp serve

test: $(STAMP)  ## the test suite, in two processes; ARGS are pytest's (make test ARGS="-k consent -n 0")
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

clients:  ## the clients for Node and browsers that tests/clients runs (Node >= 20)
	cd tests/clients && npm ci --ignore-scripts --no-audit --no-fund

lint: $(STAMP)  ## style, format, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(STAMP)  ## put the code into the project's format
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

bench: $(STAMP)  ## the measurements of benchmarks/README.md
	$(BIN)/python -m benchmarks $(ARGS)

# One lock for every Python and platform we support, extras included; ARGS=--upgrade takes newer
# releases, without it only what pyproject.toml asks for changes. Lifetimes is data for the demo (its
# wheel carries the CDNOW purchases): installed without its dependencies, imported nowhere.
lock:  ## make requirements.lock again (ARGS=--upgrade for newer releases)
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet $(UV)
	cp requirements.lock build/lock/all.txt
	build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --all-extras $(ARGS) \
	  --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	  --output-file build/lock/all.txt pyproject.toml
	{ echo '# Made by `make lock`: the constraints of pip install -c, an exact version of everything.'; \
	  cat build/lock/all.txt; echo lifetimes==0.11.3; } > requirements.lock
	rm -rf build/lock

$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python >= 3.11 is needed; say which with make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[postgres,vault,aws,match,nats,spark,dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock --no-deps lifetimes
	@touch $@
