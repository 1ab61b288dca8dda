# make help lists what there is. Nothing but python3 (3.10 or later, with venv) and make is needed.

PYTHON ?= python3
VENV ?= .venv

.DEFAULT_GOAL := help
.PHONY: help demo

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/demo ## a server that breaks its streams, an application, a live table [SECONDS=n]
	@$(VENV)/bin/python -m streamwatch.demo $(if $(filter command line,$(origin SECONDS)),--seconds $(SECONDS))

# Made again when the dependencies change; the stamp says that everything is there.
$(VENV)/demo: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	@touch $@
