# What one does with a clone. `make help` lists it.
PYTHON ?= python3.11
PORT ?= 8000
GATEWAY_PORT ?= 8100
TESTS ?= tests

.DEFAULT_GOAL := help
.PHONY: help demo demo-up demo-down demo-reset setup setup-dev test check bench format openapi lock

unexport PYTHONDONTWRITEBYTECODE
export PORT GATEWAY_PORT

SETUP = $(PYTHON) -m controlplane.local.bootstrap

help: ## say what can be done
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: ## start everything here, play the story, stay until Ctrl-C
	@$(SETUP) -- python -m controlplane.local.demo run

demo-up: ## the same in the background: returns when the story has been played
	@$(SETUP) -- python -m controlplane.local.demo up

demo-down: ## stop what demo-up started
	@$(SETUP) -- python -m controlplane.local.demo down

demo-reset: ## stop, and delete all data of the demo
	@$(SETUP) -- python -m controlplane.local.demo reset

setup: ## install the locked packages
	@$(SETUP)

setup-dev: ## install those of checks and tests as well
	@$(SETUP) --dev

test: setup-dev ## run all tests on real servers, workers and Chromium (TESTS=tests/registry for some)
	@.venv/bin/python -m controlplane.local.chromium
	@.venv/bin/python -m pytest $(TESTS)

check: setup-dev ## lint, types, contracts, migrations, API description, templates
	@.venv/bin/python -m controlplane.local.checks

bench: setup-dev ## measure; results go to build/bench/
	@.venv/bin/python -m tests.bench

format: setup-dev ## rewrite code and templates in the house style
	@.venv/bin/ruff check --quiet --fix-only .
	@.venv/bin/ruff format --quiet .
	@.venv/bin/python -m controlplane.local.checks --fix-templates

openapi: setup-dev ## write docs/openapi.yaml anew
	@.venv/bin/python -m controlplane.local.checks --write-openapi

LOCK = .venv/bin/uv pip compile --quiet --no-emit-index-url --no-header --generate-hashes -p 3.11

lock: setup-dev ## pin requirements/*.in anew; what is pinned stays unless it no longer fits
	@$(LOCK) requirements/dev.in -o requirements/dev.txt
	@$(LOCK) requirements/base.in -c requirements/dev.txt -o requirements/base.txt
	@$(LOCK) requirements/node.in -o requirements/node.txt
