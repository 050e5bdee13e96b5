# make install, make demo, make test, make lint: each makes .venv and installs into it first, once.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: install demo test lint

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "graybench needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@# sbibm pins old versions of packages that its files, which are all we need, do without
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps sbibm==1.1.0
	@touch $@

demo: install
	$(BIN)/graybench run quick --out runs/quick
	$(BIN)/graybench compare runs/quick
	$(BIN)/graybench table runs/quick --metric score_error
	$(BIN)/graybench figures runs/quick
	@echo "Open this figure: $(CURDIR)/runs/quick/figures/score_error-galton-steps=600.png"

test: install
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 16 --dist worksteal

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	@# mypy finds the package by a link of its name to this folder
	mkdir -p build/mypy && ln -sfn ../.. build/mypy/graybench
	MYPYPATH=build/mypy $(BIN)/mypy
