# make run       the gateway on three folders, no Docker needed
# make test      everyday's tests: all that need nothing but Python, in three minutes
# make itest     all other tests: real servers, containers, what takes long, broken rules
# make e2etests  files go through a running gateway (GATEWAY_URL) and come back
# make lint      ruff, mypy, and which way imports run
# make format    the code as ruff has it
# make tools     what developers need: an environment for tests, lint and benchmarks
# make generate  what is made from other files: the API page, settings, the changelog
# make lock      the hashes of what the image installs (after a version has changed)
# make bench     the gateway beside nginx, HAProxy and a node (needs a minio binary)
# make chaos     nodes and gateways killed under load (needs a minio binary)
# make nodes     three MinIO servers on loopback, for trying things

.DEFAULT_GOAL := help
.PHONY: help run test itest itest-thorough itest-real itest-containers itest-proof \
	itest-pythons e2etests lint format tools generate lock bench bench-failures bench-placement chaos nodes

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PYTHONS ?= $(shell for p in python3.12 python3.13; do \
	$$p -c '' 2>/dev/null && echo $$p; done)
PYTEST := PYTHONDEVMODE=1 $(BIN)/pytest
EVERYDAY := not integration and not containers and not slow and not proof
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
	@VENV=$(VENV) exec sh scripts/run

# On every core; a module's tests share what it starts, so they stay together.
test: $(VENV)/develop
	@echo "Everyday's tests: what needs nothing but Python, and takes no minutes."
	@$(PYTEST) -n auto --dist loadscope -m "$(EVERYDAY)" $(PYTEST_ARGS)

itest: itest-thorough itest-real itest-containers itest-proof

itest-thorough: $(VENV)/develop
	@echo "What takes long for good: all faults at all places, races, many made up inputs."
	@$(PYTEST) -n auto --dist loadscope --hypothesis-profile thorough \
		-m "(slow or hypothesis) and not (integration or containers or proof)"

itest-real: $(VENV)/develop
	@echo "Real servers: MinIO, versitygw, Consul and Prometheus, killed and frozen."
	@REQUIRE_INTEGRATION=1 $(PYTEST) -n auto --dist loadscope -m integration

itest-containers: $(VENV)/develop
	@echo "Containers: the product as compose starts it."
	@REQUIRE_CONTAINERS=1 $(PYTEST) -m containers

itest-proof: $(VENV)/develop
	@echo "Broken rules: each rule is broken on purpose, and the promise has to notice."
	@$(PYTEST) -n auto -m proof

# Everyday's tests under other versions of Python, each in an environment of its own.
itest-pythons:
	@for python in $(PYTHONS); do \
		version=`$$python -c 'import sys; print("%d.%d" % sys.version_info[:2])'` && \
		echo "Python $$version:" && \
		$(MAKE) test PYTHON=$$python VENV=$(VENV)/python-$$version || exit 1; done

e2etests:
	@exec bash scripts/e2etests

chaos: $(VENV)/develop
	$(BIN)/python -m tests.chaos --replicas 2 $(CHAOS_ARGS)
	$(BIN)/python -m tests.chaos --replicas 3 $(CHAOS_ARGS)

bench: $(VENV)/develop
	$(BIN)/python -m bench --json bench-result.json --svg bench-result.svg $(BENCH_ARGS)

# What it costs when nodes fail.
bench-failures: $(VENV)/develop
	$(BIN)/python -m bench.failures $(BENCH_ARGS)

# What placement costs on up to a thousand nodes, and how even it is.
bench-placement: $(VENV)/develop
	$(BIN)/python -m bench.placement $(BENCH_ARGS)

lint: $(VENV)/develop
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	sh scripts/lint-imports $(abspath $(BIN)/lint-imports)

format: $(VENV)/develop
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

tools: $(VENV)/develop

generate: $(VENV)/develop
	$(BIN)/python -m generate

lock:
	@PYTHON=$(PYTHON) exec sh scripts/lock

nodes:
	@exec sh scripts/nodes
