# The project's commands. `make` alone lists them.
# State of the embedded services is in .embedded, the environment in .venv; both are ignored by git.

VENV := .venv
PYTHON_CANDIDATES := python3 python3.13 python3.12 python3.11 python
BIN := $(VENV)/bin
EMBEDDED := $(BIN)/python -m include.services.embedded
PYTEST := $(BIN)/python -m pytest
# One more than two cores: tests wait for servers too.
WORKERS ?= 3
# One worker runs a file: its tests share a deployment, which is expensive to make.
PARALLEL := --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
# A Python that runs what needs nothing installed, and makes the environment.
FIND_PYTHON := for candidate in $(PYTHON) $(PYTHON_CANDIDATES); do \
	if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$candidate; break; fi; done; \
	if [ -z "$$python" ]; then echo "error: no Python 3.11 or newer found; name one: make PYTHON=/path/to/python3 ..." >&2; exit 1; fi
COMPOSE := docker compose --profile celery
export UV_COMPILE_BYTECODE := 1

.DEFAULT_GOAL := help
.PHONY: help run serve setup env-vars status stop env up down logs test test-unit test-slow test-stack wheel test-wheel bench lint format lock clean

help: ## list these commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: $(VENV)/.installed ## the whole job once, on embedded services (CONF='{"model": {"C": 2}}' overrides values)
	@$(EMBEDDED) run

serve: $(VENV)/.installed ## keep everything up, with the web UIs (AIRFLOW_PORT, MLFLOW_PORT, STORE_PORT)
	@$(EMBEDDED) serve

setup: $(VENV)/.installed ## environment, databases, bucket, DVC: once, before working by hand
	@$(EMBEDDED) setup

env-vars: $(VENV)/.installed ## the variables for working by hand (docs/working.md); starts the services in the background
	@$(EMBEDDED) env

status: $(VENV)/.installed ## what is running
	@$(EMBEDDED) status

stop: $(VENV)/.installed ## stop what runs in the background
	@$(EMBEDDED) stop

env: ## config/.env with new secrets for the stack in containers (AIRFLOW_PORT, MLFLOW_PORT, STORE_PORT, STORE_CONSOLE_PORT)
	@$(FIND_PYTHON); $$python -m include.services.stack.env_file

up: ## Airflow, MLflow, MinIO, PostgreSQL in containers (CELERY=1: several workers, CELERY_WORKERS of them)
	@$(FIND_PYTHON); $(if $(CELERY),COMPOSE_PROFILES=celery) $$python -m include.services.stack.up

down: ## stop the containers; the data stay (VOLUMES=1: they are removed too)
	@$(COMPOSE) down --remove-orphans $(if $(VOLUMES),--volumes)

logs: ## follow the logs of the containers (SERVICE=mlflow for one)
	@$(COMPOSE) logs --follow --tail 100 $(SERVICE)

test: $(VENV)/.installed ## all tests but the slow ones: ten to fifteen minutes on two cores (ARGS='-k name' for some; WORKERS=3 at a time)
	@$(PYTEST) $(PARALLEL) $(ARGS)

test-unit: $(VENV)/.installed ## the tests that need neither a server nor DVC's processes (ARGS='-k name' for some)
	@$(PYTEST) $(PARALLEL) tests/unit $(ARGS)

test-slow: $(VENV)/.linters ## the web UI, outages, bad disks, kills of every kind, many runs at once (MANY_RUNS=50 for more than 16): about twenty minutes
	@$(PYTEST) $(PARALLEL) tests/slow $(ARGS)

test-stack: $(VENV)/.linters ## the stack in containers, tested from outside in a browser of its own (ARGS='-k name' for some)
	@$(PYTEST) tests/stack $(ARGS)

wheel: $(VENV)/.installed ## the wheel and the source distribution of dvc_airflow, in build/dist
	@rm -rf build/dist && $(BIN)/uv build --quiet --offline --out-dir build/dist plugins && ls build/dist

test-wheel: $(VENV)/.installed ## the wheel in clean environments, with the oldest and the newest Airflow: two minutes each (ARGS='3.11 3.13 --airflow newest')
	@PYTHONPATH=.:plugins $(BIN)/python -m tests.wheel $(ARGS)

bench: $(VENV)/.installed ## compare with plain DVC and a hand-written DAG (about forty minutes; ARGS='one_run look_up gate past_runs parsing size streams warm_start peers backfill')
	@PYTHONPATH=.:plugins $(BIN)/python -m tests.bench $(ARGS)

lint: $(VENV)/.linters ## ruff, mypy, import-linter, yamllint, hadolint
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && PYTHONPATH=.:plugins $(BIN)/lint-imports && $(BIN)/yamllint --strict . && $(BIN)/hadolint Dockerfile

format: $(VENV)/.linters ## let ruff format the code
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

lock: $(VENV)/.installed ## compile requirements*.in into requirements*.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --custom-compile-command 'make lock' $(UPGRADE) requirements.in -o requirements.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --custom-compile-command 'make lock' $(UPGRADE) requirements-dev.in -o requirements-dev.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --custom-compile-command 'make lock' $(UPGRADE) tests/bench/peers_job/requirements.in -o tests/bench/peers_job/requirements.txt

clean: ## remove the environment and the state of the embedded services
	@if [ -x $(BIN)/python ]; then $(EMBEDDED) forget; fi
	rm -rf $(VENV) .embedded build dvc_plots

# pip itself would take minutes to resolve and install all this; uv, inside the environment, takes seconds.
# Everything goes to stderr: stdout belongs to the command (`eval "$$(make -s env-vars)"`).
$(VENV)/.installed: requirements.txt
	@set -e; exec >&2; $(FIND_PYTHON); \
	  begun=$$(date +%s); step() { echo "$$(($$(date +%s) - begun)) s: $$*"; }; \
	  step "making the environment in $(VENV) with $$($$python --version)"; \
	  $$python -m venv $(VENV) || { echo "error: $$python could not make $(VENV) (see above). If it has no venv, install that (Debian: apt install python3-venv)"; exit 1; }; \
	  step "installing uv, which installs the rest"; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep -E '^uv==' requirements.txt)"; \
	  step "installing and compiling $$(grep -cE '^[a-z0-9]' requirements.txt) packages: half a minute, and a minute or more to download them"; \
	  $(BIN)/uv pip sync --quiet --python $(BIN)/python requirements.txt; \
	  step "the environment is ready"; \
	  touch $@

$(VENV)/.linters: $(VENV)/.installed requirements-dev.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.txt -r requirements-dev.txt && touch $@
