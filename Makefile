# Every target sets up what it needs: `make demo` on a fresh Linux machine needs Python >= 3.10 and make.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
VIDEOS ?=
JOBS   ?= 2

.PHONY: help setup demo test lint format bench kills clean

help:
	@echo "make demo [VIDEOS=folder]  index a folder of clips (its own, or yours) and search it"
	@echo "make setup                 make $(VENV) and build"
	@echo "make test                  the whole test suite"
	@echo "make lint                  formatting, lint and types; 'make format' repairs"
	@echo "make bench                 indexing against the published loader's way"
	@echo "make kills                 the long campaign: 200 kills of an indexing run"

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --upgrade pip
	$(BIN)/pip install -q -c constraints.txt torch
	$(BIN)/pip install -q -c constraints.txt -e '.[cpu,export,serve,plot,dev]'
	$(BIN)/pip install -q --no-deps clip-anytorch==2.6.0
	touch $@

demo: setup
	$(BIN)/vtr demo $(if $(VIDEOS),--videos $(VIDEOS))

test: setup
	$(BIN)/pytest -n $(JOBS) --dist loadscope

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup
	$(BIN)/python -m benchmarks.indexing $(if $(VIDEOS),--videos $(VIDEOS))

kills: setup
	VTR_KILLS=200 $(BIN)/pytest tests -k kill

clean:
	rm -rf $(VENV) build dist demo
