# PYTHON: the interpreter to use (default: the first of python3, python3.13, … that is 3.11 or newer).
# VENV: where the virtual environment goes. ARGS: more arguments, for example make bench ARGS="--seconds 2".
VENV ?= .venv
# TEST: what make check runs.
ARGS ?=
TEST ?= tests/unit
BIN := $(VENV)/bin
export VENV
ifdef PYTHON
export PYTHON
endif

VERSIONS := 3.11 3.12 3.13 3.14

# Coverage is measured on the sources, and behaviour on the compiled modules as well, where there is a compiler. To save
# time, the contracts' tests that are marked "pooled" run on the compiled modules only: front and worker are compiled
# then. Of the WSGI and WebSocket contracts these are the only tests that run there.
# Branch coverage: these parts reach 100 % by their own tests; everything else 95 % with the measured ones of whole services.
# Three at a time on two cores, because tests wait as often as they compute.
PARALLEL := -n 3
OWN_TESTS := tests/unit tests/contract tests/property tests/layout
COMPILED_TESTS := tests/property $(wildcard tests/contract/test_*codecs.py tests/contract/test_asgi.py \
    tests/contract/test_connections.py)
COMPILED_POOLED_TESTS := tests/contract/websocket tests/contract/wsgi
# Whole services. Those about processes are measured as well; the rest only run, in half of the time.
MEASURED_TESTS := tests/config $(patsubst %,tests/system/test_%.py,examples failing_starts imports pool_supervision \
    preload supervisor surroundings worker_command worker_process)
SERVED_TESTS := $(filter-out $(MEASURED_TESTS),$(wildcard tests/system/test_*.py))
comma := ,
space := $() $()
WHOLLY_COVERED := $(subst $(space),$(comma),$(patsubst %,proxy/sidegate/%,wire/* config/* routing/* supervisor/plan.py supervisor/pool_plan.py))

.DEFAULT_GOAL := help
.PHONY: help run compile check test lint format bench bench-micro soak attacks autobahn testssl sanitize fuzz test-all clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

run: ## serve config/demo.yaml on https://localhost:8443 and http://localhost:8080
	@.ci/setup run
	@exec $(BIN)/sidegate serve config/demo.yaml $(ARGS)

compile: ## compile the request path again, if a source of it changed
	@.ci/setup run

check: ## the tests in TEST from the sources, compiling nothing, as make check TEST=tests/unit/test_routing.py
	@.ci/setup lint
	SIDEGATE_NO_EXTENSIONS=1 $(BIN)/python -m pytest $(TEST) $(ARGS)

# Set, but empty: what says nothing else runs on the compiled modules.
test: export SIDEGATE_NO_EXTENSIONS :=
test: lint ## lint, then every test, then the coverage gates
	@.ci/setup test
	@rm -f .coverage .coverage.*
	SIDEGATE_NO_EXTENSIONS=1 $(BIN)/coverage run -m pytest $(PARALLEL) -m 'not pooled' $(OWN_TESTS) $(ARGS)
	@$(BIN)/coverage combine -q
	$(BIN)/coverage report --include='$(WHOLLY_COVERED)' --fail-under=100
	$(BIN)/python -m pytest $(PARALLEL) $(COMPILED_TESTS) $(ARGS)
	$(BIN)/python -m pytest $(PARALLEL) -m pooled $(COMPILED_POOLED_TESTS) $(ARGS)
	$(BIN)/python -m pytest $(PARALLEL) --dist loadfile $(SERVED_TESTS) $(ARGS)
	$(BIN)/coverage run -m pytest $(PARALLEL) --dist loadfile $(MEASURED_TESTS) $(ARGS)
	@$(BIN)/coverage combine -q --append
	$(BIN)/coverage report --omit='$(WHOLLY_COVERED)' --fail-under=95

lint: ## ruff and mypy
	@.ci/setup lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: ## let ruff order imports and lay out code
	@.ci/setup lint
	$(BIN)/ruff check --select I --fix
	$(BIN)/ruff format

# ARGS="--against REV" installs another revision beside $(VENV) and takes turns with it. Peers are then measured only if
# --servers names them, and never installed.
bench: ## CPU per request beside eight peers (45 minutes; ARGS=--quick: 5) or a revision (ARGS="--against REV"; ARGS=--help)
	@.ci/setup test
	@$(if $(findstring --against,$(ARGS)),,.ci/peers)
	$(BIN)/python -m tests.bench.compare $(ARGS)

# Two revisions are compared by the results that each of them writes: ARGS="--json FILE", then ARGS="--compare FILE".
bench-micro: ## CPU time and instructions of one request, layer by layer, without sockets (3 minutes; ARGS=--help: comparisons)
	@.ci/setup micro
	$(BIN)/python -m tests.bench.micro $(ARGS)

soak: ## pools under load, workers killed, 1 GiB bodies, a server that misbehaves (10 minutes; ARGS=--help)
	@.ci/setup test
	$(BIN)/python -m tests.soak.pools $(ARGS)

# Peers are attacked only if --servers names them, and installed only if it is given.
attacks: ## floods, bombs and slow clients beside an honest one: latency, memory (1 hour; ARGS="--servers all": 5; ARGS=--help)
	@.ci/setup test
	@$(if $(findstring --servers,$(ARGS)),.ci/peers)
	$(BIN)/python -m tests.attacks $(ARGS)

autobahn: ## WebSocket conformance by the Autobahn|Testsuite, with a Python 2.7 (ARGS=--quick: 3 minutes; ARGS=--help)
	@.ci/setup test
	@.ci/autobahn
	@! [ -x $(VENV)-autobahn/bin/wstest ] || \
	    $(BIN)/python -m tests.conformance.autobahn --wstest $(VENV)-autobahn/bin/wstest $(ARGS)

testssl: ## TLS of a running Sidegate by testssl.sh, with a test authority (3 minutes; ARGS=--help)
	@.ci/setup testssl
	$(BIN)/python -m tests.conformance.testssl $(ARGS)

sanitize: ## tests over the bindings of OpenSSL and nghttp2 with AddressSanitizer (5 minutes)
	@.ci/setup lint
	.ci/sanitize $(ARGS)

# SECONDS: of each target. TARGETS: those of tests/fuzz/targets that run; all by default.
SECONDS ?= 60
TARGETS ?=
fuzz: ## the fuzzing targets, two at a time (SECONDS=60 each, TARGETS="config chunked", ARGS=--keep; ARGS=--help)
	@.ci/setup test
	@.ci/fuzz
	@! [ -x $(VENV)-fuzz/bin/python ] || PYTHONPATH=proxy SIDEGATE_NO_EXTENSIONS=1 \
	    $(VENV)-fuzz/bin/python -m tests.fuzz.run --seconds $(SECONDS) $(if $(TARGETS),--targets $(TARGETS)) $(ARGS)

test-all: ## make test on every Python of $(VERSIONS) that this machine has
	@found=; missing=; \
	for version in $(VERSIONS); do \
	    if python=$$(.ci/find-python $$version); then \
	        echo "==> Python $$version: $$python"; found="$$found $$version"; \
	        $(MAKE) --no-print-directory test PYTHON="$$python" VENV=".venv-$$version" || exit 1; \
	    else echo "==> Python $$version: not on this machine"; missing="$$missing $$version"; fi; \
	done; \
	echo "==> tested on:$${found:- none}; not found:$${missing:- none}"; test -n "$$found"

clean: ## remove everything that make made
	rm -rf .venv .venv-* build *.egg-info .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find proxy -name '*.so' -delete
	rm -f proxy/sidegate/compiled.*.txt
	find proxy tests config -name __pycache__ -type d -exec rm -rf {} +
