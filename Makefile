# The two commands: `make demo` and `make test`. Everything else is listed by `make help`.
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DATA ?= simulated
export TF_CPP_MIN_LOG_LEVEL ?= 3
export PYTHONHASHSEED ?= 0

.PHONY: help demo demo-live test quick-tests test-all lint types imports bench docs docs-site lock sbom audit install clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | column -t -s "$$(printf '\t')"

demo: $(STAMP) ## the whole loop on DATA=simulated, trivago or complete-journey
	@$(BIN)/value-model demo --data $(DATA)

demo-live: $(STAMP) ## a service that learns as it goes, on a market that moves; about 6 minutes
	@$(BIN)/python -c "from benchmarks.demo_live import live; live()"

test: lint imports $(STAMP) ## lint, import contracts, types, tests and notebooks
	@$(MAKE) --no-print-directory --jobs=2 types quick-tests

quick-tests: $(STAMP)
	$(BIN)/python -m pytest -m "not slow" -n 2

test-all: lint imports types $(STAMP) ## the same, with the slow proofs and new random examples
	$(BIN)/python -m pytest -n 2 --hypothesis-profile=default

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

imports: $(STAMP)
	$(BIN)/lint-imports

types: $(STAMP)
	$(BIN)/mypy

bench: $(STAMP) ## every benchmark, or ONLY=name
	$(BIN)/python -m benchmarks $(ONLY)

docs: $(STAMP) ## rewrite the tables that README.md and docs/ quote from benchmarks/results
	$(BIN)/python -m benchmarks.pages

LOCK = $(BIN)/uv pip compile --quiet --constraint constraints.txt --generate-hashes --python-version 3.11 \
	--custom-compile-command "make lock"

docs-site: $(STAMP) ## the documentation as a site, in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

lock: $(BIN)/uv ## write deploy/*.lock anew: what the images install, with hashes
	$(LOCK) --universal deploy/build.in --output-file deploy/build.lock
	$(LOCK) --universal deploy/serving.in --output-file deploy/serving.lock
	$(LOCK) --python-platform x86_64-unknown-linux-gnu setup.cfg --extra live --extra otel --output-file deploy/whole.lock

sbom: $(BIN)/uv ## build/*.cdx.json: what the images are made of, with hashes (CycloneDX)
	@mkdir -p build
	for name in serving whole; do \
	    $(BIN)/cyclonedx-py requirements deploy/$$name.lock --output-reproducible --output-file build/$$name.cdx.json || exit 1; \
	done

audit: $(BIN)/uv ## known vulnerabilities of what the images are made of, where the registry answers for them
	@$(BIN)/python deploy/audit.py $(BIN)/pip-audit deploy/build.lock deploy/serving.lock deploy/whole.lock

$(BIN)/uv: $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[supply]'
	@touch $@

install: $(STAMP) ## make .venv and install the pinned packages

$(STAMP): constraints.txt setup.cfg pyproject.toml install.sh
	@sh install.sh $(VENV)
	@touch $@

clean: ## remove what was built; runs/ stays
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
