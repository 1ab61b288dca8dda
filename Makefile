# make help lists what there is. Nothing but python3 (3.10 or later, with venv) and make is needed.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test e2e e2e-servers coverage fuzz check bench dashboards preview format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/demo ## a server that breaks its streams, an application, a live table [SECONDS=n]
	@$(BIN)/python -m streamwatch.demo $(if $(filter command line,$(origin SECONDS)),--seconds $(SECONDS))

test: $(VENV)/dev ## unit tests, oracles, recordings, and the two known issues end to end
	$(BIN)/python -m pytest -n auto -m "not e2e"

e2e: $(VENV)/dev ## what takes servers, real environments and time: the demo, and distros side by side
	STREAMWATCH_E2E=1 $(BIN)/python -m pytest -m e2e --reruns 2 --timeout 1200

e2e-servers: $(VENV)/dev ## real servers of a tiny model, real proxies: 6 GB once [STREAMWATCH_E2E_SERVERS=all: vLLM, llama.cpp]
	STREAMWATCH_E2E=1 STREAMWATCH_E2E_SERVERS=$${STREAMWATCH_E2E_SERVERS:-1} \
	$(BIN)/python -m pytest -m e2e --timeout 7200 tests/test_servers.py

CORE := anomalies assistants bounds cases chat report responses sequence settings sse stream texts tool_calls

coverage: $(VENV)/dev ## every line and branch of the core, by tests that run the same each time
	$(BIN)/coverage run -m pytest -q -m "not e2e and not hypothesis" $(CORE:%=tests/test_%.py)
	$(BIN)/coverage report

fuzz: $(VENV)/dev ## broken streams without end: 100,000 of them, or as many as STREAMWATCH_FUZZ says
	STREAMWATCH_FUZZ=$${STREAMWATCH_FUZZ:-100000} $(BIN)/python -m pytest -n auto tests/test_fuzz.py

check: $(VENV)/dev ## ruff, mypy --strict, and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_package.py

bench: $(VENV)/bench ## CPU time of streams through the SDK, with and without Streamwatch: under a minute
	@rm -f $(VENV)/plain.json $(VENV)/watched.json
	$(BIN)/python benchmarks/streams.py --processes 2 --values 3 --warmups 1 --quiet -o $(VENV)/plain.json
	$(BIN)/python benchmarks/streams.py --processes 2 --values 3 --warmups 1 --quiet -o $(VENV)/watched.json --watched
	$(BIN)/python -m pyperf compare_to $(VENV)/plain.json $(VENV)/watched.json --table

dashboards: $(VENV)/dev ## write the Grafana dashboards, the Prometheus rules and the runbooks from the tables
	$(BIN)/python -m dashboards
	$(BIN)/python -m dashboards.rules

preview: $(VENV)/dev ## pictures of the dashboards over live data: needs prometheus, chromium and npm
	$(BIN)/python -m dashboards.preview

format: $(VENV)/dev ## let ruff format everything
	$(BIN)/ruff format .

clean: ## remove what was made here
	rm -rf $(VENV) .coverage mutants .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build

# Made again when the dependencies change; the stamp says that everything is there.
$(VENV)/demo: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --editable '.[demo]'
	@touch $@

# --group needs pip 25.1.
$(VENV)/dev: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade 'pip>=25.1'
	$(PIP) install --editable '.[demo]' --group dev
	@touch $@

$(VENV)/bench: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade 'pip>=25.1'
	$(PIP) install --editable '.[demo]' --group dev --group bench
	@touch $@
