# One name per promise.  `make demo` and `make test` work on a fresh machine with Python 3.11.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Tests start some thousand processes of ours; not each of them needs to compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint types layers unit system coverage plain docs bench tox clean

$(READY): pyproject.toml setup.py
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed; try: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: $(READY) ## the main job for real: agent, dispatcher, calls, results
	$(BIN)/python etc/demo/demo.py

test: lint types layers ## everything that CI runs
	$(MAKE) --jobs=2 --output-sync=target coverage plain docs demo

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(READY)
	$(BIN)/mypy

layers: $(READY) ## who may import whom
	$(BIN)/lint-imports

unit: $(READY) ## the quick tests: no processes, no sockets
	$(BIN)/python -m pytest tests --ignore=tests/system

system: $(READY)
	$(BIN)/python -m pytest tests/system

# Being traced takes its time, and `plain` does them whole: a quarter of the examples will do.
coverage: $(READY) ## all tests under pytest, by branch; the floor is in pyproject.toml
	$(BIN)/coverage erase
	HYPOTHESIS_PROFILE=quarter $(BIN)/coverage run -m pytest --numprocesses=2 --dist=loadfile tests
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# Much of what they do is waiting for daemons: one process alone would be the last by far.
plain: $(READY) ## all tests under trial
	HYPOTHESIS_PROFILE=ci $(BIN)/python -m twisted.trial --reporter=text --jobs=2 tests

docs: $(READY)
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet -b html doc doc/_build/html
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet -b man doc doc/_build/man

tox: $(READY) ## other Pythons, the oldest and the newest dependencies; those that are here
	$(BIN)/tox run

bench: $(READY) ## what is fast and what isn't, beside what it is held against; five minutes
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) build dist *.egg-info doc/_build .tox _trial_temp* .coverage* .mypy_cache .ruff_cache .hypothesis
