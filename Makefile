# The project's commands. `make` alone lists them.
# State of the embedded parts is in .embedded, the environment in .venv; both are ignored by git.

VENV := .venv
PYTHON_CANDIDATES := python3 python3.13 python3.12 python3.11 python
BIN := $(VENV)/bin
EMBEDDED := $(BIN)/python -m include.embedded
WORKERS ?= 2
export UV_COMPILE_BYTECODE := 1

.DEFAULT_GOAL := help
.PHONY: help run serve setup env-vars status stop test test-unit bench lint format lock clean

help: ## list these commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: $(VENV)/.installed ## the whole job once, on embedded parts (CONF='{"model": {"C": 2}}' overrides values)
	@$(EMBEDDED) run

serve: $(VENV)/.installed ## keep everything up, with the web UIs (AIRFLOW_PORT, MLFLOW_PORT, STORE_PORT)
	@$(EMBEDDED) serve

setup: $(VENV)/.installed ## environment, databases, bucket, DVC: once, before working by hand
	@$(EMBEDDED) setup

env-vars: $(VENV)/.installed ## for a shell: eval "$$(make -s env-vars)"; starts the parts in the background
	@$(EMBEDDED) env

status: $(VENV)/.installed ## what runs
	@$(EMBEDDED) status

stop: $(VENV)/.installed ## end what runs in the background
	@$(EMBEDDED) stop

test: $(VENV)/.installed ## all tests (ARGS='-k name' for some; WORKERS=2 at a time; FULL=1: with 30 dates and 50 runs at once)
	@FULL=$(FULL) $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-unit: $(VENV)/.installed ## the tests that need no server
	@$(BIN)/python -m pytest tests/unit $(ARGS)

bench: $(VENV)/.installed ## measure beside plain DVC and a hand-written DAG (three quarters of an hour; ARGS='one_run look_up past_runs parsing backfill')
	@PYTHONPATH=.:plugins $(BIN)/python -m tests.bench $(ARGS)

lint: $(VENV)/.linters ## ruff, mypy, import-linter, yamllint
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && PYTHONPATH=.:plugins $(BIN)/lint-imports && $(BIN)/yamllint --strict .

format: $(VENV)/.linters ## let ruff format the code
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

lock: $(VENV)/.installed ## compile requirements*.in into requirements*.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --custom-compile-command 'make lock' $(UPGRADE) requirements.in -o requirements.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --custom-compile-command 'make lock' $(UPGRADE) requirements-dev.in -o requirements-dev.txt

clean: ## remove the environment and the state of the embedded parts
	@if [ -x $(BIN)/python ]; then $(EMBEDDED) stop; fi
	rm -rf $(VENV) .embedded build dvc_plots

# pip itself would take minutes to resolve and install all this; uv, inside the environment, takes seconds.
# Everything goes to stderr: stdout belongs to the command (`eval "$$(make -s env-vars)"`).
$(VENV)/.installed: requirements.txt
	@set -e; exec >&2; for candidate in $(PYTHON) $(PYTHON_CANDIDATES); do \
	  if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$candidate; break; fi; done; \
	  if [ -z "$$python" ]; then echo "error: no Python 3.11 or newer found; name one: make PYTHON=/path/to/python3 ..."; exit 1; fi; \
	  echo "Making the environment with $$($$python --version) ..."; \
	  $$python -m venv $(VENV) || { echo "error: $$python has no venv; install it (Debian: apt install python3-venv)"; exit 1; }; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep -E '^uv==' requirements.txt)"; \
	  $(BIN)/uv pip sync --quiet --python $(BIN)/python requirements.txt; \
	  touch $@

$(VENV)/.linters: $(VENV)/.installed requirements-dev.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.txt -r requirements-dev.txt && touch $@
