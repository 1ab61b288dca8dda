# make help lists what there is. Nothing but python3 (3.10 or later, with venv) and make is needed.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

# With LOCKED=1, and wherever CI is set, what is installed is what the lock names, by hash.
LOCKED ?= $(CI)
LOCK := .ci/requirements.txt
DIST ?= dist
# Installs the checkout with the extra `demo`, and the groups that are named.
define install
	$(PYTHON) -m venv $(VENV)
	$(if $(LOCKED),\
	  $(PIP) install --require-hashes --requirement $(LOCK) && $(PIP) install --no-deps --no-build-isolation --editable .,\
	  $(PIP) install --upgrade 'pip>=25.1' && $(PIP) install --editable '.[demo]' $(foreach group,$(1),--group $(group)))
endef

# Tests start hundreds of processes: without bytecode each one would compile the package, and each run all tests.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test test-all e2e e2e-servers releases coverage fuzz harm check bench dashboards preview docs wheel sbom lock format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/demo ## a server that breaks its streams, an application, a live table [SECONDS=n]
	@$(BIN)/python -m streamwatch.demo $(if $(filter command line,$(origin SECONDS)),--seconds $(SECONDS))

test: $(VENV)/dev ## the unit tests in a minute: fewer examples, nothing slow
	$(BIN)/python -m pytest -n auto -m "not e2e" --quick

test-all: $(VENV)/dev ## all but e2e, with every example: oracles, recordings, and both known issues end to end
	$(BIN)/python -m pytest -n auto -m "not e2e"

e2e: $(VENV)/dev ## what takes servers, real environments and time: the demo, and distros side by side
	STREAMWATCH_E2E=1 $(BIN)/python -m pytest -m e2e --reruns 2 --timeout 1200

e2e-servers: $(VENV)/dev ## real servers of a tiny model, real proxies: 6 GB once [STREAMWATCH_E2E_SERVERS=all: vLLM, llama.cpp]
	STREAMWATCH_E2E=1 STREAMWATCH_E2E_SERVERS=$${STREAMWATCH_E2E_SERVERS:-1} \
	$(BIN)/python -m pytest -m e2e --timeout 7200 tests/promises/test_servers.py

releases: $(VENV)/matrix ## the ends of every line of releases of the SDK, each in an environment of its own; and the table of what came of it
	$(BIN)/nox -t core

coverage: $(VENV)/dev ## every line and branch of the core, by tests that run the same each time
	$(BIN)/coverage run -m pytest -q -m "not e2e and not hypothesis" tests/core tests/promises/test_recordings.py
	$(BIN)/coverage report

fuzz: $(VENV)/dev ## broken streams without end: 100,000 of them, or as many as STREAMWATCH_FUZZ says
	STREAMWATCH_FUZZ=$${STREAMWATCH_FUZZ:-100000} $(BIN)/python -m pytest -n auto tests/promises/test_fuzz.py

harm: $(VENV)/dev ## streams x changes x readers: who reads otherwise than on the plain SDK [COUNT=n] [SEED=n] [MINUTES=n]
	$(BIN)/python -W ignore -m tests.harm --jobs 2 --count $(or $(COUNT),100000) --seed $(or $(SEED),1) --minutes $(or $(MINUTES),inf)

check: $(VENV)/dev ## codespell, ruff, mypy --strict, the direction of imports, the language, and names of others
	$(BIN)/codespell
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy tools
	MYPYPATH=benchmarks $(BIN)/mypy benchmarks
	$(BIN)/python -m pytest -q tests/project/test_package.py tests/project/test_language.py tests/sdk/test_upstream.py \
	  tests/promises/test_platforms.py -k "not platforms or asked or where_they_may_fail"

bench: $(VENV)/bench ## CPU time of streams beside the plain SDK's, and what of a chunk's time goes where: about a minute
	$(BIN)/python benchmarks/streams.py --pairs 3
	$(BIN)/python benchmarks/budget.py --rounds 3

dashboards: $(VENV)/dev ## write the Grafana dashboards, the Prometheus rules and the runbooks from the tables
	$(BIN)/python -m dashboards
	$(BIN)/python -m dashboards.rules

docs: $(VENV)/docs ## the reference pages, and the site in build/site: a broken link or a page left out fails
	$(BIN)/python -m docs.site
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -E -c docs/site -d build/site-trees . build/site
	@echo "build/site/index.html"

wheel: $(VENV)/dev ## wheel and sdist in dist/, looked through; the unit tests against the installed wheel [TESTS=...]
	rm -rf $(DIST)
	$(BIN)/python -m build --no-isolation --outdir $(DIST) .
	$(BIN)/python -m twine check --strict $(DIST)/*
	STREAMWATCH_E2E=1 $(BIN)/python -m pytest -q tests/project/test_wheel.py
	$(BIN)/python tests/helpers/installed.py $(DIST)/*.whl $(TESTS)

sbom: $(VENV)/dev ## what comes with the wheel and what the image holds, with licenses, as CycloneDX in dist/
	rm -rf $(VENV)/built
	$(PIP) wheel --no-deps --no-build-isolation --wheel-dir $(VENV)/built .
	@sed "s/^dynamic = .*/version = \"$$($(BIN)/python -c 'import streamwatch; print(streamwatch.__version__)')\"/" \
	  pyproject.toml > $(VENV)/built/pyproject.toml
	$(call bom,wheel,library,.ci/runtime.txt)
	$(call bom,image,application,deploy/kubernetes/requirements.txt)

# An environment with what a lock names and the checkout, as a bill of materials.
define bom
	rm -rf $(VENV)/$(1) && $(PYTHON) -m venv --without-pip $(VENV)/$(1) && mkdir -p $(DIST)
	$(PIP) --python $(VENV)/$(1) install --require-hashes --requirement $(3)
	$(PIP) --python $(VENV)/$(1) install --no-deps $(VENV)/built/*.whl
	$(BIN)/cyclonedx-py environment --pyproject $(VENV)/built/pyproject.toml --mc-type $(2) --output-reproducible \
	  --output-file $(DIST)/$(1).cdx.json $(VENV)/$(1)/bin/python
endef

lock: $(VENV)/dev ## renew the locks: the newest releases of everything that CI, the wheel and the image use, by hash
	$(PIP) install --upgrade uv
	$(UV) --extra demo --group dev --group package --group docs --output-file $(LOCK)
	$(UV) --output-file .ci/runtime.txt
	$(UV) $(WITHOUT_COMMANDS) --output-file deploy/kubernetes/requirements.txt

UV = $(BIN)/uv pip compile pyproject.toml --upgrade --universal --python-version 3.10 --generate-hashes --no-annotate --quiet \
  --custom-compile-command 'make lock'
# What only the command line needs stays out of the image: what lies there comes before the application's own packages.
WITHOUT_COMMANDS = $(foreach name,click markdown-it-py mdurl pygments rich,--no-emit-package $(name))

platforms: $(VENV)/dev ## types as they are on Windows and on macOS
	$(foreach platform,win32 darwin,$(BIN)/mypy --platform $(platform) --cache-dir .mypy_cache/$(platform) -p streamwatch &&) true

workflows: $(VENV)/dev ## actionlint (which takes go) and zizmor over the workflows
	@command -v go > /dev/null || { echo "go is not installed: actionlint is built with it" >&2; exit 1; }
	$$(tests/apps/build_module.sh $(ACTIONLINT) ./cmd/actionlint)
	$(BIN)/zizmor --offline --pedantic .github

ACTIONLINT := github.com/rhysd/actionlint v1.7.12

hooks: $(VENV)/hooks ## what runs before a commit, over all files
	$(BIN)/pre-commit run --all-files

audit: $(VENV)/audit ## whether a release that the locks name has a known vulnerability
	$(foreach lock,$(LOCK) .ci/runtime.txt deploy/kubernetes/requirements.txt,\
	  $(BIN)/pip-audit --strict --disable-pip --require-hashes --requirement $(lock) &&) true

release-of-sdk: $(VENV)/matrix ## the tests with one release of the SDK [OPENAI=1.23.0]
	$(BIN)/nox -s 'sdk($(or $(OPENAI),newest))'

canary: $(VENV)/matrix ## the tests with the newest release of the SDK, and the newest pre-release
	$(BIN)/nox -s 'sdk(newest)' 'sdk(pre-release)'

matrix: $(VENV)/matrix ## every release of the SDK, every Python, both generations of pydantic; hours
	$(BIN)/nox

neighbours: ## beside every other instrumentation of the OpenAI client: a quarter of an hour
	$(PYTHON) tests/neighbours/run.py

release: $(VENV)/dev ## cut a release: changelog, version, checks, build, tag; nothing leaves the machine [VERSION=x]
	@$(BIN)/python tools/release.py cut '$(or $(VERSION),$(error Say which: make release VERSION=1.2.3))'

verify-release: ## whether a tag is what the checkout says [TAG=v1.2.3] [REPOSITORY=https://...]
	@$(PYTHON) tools/release.py verify '$(TAG)' $(if $(REPOSITORY),--repository '$(REPOSITORY)')

release-notes: ## what a release changes, out of the changelog, in build/release-notes.md [VERSION=x]
	@mkdir -p build
	$(PYTHON) tools/release.py notes $(VERSION) > build/release-notes.md

.PHONY: platforms workflows hooks audit release-of-sdk canary matrix neighbours release verify-release release-notes

preview: $(VENV)/dev ## pictures of the dashboards over live data: needs prometheus, chromium and npm
	$(BIN)/python -m dashboards.preview

format: $(VENV)/dev ## let ruff format everything
	$(BIN)/ruff format .

clean: ## remove what was made here
	rm -rf $(VENV) .coverage mutants .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build

# Made again when the dependencies change; the stamp says that everything is there.
$(VENV)/demo: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(subst --quiet,,$(PIP)) install --editable '.[demo]'
	@touch $@

# --group needs pip 25.1.
$(VENV)/dev: pyproject.toml $(LOCK)
	$(call install,dev package)
	@touch $@

$(VENV)/docs: pyproject.toml $(LOCK)
	$(call install,dev package docs)
	@touch $@

$(VENV)/matrix: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade 'pip>=25.1'
	$(PIP) install --group matrix
	@touch $@

# Each in an environment of its own: what they bring is no part of the lock.
$(VENV)/hooks $(VENV)/audit: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade 'pip>=25.1'
	$(PIP) install --group $(@F)
	@touch $@

$(VENV)/bench: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade 'pip>=25.1'
	$(PIP) install --editable '.[demo]' --group dev --group bench
	@touch $@
