# make demo   the main job on real data     make test      the tests
# make quick  the tests without sampling    make validate  the studies (up to an hour)
# JAXTYPING_DISABLE=0 make test  also checks types and shapes of arrays in the slow tests
# make docs   the site, in build/site       make notebooks opens the notebooks in a browser
# All create .venv first, if it is not there or pyproject.toml has changed.

PYTHON ?= $(shell for p in python3 python3.12 python3.13 python3.14 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && echo "$$p" && break; done)
BIN := .venv/bin
# Tests run in a process for each processor: with threads of their own, these would stand in each other's way. Where
# Python is asked not to write bytecode, each process would compile the package and its checks of types anew.
PYTEST := NPROC=1 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 XLA_FLAGS=--xla_cpu_multi_thread_eigen=false \
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses auto --dist worksteal

.PHONY: demo test quick check docs notebooks validate clean

demo: .venv/installed
	$(BIN)/bayeslmm demo --out demo-results

test: .venv/installed
	$(PYTEST)

quick: .venv/installed
	$(PYTEST) -m "not slow"

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

# Notebooks that were not run since the code changed, by the tests or before, are run now: four minutes.
docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet --config-file docs/mkdocs.yml
	@echo "the site is in build/site: open build/site/index.html"

notebooks: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[notebooks]'
	$(BIN)/jupyter lab notebooks

validate: .venv/installed
	$(BIN)/python validation/sbc.py
	$(BIN)/python validation/coverage.py
	$(BIN)/python validation/oracle_grid.py
	$(BIN)/python validation/estimator_errors.py

.venv/installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "bayeslmm needs Python 3.12 or newer, and none was found as python3, python3.12," \
		"python3.13, python3.14 or python: install it, or name it with 'make PYTHON=/path/to/python3.12 ...'" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 12))' || { echo "bayeslmm needs Python 3.12 or newer," \
		"but $(PYTHON) is $$("$(PYTHON)" --version 2>&1): name another with 'make PYTHON=...'" >&2; exit 1; }
	"$(PYTHON)" -m venv .venv || { echo "$(PYTHON) lacks the module venv: install it (Debian: python3-venv)" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean:
	rm -rf .venv .cache build dist *.egg-info demo-results
