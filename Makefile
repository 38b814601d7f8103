# `make` lists the targets. Everything is installed in this folder.
PYTHON ?= python3
BIN    := .venv/bin
UV     := $(BIN)/uv
ITEMS  ?=
KEY    ?=
METHOD ?=
NAMES  ?=
SEED   ?=
SEEDS  ?=
LOCAL  ?=
KEEP   ?=
YES    ?=
ONLY   ?=
FOR    ?=
AIRFLOW ?=

# Caches also stay in this folder.
export UV_CACHE_DIR := $(CURDIR)/.local/uv-cache
# So does Python's cache. Without it, every process (each Airflow task is one) spends seconds to compile its imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo conformance up trino down quick test test-all test-unit test-local test-real test-aws test-airflow test-dags test-commands test-oldest test-terraform test-trino \
        test-handoff bench environments check check-types check-templates check-code format wheel bundle lock lock-mwaa clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: .venv/.demo .venv-local/.installed  ## Run the whole pipeline on this machine; ITEMS=file.json KEY=year:N,title:S for your own items, KEEP=1 to leave it running
	@PYTHONPATH=plugins $(BIN)/python -m infra.local.demo $(if $(ITEMS),--items '$(ITEMS)') $(if $(KEY),--key '$(KEY)') $(if $(KEEP),--keep)

conformance: .venv/.demo $(if $(LOCAL),.venv-local/.installed)  ## Ask your AWS account open questions, and take a table through its life there; LOCAL=1 for local AWS, YES=1 to skip the confirmation
	@PYTHONPATH=plugins $(BIN)/python -m infra.conformance $(if $(LOCAL),--local) $(if $(YES),--yes) $(if $(ONLY),--only '$(ONLY)')

up: .venv/.run .venv-local/.installed  ## Start local AWS and Airflow and leave them running, with the data of last time
	@PYTHONPATH=plugins $(BIN)/python -m infra.local.run.up up

trino: .venv/.dev .local/trino/.installed  ## Start Trino on the local AWS of `make up`, to query the lake
	@PYTHONPATH=plugins $(BIN)/python -m infra.local.trino up

down:  ## Stop everything that `make up`, `make trino` and `make demo KEEP=1` started; the data stays for the next `make up`
	@if [ -e .venv/.run ]; then PYTHONPATH=plugins $(BIN)/python -m infra.local.run.up down; else echo 'Nothing is up.'; fi

# The longest first; the last uses every core that is left. Each suite has its own local AWS, and its own Airflow if it needs
# one, and shows its output at its end. What a suite needs is installed while others run.
SUITES := test-airflow test-trino test-commands test-aws test-oldest test-dags test-local test-terraform test-unit
CHECKS := check-types check-templates check-code
# Under `make --jobs=4 check test`, both take their turns from the same four.
AT_ONCE = --no-print-directory $(if $(filter --jobserver%,$(MAKEFLAGS)),,--jobs=4) --keep-going --output-sync=target

test:  ## Run every test and an eighth of each sweep, four suites at a time (this keeps two cores busy)
	@$(MAKE) $(AT_ONCE) $(SUITES)

test-all:  ## Run every test and the whole of each sweep, of which `make test` plays an eighth
	@DYNALAKE_SWEEP=1/1 $(MAKE) --no-print-directory test

quick: .venv/.dev  ## Check the code style and run the fast tests, often
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --quiet --check .
	@$(BIN)/python -m pytest tests/unit --numprocesses=auto -m 'not slow' --durations=0 --durations-min=5

test-unit: .venv/.dev  ## Run the tests that need no servers
	@$(BIN)/python -m pytest tests/unit --numprocesses=auto

test-local: .venv/.dev .venv-local/.installed  ## Test that local AWS does what AWS documents
	@$(BIN)/python -m pytest tests/local --numprocesses=2 --dist=loadfile

test-real: .venv/.dev  ## Run the same tests on your AWS account, as far as possible
	@DYNALAKE_PATIENCE=900 $(BIN)/python -m pytest tests/local --real

test-aws: .venv/.dev .venv-local/.installed  ## Test the stages on local AWS: faults, grants, alarms, every value
	@$(BIN)/python -m pytest tests/aws --numprocesses=2 --dist=loadfile

test-airflow: .venv/.dev .venv-local/.installed  ## Test the DAGs and the pages, in a real Airflow and a browser
	@$(BIN)/python -m pytest tests/e2e

test-dags: .venv/.dev .venv-local/.installed  ## Test the DAGs and the tasks, in one process
	@$(BIN)/python -m pytest tests/airflow

test-trino: .venv/.dev $(foreach name,local examples,.venv-$(name)/.installed) .local/trino/.installed  ## Test what Trino, Spark, DuckDB and pyiceberg read on local AWS, and the documents' examples
	@$(BIN)/python -m pytest tests/trino

test-commands: .venv/.dev .venv-local/.installed .local/trino/.installed  ## Test `make demo`, `make up` and `make down`, as a user runs them
	@$(BIN)/python -m pytest tests/commands

test-oldest: .venv-oldest/.installed .venv-local/.installed  ## Test the DAGs in the oldest supported Airflow
	@.venv-oldest/bin/python -m pytest tests/airflow -m 'not newest'

test-terraform: .venv/.dev .venv-local/.installed .venv-terraform/.installed  ## Test the Terraform modules, with Terraform on local AWS
	@$(BIN)/python -m pytest tests/terraform

test-handoff: .venv/.dev .venv-local/.installed  ## Test writers that never pause, from setup to Parquet, SEEDS=100 times by each METHOD; SEED=17 for one
	@DYNALAKE_SWEEP=1/1 SEEDS='$(or $(SEEDS),100)' SEED='$(SEED)' METHOD='$(METHOD)' $(BIN)/python -m pytest tests/aws/test_handoff.py

bench: .venv/.dev .venv-local/.installed  ## Run benchmarks against the alternatives; NAMES='packing encode' for some
	@PYTHONPATH=plugins:lambda_src $(BIN)/python -m benchmarks $(NAMES)

environments: .venv/.dev $(foreach name,local oldest checkov terraform examples,.venv-$(name)/.installed) .local/trino/.installed  ## Install everything that checks and tests need

check:  ## Check code, types and templates
	@$(MAKE) $(AT_ONCE) $(CHECKS)

check-types: .venv/.dev  ## Check the types
	$(BIN)/mypy

check-templates: .venv/.dev .venv-checkov/.installed .venv-terraform/.installed  ## Check the templates, Terraform and the compose file
	.venv-checkov/bin/checkov --directory infra/cloudformation --directory infra/terraform \
	  --framework cloudformation terraform --quiet --compact --skip-download
	$(BIN)/cfn-lint infra/cloudformation/*.yaml
	TF_CLI_CONFIG_FILE=/dev/null .venv-terraform/bin/python tests/terraform/cli.py fmt -check -diff -recursive infra/terraform
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yaml

check-code: .venv/.dev  ## Check the format, lint and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	PYTHONPATH=plugins:lambda_src $(BIN)/lint-imports

format: .venv/.dev  ## Format the code and sort the imports
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

COMPILE = $(UV) pip compile -q --universal --generate-hashes --python-version 3.11 --no-emit-index-url \
  --custom-compile-command 'make lock'

wheel: .venv/.dev  ## Build dist/dynalake-*.whl, to install where Airflow runs
	@$(BIN)/python -m hatchling build --target wheel

bundle: $(UV)  ## Write dist/mwaa, dist/astronomer and dist/helm, to deploy dynalake there; FOR=mwaa for one, AIRFLOW=3.2.1 for MWAA's older version
	@$(BIN)/python -m infra.bundle $(if $(FOR),--for '$(FOR)') $(if $(AIRFLOW),--airflow '$(AIRFLOW)')

lock: $(UV)  ## Compile the requirements files and the list of jars
	$(COMPILE) pyproject.toml -o requirements.txt
	for name in uv demo local checkov terraform examples; do $(COMPILE) requirements/$$name.in -o requirements/$$name.txt || exit 1; done
	$(COMPILE) pyproject.toml requirements/dev.in -o requirements/dev.txt
	$(COMPILE) --exclude-newer 2025-10-15 --exclude-newer-package pyiceberg=2026-12-31 pyproject.toml requirements/oldest.in -o requirements/oldest.txt
	$(BIN)/python -m infra.local.trino lock

# The versions of Airflow on Amazon MWAA. Their images have the packages of Airflow's constraints, in which only pyiceberg is
# not the one that dynalake needs.
MWAA_VERSIONS := 3.2.1 3.3.1
CONSTRAINTS   ?= https://raw.githubusercontent.com/apache/airflow

lock-mwaa: $(UV)  ## Compile the requirements of Amazon MWAA's versions of Airflow, whose constraints it reads from GitHub
	for version in $(MWAA_VERSIONS); do \
	  { curl --fail --silent --show-error --location $(CONSTRAINTS)/constraints-$$version/constraints-3.12.txt || exit 1; \
	    echo apache-airflow==$$version; } | grep --invert-match '^pyiceberg==' >.local/constraints.txt && \
	  $(UV) pip compile -q --python-version 3.12 --python-platform x86_64-manylinux_2_28 --no-emit-index-url --no-annotate \
	    --custom-compile-command 'make lock-mwaa' -c .local/constraints.txt pyproject.toml -o requirements/mwaa-$$version.txt || exit 1; done

clean: down  ## Remove everything that was installed or created here, with the data of `make up`
	rm -rf dist .venv .venv-local .venv-checkov .venv-oldest .venv-terraform .venv-examples .local .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dynalake needs Python 3.11 or newer, this is " + sys.version)'
	@echo 'Installing into .venv (once, several minutes on a slow connection) …'
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-cache-dir \
	  --require-hashes -r requirements/uv.txt

.venv/.run: $(UV) requirements.txt
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements.txt
	@touch $@

.venv/.demo: .venv/.run requirements/demo.txt
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/demo.txt
	@touch $@

.venv/.dev: .venv/.run requirements/dev.txt
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@touch $@

# Jars, checked by hash, and the server. If the JDK or Maven is missing, it says so and writes no stamp.
.local/trino/.installed: $(UV) $(addprefix infra/local/trino/,pom.xml jars.sha256 LakeServer.java)
	@$(BIN)/python -m infra.local.trino install

# Packages that need their own versions have their own environment.
.venv-%/.installed: $(UV) requirements/%.txt
	@$(UV) venv --quiet --allow-existing --python $(BIN)/python .venv-$*
	@$(UV) pip install --quiet --python .venv-$*/bin/python --require-hashes -r requirements/$*.txt
	@touch $@
