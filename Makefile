# make run    the gateway on three folders, no Docker needed
# make test   all tests that can run on this machine, but what takes minutes
# make itest  the tests with real MinIO servers, with containers, and of broken rules
# make chaos  nodes and gateways killed under load (needs a minio binary)
# make bench  the gateway beside nginx, HAProxy and a node (needs a minio binary)
# make bench-failures  what it costs when nodes fail (needs a minio binary)
# make bench-placement  what placement costs on up to a thousand nodes, and how even it is
# make lint   ruff, mypy, and which way imports run
# make nodes  three MinIO servers on loopback, for trying things

.DEFAULT_GOAL := help
.PHONY: help run test itest chaos bench bench-failures bench-placement lint nodes

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PYTEST_ARGS ?= -m "not containers and not proof"
CHAOS_ARGS ?= --operations 5000 --kills 20

help:
	@sed -n 's/^# make/make/p' Makefile

$(VENV)/run: requirements.txt setup.cfg
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed (python3, or make PYTHON=...)"; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || { \
		echo "Python's venv module is needed (Debian: apt-get install python3-venv)"; exit 1; }
	$(BIN)/pip install -q --disable-pip-version-check -r requirements.txt
	$(BIN)/pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@

$(VENV)/develop: $(VENV)/run requirements-dev.txt
	$(BIN)/pip install -q --disable-pip-version-check -r requirements-dev.txt
	@touch $@

run: $(VENV)/run
	@DISCOVERY="$${DISCOVERY:-folders}" VENV=$(VENV) exec scripts/run

test: $(VENV)/develop
	@echo 'Left out is what takes minutes (containers, broken rules); "make itest" runs it.'
	PYTHONDEVMODE=1 $(BIN)/pytest $(PYTEST_ARGS)

itest: $(VENV)/develop
	PYTHONDEVMODE=1 REQUIRE_INTEGRATION=1 REQUIRE_CONTAINERS=1 $(BIN)/pytest -m "integration or containers or proof"

chaos: $(VENV)/develop
	$(BIN)/python -m tests.chaos --replicas 2 $(CHAOS_ARGS)
	$(BIN)/python -m tests.chaos --replicas 3 $(CHAOS_ARGS)

bench: $(VENV)/develop
	$(BIN)/python -m bench --json bench-result.json --svg bench-result.svg $(BENCH_ARGS)

bench-failures: $(VENV)/develop
	$(BIN)/python -m bench.failures $(BENCH_ARGS)

bench-placement: $(VENV)/develop
	$(BIN)/python -m bench.placement $(BENCH_ARGS)

lint: $(VENV)/develop
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	scripts/lint-imports $(abspath $(BIN)/lint-imports)

nodes:
	@exec scripts/nodes
