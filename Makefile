# Every target works from a fresh clone: the environment is made when it is missing, and made again when
# pyproject.toml or constraints.txt change.

PYTHON ?= python3
VENV   ?= .venv
BENCH  ?= $(basename $(notdir $(sort $(filter-out benchmarks/harness.py benchmarks/merge_alone.py,$(wildcard benchmarks/*.py)))))

# Files of tests side by side, at most four: each process loads torch anew, and keeps to one thread (tests/conftest.py).
SIDE_BY_SIDE ?= -n auto --maxprocesses 4 --dist loadfile

bin   := $(VENV)/bin
ready := $(VENV)/.ready

.PHONY: help quickstart test test-slow lint types bench check docs

help:  ## What can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

quickstart: $(ready)  ## Train a small model on made-up data in two ways, and compare them
	$(bin)/curricle run recipes/quickstart.yaml

test: $(ready)  ## The fast tests; no network, no accelerator
	$(bin)/python -m pytest $(SIDE_BY_SIDE)

test-slow: $(ready)  ## Kills, ranks and whole runs
	$(bin)/python -m pytest -m slow

lint: $(ready)  ## Style and formatting
	$(bin)/ruff check .
	$(bin)/ruff format --check .

types: $(ready)  ## Type hints
	$(bin)/mypy

check: lint types test  ## Everything that a change must pass

bench: $(ready)  ## Measure against peers; BENCH=sft for one
	@set -e; for name in $(BENCH); do $(bin)/python benchmarks/$$name.py; done

docs: $(ready)  ## Write the generated pages again
	$(bin)/python -m curricle.cli.reference
	$(bin)/python -m curricle.experiments.pages

# torch goes first, so that the build pip is set up to prefer (a CPU one, say) is there before anything asks for it.
$(ready): pyproject.toml constraints.txt
	test -x $(bin)/python || $(PYTHON) -m venv $(VENV)
	$(bin)/pip install --quiet torch --constraint constraints.txt
	$(bin)/pip install --quiet --editable '.[dev]' --constraint constraints.txt
	@touch $@
