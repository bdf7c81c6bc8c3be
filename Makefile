# Every target sets up what it needs in .venv, once.  Needs only Python 3.11 or newer, and make.

VENV := .venv
PY := $(VENV)/bin/python

# A prompt is data: without `value`, make itself would run a $(shell ...) in it; recipes use it only as "$$PROMPT".
ifneq ($(value PROMPT),)
override PROMPT := $(value PROMPT)
endif
export PROMPT BROKER

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo serve test check lint bench simulate chaos clean

help: ## Show this
	@echo 'make demo               run the whole chain here and print the URL of its page (BROKER=embedded, local or docker)'
	@echo 'make serve PROMPT="…"   send one request through the running demo and print its journey'
	@echo 'make test               run every test; real Kafka where possible (ARGS="-k word" narrows)'
	@echo 'make check              lint, types and structure, then every test'
	@echo 'make lint               ruff, import-linter and mypy alone'
	@echo 'make bench              measure latency, throughput, memory and start, and write build/bench.json'
	@echo 'make simulate           compare the scheduling with baselines and a bound (TRAFFIC=file, SEED=n), and write build/simulate.json'
	@echo 'make chaos              kill, freeze and cut everything under load, check what is left, write build/chaos.json'
	@echo '                        (SEED=n repeats a schedule; REQUESTS, USERS and MINUTES set its size)'
	@echo 'make clean              remove what builds and tests leave (.venv and the data in .demo stay)'

demo: $(VENV)/.runtime
	@exec $(VENV)/bin/distillery demo

serve: $(VENV)/.runtime
	@test -n "$$PROMPT" || { echo 'make serve needs a prompt: make serve PROMPT="a lighthouse"' >&2; exit 2; }
	@exec $(VENV)/bin/distillery serve -- "$$PROMPT"

test: $(VENV)/.dev
	@$(PY) -m pytest $(ARGS)

check: lint test

lint: $(VENV)/.dev
	@echo 'ruff: rules'
	@$(VENV)/bin/ruff check --quiet .
	@echo 'ruff: format'
	@$(VENV)/bin/ruff format --quiet --check .
	@echo 'import-linter: layers'
	@$(VENV)/bin/lint-imports --no-logo
	@echo 'mypy: types'
	@$(PY) -m mypy

bench: $(VENV)/.dev
	@$(PY) -m tests.bench

simulate: $(VENV)/.dev
	@$(PY) -m tests.simulate $(ARGS)

chaos: $(VENV)/.dev
	@$(PY) -m tests.chaos

clean:
	@rm -rf build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache
	@find services tests -name __pycache__ -prune -exec rm -rf {} +

# Stamps, so that a set-up tree costs no time.  The development set includes the runtime's.
$(VENV)/.runtime: pyproject.toml | $(VENV)/.made
	@echo 'Installing what the chain needs into $(VENV) (once) ...'
	@$(PY) -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/.made
	@echo 'Installing what the chain and its tests need into $(VENV) (once) ...'
	@$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(VENV)/.runtime $@

$(VENV)/.made:
	@sh .ci/make-venv $(VENV)
	@touch $@
