# Everything starts here: `make demo` and `make test` need nothing but python3 (with venv) and git.
.DEFAULT_GOAL := help
SHELL := /bin/bash
UV := .tools/uv/bin/uv
PY := .venv/bin/python
export UV_PROJECT_ENVIRONMENT := .venv
export UV_CACHE_DIR ?= $(CURDIR)/.cache/uv
export UV_SYSTEM_CERTS ?= 1

help:            ## what can be done here
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 12

$(UV):
	@echo "setting up: uv, in .tools" >&2
	@python3 -m venv .tools/uv || { echo "hint: python3 needs its venv module, for example: sudo apt-get install python3-venv" >&2; exit 1; }
	@.tools/uv/bin/pip install -qq --no-cache-dir --disable-pip-version-check uv

.venv/.done: requirements.lock pyproject.toml | $(UV)
	@echo "setting up: the locked dependencies, in .venv (about a minute, once)" >&2
	@test -x $(PY) || $(UV) venv --quiet --python "$$(command -v python3)" .venv
	@$(UV) pip sync --quiet --python $(PY) --require-hashes requirements.lock
	@$(UV) pip install --quiet --python $(PY) --no-deps --no-build-isolation -e .
	@touch $@

setup: .venv/.done ## install the locked dependencies into .venv

demo: setup      ## rename across a copy of this repository: plan, gates, tests, report, then back to the middle
	@bash scripts/demo.sh

test: setup      ## all tests; a part of them: make test ARGS="tests/unit -k plan"
	@bash scripts/need.sh
	@$(PY) -m pytest -n 2 --dist worksteal $(ARGS)

simulate: setup  ## the whole system under one virtual clock, seed by seed: make simulate SEEDS=1000 FIRST=1 TRACE=
	@$(PY) -m cavalcade.testing.simulate --seeds $(or $(SEEDS),1000) --first $(or $(FIRST),1) $(if $(TRACE),--trace) $(ARGS)

soak: setup      ## ten minutes of processes killed while they write to one ledger (longer: ARGS="--minutes 60"), 1,000 stops, 100,000 simulated seeds
	@$(PY) tests/faults/ledger_soak.py $(ARGS)
	@$(PY) tests/faults/stop_soak.py
	@$(PY) -m cavalcade.testing.simulate --seeds $(or $(SEEDS),100000) --first $(or $(FIRST),1)

check: setup     ## format, lint, types, contracts
	@.venv/bin/ruff format --check src tests bench scripts
	@.venv/bin/ruff check src tests bench scripts
	@.venv/bin/lint-imports --no-cache
	@.venv/bin/pyright --warnings

format: setup    ## format and mend what can be mended
	@.venv/bin/ruff format src tests bench scripts
	@.venv/bin/ruff check --fix src tests bench scripts

.cache/bench/.done: bench/peers/requirements.lock | $(UV)
	@echo "setting up: the peers to compare with, in .cache/bench" >&2
	@mkdir -p .cache/bench
	@test -x .cache/bench/venv/bin/python || $(UV) venv --quiet --python "$$(command -v python3)" .cache/bench/venv
	@$(UV) pip sync --quiet --python .cache/bench/venv/bin/python --require-hashes bench/peers/requirements.lock
	@touch $@

bench: setup .cache/bench/.done ## ratios against peers and limits, one table
	@bash scripts/need.sh
	@$(PY) -m bench $(ARGS)

lock: | $(UV)    ## resolve the dependencies again
	@$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --no-annotate --group dev --all-extras --output-file requirements.lock pyproject.toml
	@$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --no-annotate --output-file bench/peers/requirements.lock bench/peers/requirements.in

reference: setup ## write docs/cli.md again from the command tree
	@$(PY) scripts/cli_reference.py > docs/cli.md

.PHONY: help setup demo test simulate soak check format bench lock reference
