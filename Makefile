# Two commands matter: `make demo` and `make test`. Both set everything up by themselves,
# in .venv and this folder, and are quick the second time.

PYTHON ?= python3
UV_VERSION := 0.13.8
BIN := .venv/bin
READY := .venv/.ready
RUN := env -u PYTHONPATH PATH="$(CURDIR)/$(BIN):$$PATH"

.DEFAULT_GOAL := help
.PHONY: help demo up test test-all test-faults lint format types proto proto-check docs deploy lock bench clean

help: ## List what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | awk -F'\t' '{printf "make %-12s %s\n", $$1, $$2}'

demo: $(READY) ## Start Naiad, train 12 small networks, show the result (ONCE=1: then stop)
	@$(RUN) $(BIN)/python examples/demo.py $(if $(filter-out 0,$(ONCE)),--once)

up: $(READY) ## Start Naiad on this machine (ARGS="--port 7420 ...")
	@$(RUN) $(BIN)/naiad up $(ARGS)

test: $(READY) ## Run the tests; those marked long only in CI
	@$(RUN) $(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

test-all: $(READY) ## Run all tests
	@$(RUN) $(BIN)/python -m pytest -n auto --dist loadfile --long $(ARGS)

# The platform's rounds have the machine for themselves: their figures are times to recover.
test-faults: $(READY) ## Kill, cut and meddle at length (NAIAD_SEED=n: the same again; NAIAD_ROUNDS, NAIAD_FAULTS)
	@NAIAD_ROUNDS=$${NAIAD_ROUNDS:-3} $(RUN) $(BIN)/python -m pytest -n 0 --long tests/faults/platform $(ARGS)
	@NAIAD_KILLS=50 $(RUN) $(BIN)/python -m pytest -n auto --dist loadfile --long tests/faults --ignore tests/faults/platform $(ARGS)

lint: $(READY) ## Check style, formatting and types
	$(RUN) $(BIN)/ruff check .
	$(RUN) $(BIN)/ruff format --check .
	$(RUN) $(BIN)/mypy

format: $(READY) ## Format the code
	$(RUN) $(BIN)/ruff format .
	$(RUN) $(BIN)/ruff check --fix .

proto: $(READY) ## Generate the protobuf code from proto/schema
	$(RUN) $(BIN)/python scripts/generate_proto.py

proto-check: $(READY) ## Check that the generated protobuf code is fresh
	$(RUN) $(BIN)/python scripts/generate_proto.py --check

docs: $(READY) ## Generate docs/settings.md and docs/metrics.md from the code
	$(RUN) $(BIN)/python scripts/generate_docs.py

deploy: $(READY) ## Generate what of deploy/ is made from other files (with helm: the rendered charts)
	$(RUN) $(BIN)/python scripts/generate_deploy.py

lock: ## Resolve the dependencies anew into requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --all-extras \
		--group dev --no-emit-index-url --no-header $(ARGS) pyproject.toml -o requirements.lock

bench: $(READY) ## Measure what docs/performance.md tells (ARGS="--quick calls")
	@$(RUN) $(BIN)/python benchmarks/client $(ARGS)

clean: ## Remove the virtual environment and caches (never your data in .naiad)
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .test-output deploy/dev/.kafka

# uv because it installs the whole lock in seconds; pip alone would take a minute or two.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Naiad needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || echo missing)."; \
		echo "Install one and say which: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@echo "Setting up .venv (once) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { \
		echo "Python can't make virtual environments. On Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"
	@$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@
