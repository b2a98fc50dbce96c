# Targets for developers and pipelines; `make help` lists them.

SHELL := /bin/sh
.DEFAULT_GOAL := help

# The first Python on the path that is new enough.
BASE_PYTHON = $(shell for candidate in $(PYTHON) python3 python3.13 python3.12 python3.11 python3.14 python; do \
	"$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$candidate" && break; done)
VENV := .venv
BIN := $(VENV)/bin
# Two more than there are processors, because tests of real processes mostly wait.
TEST_PROCESSES ?= $(shell $(BIN)/python -c 'import os; n = os.cpu_count() or 1; print(min(6, n + 2))' 2>/dev/null || echo 1)
PYTEST = $(BIN)/python -m pytest
export PORT TRANSCRIPTS

.PHONY: help
help: ## Show every target
	@grep -hE '^[a-z-]+:.*## ' Makefile | awk -F ':.*## ' '{ printf "  %-14s %s\n", $$1, $$2 }'

.PHONY: demo
demo: install-demo ## Run the whole shop here, with checkouts in both styles. PORT=8000 TRANSCRIPTS=1
	@$(BIN)/python -m examples.demo.run

.PHONY: smoke
smoke: install-demo ## Run the demo and stop; exit 0 if every checkout ended as expected, else 1
	@$(BIN)/python -m examples.demo.run --smoke

# Tests that might use a participant's database; those that do are listed in tests/on_four_databases.txt.
# `make test-faults` runs all of these and checks that the list is complete.
MAY_MEET_PARTICIPANTS = $(filter-out $(addprefix %/test_s8_, actions.py allowed.py requirements.py), $(wildcard tests/engine/test_s[0-9]*.py)) \
	tests/engine/test_retention.py tests/participants tests/choreography_shop \
	$(addprefix tests/commands/test_, actions.py cleanup.py examining.py list_and_show.py sweep.py) \
	$(addprefix tests/api/test_, checkout.py coordination.py idempotency.py orders.py prefer_wait.py probes.py)

.PHONY: test
test: install-dev ## Run every test of the code that needs only Python
	$(PYTEST) -n $(TEST_PROCESSES) --dist loadgroup
	SAGAS_TEST_DATABASES=4 $(PYTEST) -n 2 @tests/on_four_databases.txt --deselect tests/engine/test_s11_crashes.py

.PHONY: test-matrix
test-matrix: install-dev ## Test the wheel: the tutorial, each pair of Python and Django, each setting
	$(BIN)/python -m tests.other_projects.pairs
	CHAOS=full $(PYTEST) -n 3 --dist loadgroup tests/packaging tests/other_projects/test_settings.py

.PHONY: test-suites
test-suites: install-dev ## Test the wheel on the newest pair and under a few settings, browser and brokers, all at once
	$(PYTEST) -n $(TEST_PROCESSES) --dist loadgroup tests/other_projects tests/packaging tests/brokers tests/browser

.PHONY: test-browser
test-browser: install-dev ## Run the tests that need Chromium
	$(PYTEST) -n $(TEST_PROCESSES) --dist loadgroup tests/browser

.PHONY: test-brokers
test-brokers: install-dev ## Run the tests that need RabbitMQ and PgBouncer
	$(PYTEST) -n 2 --dist loadgroup tests/brokers

.PHONY: test-scale
test-scale: install-dev ## Query a million sagas and clean them up during checkouts. SCALE_SAGAS=1000000
	$(PYTEST) -s tests/scale

.PHONY: chaos
chaos: install-dev ## Kill parts of the shop for most of an hour, and report. CHECKOUTS=5000 EVENT_CHECKOUTS=300 KILLS=200
	$(BIN)/python -m tests.chaos.run --checkouts $(or $(CHECKOUTS),5000)
	$(BIN)/python -m tests.chaos.run --coordination choreography --checkouts $(or $(EVENT_CHECKOUTS),300)
	$(BIN)/python -m tests.chaos.run --kills $(or $(KILLS),200)
	$(BIN)/python -m tests.chaos.run --frozen-broker --checkouts 200
	CHAOS=full $(PYTEST) -n $(TEST_PROCESSES) tests/chaos tests/end_to_end

# Crash points, searched schedules and models, and runs with a rule removed.
FAULT_TESTS = tests/crash_points tests/random_schedules tests/protocol_model $(wildcard tests/engine/test_*_without_rules.py) \
	tests/chaos/test_removed_rules.py tests/commands/test_explore.py tests/engine/test_explorer.py \
	tests/engine/test_s11_crashes.py tests/events tests/choreography

.PHONY: test-faults
test-faults: install-dev ## Inject every fault at every point, and search the models in full
	CHAOS=full $(PYTEST) -n $(TEST_PROCESSES) $(FAULT_TESTS)
	SAGAS_TEST_DATABASES=4 $(PYTEST) -n $(TEST_PROCESSES) -p tests.touched $(MAY_MEET_PARTICIPANTS)

.PHONY: count-proofs
count-proofs: install-dev ## Count the tests' crash points, schedules, controls and removed rules
	$(BIN)/python -m tests.proofs $(FAULT_TESTS)

.PHONY: bench-events
bench-events: install-dev ## Measure events per second and latency over Redis, beside a bare loop
	EXTRA_APPS=benchmarks $(BIN)/python -m config.local.run --valkey -- sh -c \
		'$(BIN)/python manage.py migrate -v 0 && $(BIN)/python manage.py event_benchmark --url $$CELERY_BROKER_URL'

.PHONY: bench-checkouts
bench-checkouts: install-dev ## Measure CPU time and commits of both styles of the checkout
	EXTRA_APPS=benchmarks $(BIN)/python -m config.local.run --valkey -- sh -c \
		'$(BIN)/python manage.py migrate -v 0 && $(BIN)/python manage.py checkout_benchmark --url $$CELERY_BROKER_URL'

.PHONY: bench
bench: bench-events bench-checkouts ## Measure events and checkouts

.PHONY: check
check: install-dev ## Check format, lint, types, imports, project, migrations, OpenAPI schema and docs
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/lint-imports
	$(MAKE) --no-print-directory -j 2 check-on-database docs

.PHONY: check-on-database
check-on-database:
	$(BIN)/python -m config.local.run -- $(MAKE) --no-print-directory check-project

# Needs a database; `check` starts a private, empty one.
.PHONY: check-project
check-project:
	$(BIN)/mypy
	EXTRA_APPS=examples.engraving $(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py migrate --verbosity 0
	$(BIN)/python manage.py check --database default --fail-level WARNING
	SECRET_KEY=$$($(BIN)/python -c 'import secrets; print(secrets.token_hex(32))') ALLOWED_HOSTS=shop.example.com \
		$(BIN)/python manage.py check --deploy --fail-level WARNING
	@mkdir -p var
	$(BIN)/python manage.py spectacular --validate --fail-on-warn --file var/openapi.yaml
	diff -u openapi.yaml var/openapi.yaml
	$(BIN)/python manage.py event_catalogue --asyncapi --layout flow > var/asyncapi.yaml
	diff -u asyncapi.yaml var/asyncapi.yaml

# -E reads every page again, because pages from the cache give no warnings.
.PHONY: docs
docs: install-dev ## Build the documentation into var/docs; every warning is an error
	$(BIN)/sphinx-build -E -W --keep-going -n -q docs var/docs

.PHONY: pictures
pictures: install-dev ## Take the documentation's pictures of the console anew; needs Chromium
	$(PYTEST) tests/browser/pictures.py

.PHONY: clean
clean: ## Remove data and logs of demo and tests, in var/ and outside; stops nothing
	@test -n "$(BASE_PYTHON)" || { echo "Python 3.11 or newer is needed." >&2; exit 1; }
	@$(BASE_PYTHON) -c 'import sys; sys.path.insert(0, "config"); from local.clean import main; sys.exit(main())'

.PHONY: openapi
openapi: install-dev ## Regenerate the OpenAPI schema
	$(BIN)/python -m config.local.run -- $(BIN)/python manage.py spectacular --validate --fail-on-warn --file openapi.yaml

.PHONY: asyncapi
asyncapi: install-dev ## Regenerate the AsyncAPI document of the shop's events
	$(BIN)/python -m config.local.run -- $(BIN)/python manage.py event_catalogue --asyncapi --layout flow > asyncapi.yaml

.PHONY: audit
audit: install-dev ## Check the dependencies for known vulnerabilities (needs the network)
	$(BIN)/pip-audit --strict --disable-pip --require-hashes \
		--requirement requirements/demo.lock --requirement requirements/dev.lock

.PHONY: format
format: install-dev ## Format the code and fix what can be fixed automatically
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

.PHONY: lock
lock: install-dev ## Pin the newest compatible versions, with hashes
	$(BIN)/python .ci/lock.py

.PHONY: install
install: install-dev ## Install everything for development into .venv

# Install each lock that differs from the copy that its last installation left, two at a time. pip would compile with one
# processor; the few files that are for another Python and do not compile are never imported.
.PHONY: install-demo install-dev
install-demo: LOCKS := demo
install-dev: LOCKS := demo dev
install-demo install-dev: $(BIN)/python
	@set --; for lock in $(LOCKS); do \
		cmp -s requirements/$$lock.lock $(VENV)/$$lock.lock || set -- "$$@" "$$lock"; done; \
	[ $$# = 0 ] || { \
		echo "Installing the requirements: $$*" && \
		printf '%s\n' "$$@" | xargs -P 2 -I LOCK $(BIN)/python -m pip install --quiet --no-input \
			--disable-pip-version-check --no-deps --require-hashes --no-compile --requirement requirements/LOCK.lock && \
		{ $(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null || :; } && \
		for lock in "$$@"; do cp "requirements/$$lock.lock" "$(VENV)/$$lock.lock"; done; }

$(BIN)/python:
	@test -n "$(BASE_PYTHON)" || { echo "Python 3.11 or newer is needed; none of python3, python3.11 … is." >&2; exit 1; }
	@$(BASE_PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
