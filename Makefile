# Everything starts from a plain python3. `make chat` is the whole quick start; `make help` lists the rest.
PYTHON ?= python3
VENV ?= .venv
MODEL ?= seedling
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help chat install test lint types contracts format check clean

help: ## list these targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

chat: $(VENV)/.run ## talk with MODEL in the terminal (piped input: answers each line, then exits)
	@$(BIN)/sensorium chat --model $(MODEL)

install: $(VENV)/.dev ## the package and everything its tests need, in VENV

test: $(VENV)/.dev ## the tests, on two cores
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

lint: $(VENV)/.dev ## style, by ruff
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --quiet --check .

format: $(VENV)/.dev ## rewrite files in the house style
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format --quiet .

types: $(VENV)/.dev ## strict types, by mypy
	@$(BIN)/mypy --no-error-summary

contracts: $(VENV)/.dev ## nothing imports upward, by import-linter
	@$(BIN)/lint-imports

check: lint types contracts test ## all four

clean: ## remove what tools leave behind (never runs/ nor VENV)
	@rm -rf build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# Stamps: a second start installs nothing. Progress goes to stderr, so that a pipe reads answers only.
$(VENV)/bin/python:
	@echo "making $(VENV) ..." >&2
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing sensorium in $(VENV) (once) ..." >&2
	@$(PIP) --editable . >&2
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing sensorium and its test tools in $(VENV) (once) ..." >&2
	@$(PIP) --editable '.[test,world]' >&2
	@touch $@ $(VENV)/.run
