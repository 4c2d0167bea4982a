# One virtual environment at the root serves everything but MONAI Label, which wants older packages and has its own; the
# two commands of the README need nothing before them.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
LABEL := .venv-label/bin
LABEL_INSTALLED := .venv-label/installed
STUDIES ?= studies
PORT ?= 8000

.PHONY: demo test quick lint bench label test-label clean

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

label: $(LABEL_INSTALLED)  ## MONAI Label's server with all systems on 127.0.0.1: make label STUDIES=folder_of_nifti PORT=8000
	$(LABEL)/python label/serve.py --studies "$(STUDIES)" --port "$(PORT)"

test-label: $(LABEL_INSTALLED)  ## start that server and ask it for everything
	$(LABEL)/python label/test_server.py

clean:  ## forget the environments and what the demo made
	rm -rf .venv .venv-label demo

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check torch -c constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	touch $@

# MONAI Label asks for packages that are built from source; without isolation they find the torch that is there already.
$(LABEL_INSTALLED): label/requirements.txt label/constraints.txt
	$(PYTHON) -m venv .venv-label
	$(LABEL)/pip install --quiet --disable-pip-version-check torch setuptools -c label/constraints.txt
	SAM2_BUILD_CUDA=0 $(LABEL)/pip install --quiet --disable-pip-version-check --no-build-isolation \
		-r label/requirements.txt -c label/constraints.txt
	$(LABEL)/python label/mend_torchvision.py
	touch $@
