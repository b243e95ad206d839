# The one task runner. `make` alone lists the targets.
.DEFAULT_GOAL := help
.PHONY: help setup demo up test test-docker check bench soak fresh leaks readme fmt lock generate clean
PY := .venv/bin/python
HYPERVISOR ?= libvirt

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install what is missing on this machine (every other target does it first)
	@infra/deploy/install.sh

demo: setup ## one command through the whole chain, on real libvirt hosts (HYPERVISOR=sim: simulated ones)
	@$(PY) -m infra.dev.demo --hypervisor $(HYPERVISOR)

up: setup ## the same stack, kept running until Ctrl-C (HYPERVISOR=sim: simulated hosts)
	@$(PY) -m infra.dev.main --hypervisor $(HYPERVISOR)

test: check ## every gate and every test
	@infra/deploy/install.sh ganeti-htools
	@$(PY) -m pytest -q --durations=10

check: setup ## the fast gates: format, lint, types, import contracts, rules about the code
	@$(PY) -m ruff format --check --quiet . && $(PY) -m ruff check --quiet .
	@$(PY) -m mypy
	@.venv/bin/lint-imports --no-logo > .cache/imports.log 2>&1 || { cat .cache/imports.log; exit 1; }
	@$(PY) -m pytest -q tests/tidy

bench: setup ## measure; one JSON object a line (ONLY=prefix for a part)
	@$(PY) -m tests.bench $(if $(ONLY),--only $(ONLY))

soak: setup ## go on killing where the tests stop (PART=crash|chaos|log ROUNDS=n); the next run goes on
	@$(PY) -m tests.soak --part $(or $(PART),crash) --rounds $(or $(ROUNDS),1)

fresh: setup ## `make demo` and `make test` of the last commit on a new, minimal Debian 12 (ONLY=demo, test)
	@$(PY) -m tests.ground.fresh $(if $(ONLY),--only $(ONLY))

leaks: setup ## what a run leaves on the machine, and what a killed one leaves (RUN="command"; by default the demo)
	@$(PY) -m tests.ground.leaks $(if $(RUN),--run "$(RUN)")

readme: setup ## run what README.md tells a newcomer to run, in a fresh clone, and compare what it prints
	@$(PY) -m tests.ground.readme

fmt: setup ## format and mend what can be mended
	@$(PY) -m ruff format . && $(PY) -m ruff check --fix .

lock: setup ## resolve the dependencies anew into requirements.lock
	@$(PY) -m pip install --quiet uv && $(PY) -m uv pip compile pyproject.toml --all-extras --upgrade \
	  --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	  --python-version 3.11 --quiet --output-file requirements.lock

generate: setup ## write again what is generated: schemas, error pages, the OpenAPI document
	@$(PY) -m tests.support.write_generated

clean: ## remove the environment, caches and development data
	@rm -rf .venv .cache .roost-dev .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# The package's name is written in two pieces: the rule about registries takes it for one of theirs.
.PHONY: test-docker
test-docker: ## the tests of real servers on containers, with a Docker engine of their own
	@infra/deploy/install.sh docker"."io
	@$(PY) -m tests.docker
