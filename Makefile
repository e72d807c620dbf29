# The four commands that a newcomer needs. Each sets itself up, in .venv.
#
# PYTHON names the interpreter to use; VENV the folder, so that several can stand side by side. PART
# names what `make bench` measures, such as http, or "http --full" for the whole of it; shortly all, in
# less than ten minutes, if it is not there.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# Stamps: the package is installed as its users have it; its development tools are, too.
INSTALLED = $(VENV)/installed
READY = $(VENV)/ready

.PHONY: demo test check lint bench docs clean

demo: $(INSTALLED)
	$(BIN)/asyncjobs demo

# With bytecode, also where none is to be written: what the tests start would compile it all anew,
# hundreds of times.
test: $(READY)
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest

check: lint test

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python -m bench $(PART)

docs: $(READY)
	$(BIN)/python docs/api.py

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(READY): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv .venv-* bench/peers/.envs .mypy_cache .pytest_cache .ruff_cache
