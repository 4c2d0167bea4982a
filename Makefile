# One virtual environment at the root serves everything; the two commands of the README need nothing before them.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: demo test quick lint bench clean

demo: $(INSTALLED)  ## reconstruct a synthetic vessel tree from 2, 5 and 10 views into demo/
	$(BIN)/beyond2d demo --out demo

test: $(INSTALLED)  ## all tests
	$(BIN)/python -m pytest

quick: $(INSTALLED)  ## the tests without the slow ones
	$(BIN)/python -m pytest -m "not slow"

lint: $(INSTALLED)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(INSTALLED)  ## timings at full size; minutes, and up to 16 GiB of memory
	$(BIN)/python scripts/bench_projection.py
	$(BIN)/python scripts/bench_tiles.py
	$(BIN)/python scripts/bench_lean.py
	$(BIN)/python scripts/bench_segmentation.py --overlap 0.25

clean:  ## forget the environment and what the demo made
	rm -rf .venv demo

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check torch -c constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	touch $@
