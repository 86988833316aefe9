# Every target does all the set-up it needs. `make` alone lists them.
PYTHON ?= python3
BIN := .venv/bin
CONFIG ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo serve test check format lock bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## build .venv/ and .models/ (nothing to do the second time)
	@PYTHON=$(PYTHON) scripts/setup.sh

demo: setup ## the main job on a real engine: agent programs straight into vLLM, then through agentserve
	@$(BIN)/agentserve demo

serve: setup ## the gateway on 127.0.0.1:8000 (CONFIG=agentserve.yaml for your own engines)
	@$(BIN)/agentserve serve $(if $(CONFIG),--config $(CONFIG))

check: setup ## formatting, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check ## all checks and all tests, with a real engine
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered

format: setup ## format and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## the benchmarks whose results are in docs/results/ (over an hour)
	$(BIN)/python -m tests.benchmarks.brain_cost --json docs/results/brain-cost.json
	$(BIN)/python -m tests.benchmarks.programs --json docs/results/programs.json

lock: setup ## pin the dependencies anew
	scripts/lock.sh

clean: ## remove what the targets made, the model included
	rm -rf .venv .models .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
