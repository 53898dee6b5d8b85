# One door for everything: `make demo` and `make test` work on a fresh machine with Python 3.11+, git and make.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
export OMP_NUM_THREADS ?= 1
unexport PYTHONDONTWRITEBYTECODE # every command starts many processes: compile their imports once

.PHONY: demo demo-patients test soak check bench bench-serving bench-records clean lock help

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

demo: $(READY) ## Tell the whole story on real house sales
	$(BIN)/python -m demo

demo-patients: $(READY) ## Score patients overnight, sealed, and forget one who asks
	$(BIN)/python -m demo.patients

test: $(READY) ## Run all tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

soak: $(READY) ## Show the service reliable at length: kills, overload, floods, a million requests
	$(BIN)/python -m pytest -q -m soak --timeout 3600 tests/serving/reliability

check: $(READY) ## Format, lint, types, layers and doctests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q lifecycle systems tests/core

bench: $(READY) ## Measure, and write docs/benchmarks.md
	$(BIN)/python -m benchmarks

bench-serving: $(READY) ## Serve beside the limit and the peers, and write docs/benchmarks-serving.md
	$(BIN)/python -m benchmarks serving-peers

bench-records: $(READY) ## Measure all about sealed records, and write docs/benchmarks-records.md
	$(BIN)/python -m benchmarks records sealed-keys sealed-training sealed-serving

lock: $(READY) ## Pin every dependency anew, with hashes and without any registry's address
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header --quiet --upgrade -o requirements.lock

clean: ## Take down what runs and delete all state and caches (not the virtual environment)
	-@for project in . .lifecycle/demo/project; do \
	  test ! -d $$project -o ! -x $(BIN)/lifecycle || LIFECYCLE_PROJECT=$$project $(BIN)/lifecycle down; done
	rm -rf .lifecycle build dist *.egg-info data artifacts
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
