# Every target first makes .venv and installs what is missing; a second run installs nothing.
#
#   make demo    a handwritten-digit network through the whole chain, and one screen of results
#   make test    linter, type checker and tests
#   make lint    linter and type checker alone
#   make types   type checker alone
#   make coverage    the tests, and which lines of the packages they run: once a release
#   make bench   measures the tables of README.md and docs again, in two hours or so (needs the MNIST
#                files: TTFS_DATA)
#   make experiments    reruns the published claims on digits and writes docs/experiments
#   make clean   forgets results and caches; "make distclean" forgets .venv too

PYTHON ?= python3
VENV ?= .venv
# Worker processes of the tests; -n 0 runs them in one process, as a debugger wants it.
JOBS ?= 2
TESTS ?= tests

bin := $(VENV)/bin
installed := $(VENV)/.installed

.DEFAULT_GOAL := demo
.PHONY: demo test lint types coverage bench experiments install clean distclean

demo: $(installed)
	$(bin)/ttfs demo

# One thread a worker: torch's own threads would fight over the same cores.
test: lint
	OMP_NUM_THREADS=1 $(bin)/python -m pytest -n $(JOBS) --dist loadgroup $(TESTS)

lint: types
	$(bin)/ruff check .

# A type checker looks for packages in folders of their names, and knows nothing of the names under
# which an editable installation has them: it is shown links.
types: $(installed)
	mkdir -p $(VENV)/names/ttfs_fpga
	for name in hdl sim boards; do ln -sfn $(CURDIR)/$$name $(VENV)/names/ttfs_fpga/$$name; done
	MYPYPATH=$(VENV)/names $(bin)/mypy

# Slower than the tests alone. What runs in a process of its own (a verb, a script under test) is
# counted too.
coverage: $(installed)
	OMP_NUM_THREADS=1 $(bin)/python -m pytest -n $(JOBS) --dist loadgroup --cov --cov-report=term $(TESTS)

bench: $(installed)
	$(bin)/python benchmarks/table.py --write
	$(bin)/python benchmarks/table.py core --write
	$(bin)/python benchmarks/datapaths.py --write
	$(bin)/python benchmarks/layers.py --write
	$(bin)/python benchmarks/table.py training --write

experiments: $(installed)
	for name in $$($(bin)/python -c 'from ttfs_sw.research.experiments import *; print(*EXPERIMENTS)'); do \
	  $(bin)/ttfs experiment $$name -o docs/experiments || exit; done

install: $(installed)

# torch first and alone: resolved together with the rest, pip may prefer a build with gigabytes of
# CUDA libraries where a CPU build can be had.
$(installed): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: Python 3.11 or newer is needed; say which with: make PYTHON=python3.11" >&2; exit 3; }
	test -x $(bin)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV): a few minutes the first time"
	$(bin)/python -m pip install -qq "$$(grep '^torch==' constraints.txt)"
	$(bin)/python -m pip install -qq -c constraints.txt -e '.[build,sim,host,dev]'
	touch $@

clean:
	rm -rf runs demo build .pytest_cache .ruff_cache .hypothesis .coverage

distclean: clean
	rm -rf $(VENV) *.egg-info
