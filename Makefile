# `make demo` and `make test` set everything up first: all they need is Python >= 3.11, for the versions in
# constraints.txt; the package itself runs on 3.10 too.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint format types docs bench clean

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

demo: $(VENV)/installed
	$(BIN)/wise-merge demo demo

test: $(VENV)/installed
	$(BIN)/python -m pytest

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/installed
	$(BIN)/mypy

docs: $(VENV)/installed
	$(BIN)/python docs/write_command_pages.py

bench: $(VENV)/installed
	$(BIN)/python benchmarks/estimators.py
	$(BIN)/python benchmarks/answers.py
	$(BIN)/python benchmarks/score.py
	$(BIN)/python benchmarks/startup.py

clean:
	rm -rf $(VENV) demo build dist
