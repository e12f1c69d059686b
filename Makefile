# Two commands matter: `make demo` and `make test`. Both install what is missing and reuse what did not change.
VENV := .venv
PY := $(VENV)/bin/python

.PHONY: help demo test lint setup clean
.DEFAULT_GOAL := help

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup ## Build everything, flash an emulated Pico, push the signed pack, call kern.rope, compare with Wasmtime
	$(PY) tools/demo.py

test: setup ## Build what the tests need and run them (TESTS="-k name" narrows)
	$(PY) -m pytest $(TESTS)

lint: setup ## Type-check and lint the Python code
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

setup: $(VENV)/.ready ## Install system packages, make .venv with `host` in it, fetch third-party parts
	@$(PY) tools/fetch.py --quiet

$(VENV)/.ready: pyproject.toml tools/parts.toml tools/setup.sh
	@tools/setup.sh
	@test -x $(PY) || python3 -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

clean: ## Remove .venv and build (the cache of third-party parts stays)
	rm -rf $(VENV) build
