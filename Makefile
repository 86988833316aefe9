# Every target does all the set-up it needs. `make` alone lists them.
PYTHON ?= python3
BIN := .venv/bin
CONFIG ?=
TRACES ?= traces

.DEFAULT_GOAL := help
.PHONY: help setup demo docs text2sql reasoner serve test coverage check format lock bench soak chaos fuzz tournament tournament-full text2sql-sim clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## build .venv/ and .models/ (nothing to do the second time)
	@PYTHON=$(PYTHON) scripts/setup.sh

demo: setup ## the main job on a real engine: agent programs straight into vLLM, then through agentserve
	@$(BIN)/agentserve demo

text2sql: setup ## Text-to-SQL agents on two real engines of unequal speed: round robin, then agentserve
	@$(BIN)/agentserve text2sql

serve: setup ## the gateway on 127.0.0.1:8000 (CONFIG=agentserve.yaml for your own engines)
	@$(BIN)/agentserve serve $(if $(CONFIG),--config $(CONFIG))

check: setup ## formatting, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check ## all checks and all tests, with a real engine
	@scripts/browser.sh
	$(BIN)/python -m pytest -n $(or $(WORKERS),2) --dist loadscope

coverage: check ## the same, with the lines and branches that no test reaches (takes about twice as long)
	@scripts/browser.sh
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered

format: setup ## format and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## the benchmarks whose results are in docs/results/ (over two hours)
	$(BIN)/python -m tests.benchmarks.brain_cost --json docs/results/brain-cost.json
	$(BIN)/python -m tests.benchmarks.programs --json docs/results/programs.json
	$(BIN)/python -m tests.benchmarks.fidelity --json docs/results/fidelity.json
	$(BIN)/python -m tests.benchmarks.simulator_speed --json docs/results/simulator-speed.json
	$(BIN)/python -m tests.benchmarks.engine_model --json docs/results/engine-model.json
	$(BIN)/python -m tests.benchmarks.scale --json docs/results/scale.json
	$(BIN)/python -m tests.benchmarks.fairness --json docs/results/fairness.json
	$(BIN)/python -m tests.benchmarks.graphs --json docs/results/graphs.json --markdown docs/results/graphs.md

soak: setup ## ten minutes of mixed traffic with disconnects, engines that die and garbage (SECONDS=600)
	$(BIN)/python -m tests.benchmarks.soak --seconds $(or $(SECONDS),600)

chaos: setup ## kills the gateway with the brain twenty times under load, with a real Redis (SCENARIO=kill|outage|cut|engine, TIMES=20, SEED=1)
	$(BIN)/python -m tests.benchmarks.chaos --scenario $(or $(SCENARIO),kill) --times $(or $(TIMES),20) --seed $(or $(SEED),1)

fuzz: setup ## strange requests by the OpenAPI document, then bodies, streams and ids, for ten minutes each (SECONDS=600)
	$(BIN)/python -m tests.benchmarks.fuzz --seconds $(or $(SECONDS),600)

tournament: setup ## all presets against each other in the simulator (TRACES=folder of public traces; goes on where it was cut off)
	@scripts/compile.sh
	PYTHONPATH=.compiled:. $(BIN)/python -P -m tests.benchmarks.tournament --traces $(TRACES)

text2sql-sim: setup ## orders with deadlines on unequal engines in the simulator (TRACES=folder of public traces; goes on where it was cut off)
	$(BIN)/python -m tests.benchmarks.text2sql_sim --traces $(TRACES)

reasoner: setup ## virtual models on two real engines: a small draft, a slower target, with and without barriers (half an hour)
	@$(BIN)/python -m tests.benchmarks.reasoner --json .reasoner/figures.json --markdown .reasoner/figures.md

tournament-full: setup ## every cell of the grid, on Ray (RAY=address of a cluster, this machine by default)
	@$(BIN)/python -c 'import ray' 2>/dev/null || $(BIN)/uv pip install --quiet --python $(BIN)/python -e '.[ray]'
	$(BIN)/python -m tests.benchmarks.tournament --whole --ray $(or $(RAY),local) --traces $(TRACES)

docs: setup ## the documentation as a site, in .site/
	$(BIN)/python scripts/reference.py
	$(BIN)/zensical build --strict

lock: setup ## pin the dependencies anew
	scripts/lock.sh

clean: ## remove what the targets made, the model included
	rm -rf .venv .venv-clients .models .demo .text2sql .reasoner .tournament .compiled .site .mypy_cache .ruff_cache .pytest_cache .hypothesis
