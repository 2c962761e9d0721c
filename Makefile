# `make demo` and `make test` need only Python 3.11 or newer; `make help` lists all targets.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Makes every installation the same, including that of the build tools.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

CORPUS ?= corpora/tide_clock.txt
TEXT ?= $(CORPUS)
CONFIG ?=
CHECKPOINT ?=
PRIME ?=
export PRIME
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-slow test-browser test-mpi test-peers mutants test-lowest lint types check coverage bench bench-peers bench-mpi \
  dist clean train sample eval install

help: ## list the targets and variables
	@grep -hE '^[a-zA-Z_/%.-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | \
	  awk -F '\t' '{ printf "  %-27s %s\n", $$1, $$2 }'
	@echo "Variables: CORPUS, TEXT, CHECKPOINT, CONFIG, PRIME, ARGS (further options), VENV, PYTHON. File names must not contain spaces."

## The virtual environment: charrnn first, the developers' tools in a second step.

install: $(VENV)/installed ## create the virtual environment and install charrnn into it
$(VENV)/installed: setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "charrnn needs Python 3.11 or newer; set PYTHON, as in make PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@
$(VENV)/dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: $(VENV)/installed corpora/python.txt ## train on 2 MB of Python for a minute, score the model, generate code
	$(BIN)/charrnn train corpora/python.txt -c configs/python.yaml
	$(BIN)/charrnn eval corpora/python.txt --split val -m checkpoints/python.npz
	$(BIN)/charrnn sample -m checkpoints/python.npz --prime 'def ' --length 600 --temperature 0.7
	@echo
	@echo "Now try:"
	@echo "  $(BIN)/charrnn sample -m checkpoints/python.npz --prime 'class '"
	@echo "  $(BIN)/charrnn train corpora/tide_clock.txt     # a play; half a minute"
	@echo "  $(BIN)/charrnn train YOUR_TEXT.txt"

test: $(VENV)/dev ## run the tests (about 5 minutes on two cores)
	$(BIN)/python -m pytest -m 'not slow and not browser and not mpi' $(ARGS)

FAST := tests/test_layout.py tests/config tests/system tests/inference tests/analysis tests/text \
  tests/storage/test_metadata.py tests/training/test_resume.py tests/cli/test_main.py tests/cli/test_sample.py
test-fast: $(VENV)/installed ## run a subset of the tests that needs only pytest and hypothesis (under a minute)
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	$(BIN)/python -m pytest -m 'not slow and not browser and not mpi' $(FAST) $(ARGS)

test-slow: $(VENV)/dev ## run the stress tests in full: 120,000 mutations, 200 kills (minutes)
	$(BIN)/python -m pytest -m slow $(ARGS)

test-browser: $(VENV)/dev ## open a report in headless Chromium, which must be installed
	$(BIN)/python -m pip install --quiet --editable '.[browser]'
	@command -v chromium chromium-browser google-chrome >/dev/null || \
	  echo "Chromium was not found, so these tests are skipped: install the packages chromium and chromium-driver."
	$(BIN)/python -m pytest -m browser -rs $(ARGS)

test-mpi: $(VENV)/dev ## train in several MPI processes, and stop, kill and misuse them (a minute)
	$(BIN)/python -m pip install --quiet --editable '.[mpi]' mpich
	$(BIN)/python -m pytest -m mpi -rs $(ARGS)

test-peers: $(VENV)/dev ## load a checkpoint's weights into PyTorch and compare (installs PyTorch)
	$(BIN)/python -m pip install --quiet --editable '.[peers]'
	$(BIN)/python -m pytest -m peers -rs $(ARGS)

mutants: $(VENV)/dev ## break the numerics in one place at a time; a test must fail each time (half an hour)
	$(BIN)/python tests/mutants.py $(ARGS)

LOWEST := numpy==2.0.0 click==8.1.4 tqdm==4.60.0 pyyaml==6.0.1
test-lowest: ## run the tests with the oldest supported versions of the dependencies
	$(PYTHON) -m venv $(VENV)-lowest
	PIP_CONSTRAINT= $(VENV)-lowest/bin/python -m pip install --quiet --editable '.[test]' $(LOWEST)
	$(VENV)-lowest/bin/python -m pytest -m 'not slow and not browser and not mpi' $(ARGS)

lint: $(VENV)/dev ## check the code with ruff
	$(BIN)/ruff check .

types: $(VENV)/dev ## check the types with mypy
	$(BIN)/mypy

check: lint types test ## run lint, types and test

coverage: $(VENV)/dev ## measure which lines and branches the tests run
	$(BIN)/coverage run -m pytest -m 'not slow and not browser and not mpi'
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

bench: $(VENV)/dev ## measure speed and memory (10 minutes; ARGS='train sample' measures some of it)
	@$(BIN)/python benchmarks/bench.py $(ARGS)

bench-peers: $(VENV)/dev ## install PyTorch, for the comparisons of make bench
	$(BIN)/python -m pip install --quiet --editable '.[peers]'

bench-mpi: $(VENV)/dev ## measure processes that train together (8 minutes)
	$(BIN)/python -m pip install --quiet --editable '.[mpi]' mpich
	@$(BIN)/python benchmarks/scaling.py $(ARGS)

dist: $(VENV)/dev ## build the wheel and the source archive in dist/
	rm -rf dist build
	$(BIN)/python -m build --outdir dist .

clean: ## remove the virtual environment and build products, but no checkpoint and no corpus
	rm -rf $(VENV) $(VENV)-lowest .venv-3.* build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage

## The commands as targets.

train: $(VENV)/installed $(CORPUS) ## train on CORPUS (options: CONFIG=..., ARGS='--steps 500')
	$(BIN)/charrnn train $(CORPUS) $(if $(CONFIG),-c $(CONFIG)) $(if $(CHECKPOINT),-o $(CHECKPOINT)) $(ARGS)

sample: $(VENV)/installed ## generate text from CHECKPOINT (default: the newest), starting with PRIME
	@$(BIN)/charrnn sample $(if $(CHECKPOINT),-m $(CHECKPOINT)) $(if $(PRIME),--prime "$$PRIME") $(ARGS)

eval: $(VENV)/installed ## score TEXT with CHECKPOINT (default: the newest)
	@$(BIN)/charrnn eval $(TEXT) $(if $(CHECKPOINT),-m $(CHECKPOINT)) $(ARGS)

# Always runs, since only charrnn knows whether a run is complete. make must never delete a checkpoint.
checkpoints/%.npz: corpora/%.txt FORCE | $(VENV)/installed ## train on corpora/%.txt to the end of the run
	$(BIN)/charrnn train $< -o $@ $(if $(wildcard configs/$*.yaml),-c configs/$*.yaml) $(ARGS)
FORCE:
.PRECIOUS: checkpoints/%.npz

## Texts that do not ship; corpora/README.md describes them.

SHAKESPEARE_URL ?= https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt

corpora/python.txt: ## 2 MB of Python's standard library
	$(PYTHON) corpora/make.py python $@
corpora/reber.txt: ## strings of the Reber grammar
	$(PYTHON) corpora/make.py reber $@
corpora/embedded_reber.txt: ## strings of the embedded Reber grammar
	$(PYTHON) corpora/make.py embedded_reber $@
corpora/recall.txt: ## strings whose last character repeats the first
	$(PYTHON) corpora/make.py recall $@
corpora/shakespeare.txt: ## 1.1 MB of Shakespeare (requires a network connection)
	$(PYTHON) corpora/make.py shakespeare $@ '$(SHAKESPEARE_URL)'
