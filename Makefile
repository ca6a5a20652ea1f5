# Everything runs from .venv, which is made from the hashed locks. `make help` lists the targets.
VENV := .venv
BIN := $(VENV)/bin
# The system's own Python goes first where it is new enough and whole: distributions build it with all optimizations, which version
# managers leave out, and then a call takes a seventh longer.
NEW := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell /usr/bin/python3 -c 'import ensurepip, venv; $(NEW)' 2>/dev/null && { echo /usr/bin/python3; exit; }; \
	for p in python3 python3.14 python3.13 python3.12 python3.11 python; do $$p -c '$(NEW)' 2>/dev/null && { echo $$p; break; }; done)
ARGS ?=
# Tests mostly wait, for timers and for processes: twice as many workers as cores keep the cores busy, up to eight.
WORKERS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN); [ $$n -gt 4 ] && echo 8 || expr 2 '*' $$n)
# What Python compiles for the tests is kept, beside the sources and not among them, whatever the shell's setting.
KEEP := PYTHONDONTWRITEBYTECODE= PYTHONPYCACHEPREFIX="$$PWD/.cache/bytecode"
UV_LOCK := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header \
	--no-emit-index-url --no-emit-find-links -p 3.11 pyproject.toml
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check
EDITABLE := $(PIP) --no-deps --no-build-isolation -e .

.PHONY: help demo test test-slow lint bench reference lock clean tools
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

demo: $(VENV)/.run ## everything on one machine, with toy servers (ARGS=--unattended: without you)
	@$(BIN)/broker demo $(ARGS)

test: tools ## the whole suite (ARGS=tests/house: a part of it)
	@export PATH="$$PWD/.cache/bin:$$PATH" $(KEEP); $(BIN)/pytest -n $(WORKERS) --dist worksteal -q $(ARGS) || { status=$$?; test $$status -eq 1 || exit $$status; \
		echo "what failed is run once more, alone: a busy machine is no fault of the code, failing twice is"; \
		$(BIN)/pytest -q --last-failed --last-failed-no-failures none $(ARGS); }

test-slow: tools ## the long chaos and load tests
	@PATH="$$PWD/.cache/bin:$$PATH" $(BIN)/pytest -q -m slow --timeout 1800 $(ARGS)

lint: $(VENV)/.dev ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(VENV)/.run ## what a call costs (ARGS="--json out.json", ARGS=--peers)
	@$(BIN)/broker bench $(ARGS)

reference: $(VENV)/.run ## write the README's tables of settings and commands, and the schemas of policy files
	@$(BIN)/python -m broker.cli.reference
	@for what in policy tests; do $(BIN)/broker policy schema $$what > policies/schema/$$what.schema.json; done

lock: $(VENV)/.dev ## pin what pyproject.toml names, with hashes (ARGS=--upgrade: the newest)
	@$(UV_LOCK) $(ARGS) --group build -o requirements.lock
	@$(UV_LOCK) $(ARGS) --group dev -c requirements.lock -o requirements-dev.lock

clean: ## remove what was made here: .venv, caches
	@rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# -- how .venv is made: once, and again when a lock changes --------------------------------------------------

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and was not found; name it: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) has no venv module; on Debian and Ubuntu: apt install python3-venv" >&2; exit 2; }
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo "installing requirements.lock"
	@$(PIP) --require-hashes -r requirements.lock
	@$(EDITABLE)
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.run
	@echo "installing requirements-dev.lock"
	@$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

tools: $(VENV)/.dev # what the tests drive beside Python: Chromium for the pages, npm for servers that we did not write
	@sh .ci/tools
