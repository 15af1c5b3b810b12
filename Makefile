# Two commands set up everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3.11
# cpu or gpu: which ONNX Runtime the server is installed with.
DEVICE ?= cpu

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c .ci/constraints.txt
CLIENT := -e "client[tiff]"
SERVER := -e "server[$(DEVICE),demo]"
PYPROJECTS := client/pyproject.toml models/pyproject.toml server/pyproject.toml .ci/constraints.txt

.PHONY: demo dev test lint bench clean

demo: $(VENV)/.installed  ## Stream the sample movie through a real server; results in demo/
	$(BIN)/dimstream-server demo --bundle models/bundles/er-sted-light --out demo

test: dev lint  ## Lint, then every test
	$(BIN)/pytest

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed
	$(BIN)/dimstream-server bench --bundle models/bundles/er-sted-light --out bench

dev: $(VENV)/.installed-dev  ## Everything, the training package (torch) included

clean:
	rm -rf $(VENV) demo bench

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python $(PYPROJECTS)
	@echo "Installing dimstream into $(VENV) (once, about a minute) ..."
	$(PIP) $(CLIENT) -e models $(SERVER)
	@touch $@

$(VENV)/.installed-dev: $(VENV)/bin/python $(PYPROJECTS) .ci/dev-requirements.txt
	@echo "Installing dimstream with its training package and the test tools into $(VENV) (once, some minutes) ..."
	$(PIP) $(CLIENT) -e "models[train]" $(SERVER) -r .ci/dev-requirements.txt
	@touch $(VENV)/.installed $@
