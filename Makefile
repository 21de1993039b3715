# Every target sets up what it needs: `make demo` on a fresh Linux machine needs Python >= 3.10, a C++20 compiler
# and make. CMake and Ninja come from PyPI.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
VIDEOS ?=
JOBS   ?= 2
FUZZ   ?= 600

export PATH := $(abspath $(BIN)):$(PATH)

# What the Python binding is built from, and all C and C++ there is.
CORE := CMakeLists.txt $(shell find engine python/core -type f)
CPP  := $(shell find engine python/core tests/engine examples -name '*.[ch]' -o -name '*.[ch]pp')
comma := ,

.PHONY: help setup demo test engine-test sanitize fuzz pictures lint format bench kills gpu-proof kernels clean

help:
	@echo "make demo [VIDEOS=folder]  index a folder of clips (its own, or yours) and search it"
	@echo "make setup                 make $(VENV) and build"
	@echo "make test                  the whole Python test suite"
	@echo "make engine-test           the tests of the C++ core"
	@echo "make sanitize              the same under the address, undefined-behaviour and thread sanitizers"
	@echo "make lint                  formatting, lint and types; 'make format' repairs"
	@echo "make bench [VIDEOS=folder] every claim measured beside what else there is (vtr-bench)"
	@echo "make gpu-proof             on a machine with an NVIDIA GPU: check and time what runs on it"
	@echo "make kernels               compile every shipped kernel for every architecture (needs no GPU)"
	@echo "make kills                 the long campaign: 200 kills of an indexing run"
	@echo "make pictures              fetch the pictures that training clips are made of (needs npm)"
	@echo "make fuzz [FUZZ=600]       the long campaign: frozen banks, damaged in every way, for so many seconds"

setup: $(VENV)/.ready

# What builds: enough for the C++ core alone.
$(VENV)/.tools: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --upgrade pip
	$(BIN)/pip install -q -c constraints.txt cmake ninja scikit-build-core nanobind
	touch $@

$(VENV)/.ready: $(VENV)/.tools pyproject.toml $(CORE)
	$(BIN)/pip install -q -c constraints.txt torch
	$(BIN)/pip install -q -c constraints.txt --no-build-isolation -C build-dir=build/python \
	    -e '.[cpu,export,serve,plot,dev]'
	$(BIN)/pip install -q --no-deps clip-anytorch==2.6.0
	touch $@

demo: setup
	$(BIN)/vtr demo $(if $(VIDEOS),--videos $(VIDEOS))

# Compilers and a decoder for NVIDIA GPUs that can be tested without one.
$(VENV)/.gpu: $(VENV)/.ready constraints.txt
	$(BIN)/pip install -q -c constraints.txt triton tensorrt-rtx-cu13 nvidia-dali-cuda130
	touch $@

test: setup $(VENV)/.gpu
	$(BIN)/pytest -n $(JOBS) --dist loadscope

# $(call build,FOLDER,OPTIONS) builds the core, its tests and its example in build/FOLDER; $(call ctest,FOLDER) runs
# the tests.
build = cmake -S . -B build/$(1) -G Ninja -DVTR_TESTS=ON -DVTR_EXAMPLES=ON $(2) && cmake --build build/$(1) -j $(JOBS)
ctest = ctest --test-dir build/$(1) --output-on-failure -j $(JOBS)
# Instrumenting what -O3 makes of the kernels takes the compiler four times as long.
build-address = $(call build,address,-DVTR_SANITIZE=address$(comma)undefined -DCMAKE_CXX_FLAGS_RELEASE=-O1)

engine-test: $(VENV)/.tools
	$(call build,engine)
	$(call ctest,engine)

sanitize: $(VENV)/.tools
	$(build-address)
	$(call ctest,address)
	$(call build,thread,-DVTR_SANITIZE=thread)
	$(call ctest,thread)

pictures: setup
	$(BIN)/pip install -q -c constraints.txt -e '.[training]' --no-build-isolation -C build-dir=build/python
	$(BIN)/python -m vtr.training.fetch

fuzz: $(VENV)/.tools
	$(build-address)
	build/address/tests/engine/fuzz_frozen --seconds $(FUZZ)

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	@$(BIN)/clang-format --dry-run -Werror $(CPP)

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/clang-format -i $(CPP)

bench: setup
	$(BIN)/vtr-bench $(if $(VIDEOS),--videos $(VIDEOS))

kernels: setup $(VENV)/.gpu
	VTR_KERNELS=all $(BIN)/pytest tests/kernels/test_aot.py

# No setup: it runs with the Python and the packages that the machine has.
gpu-proof:
	$(or $(wildcard $(BIN)/python),$(PYTHON)) -m benchmarks.gpu

kills: setup
	VTR_KILLS=200 $(BIN)/pytest tests -k kill

clean:
	rm -rf $(VENV) build dist demo
