# The project's commands. `make help` lists them; each installs what it needs, builds what changed, and then works.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

MODEL ?= default
HOST ?= 127.0.0.1
PORT ?= 8080
# One compiler a core, but no more than the memory carries: a file that includes Beast takes about 1.2 GB.
JOBS ?= $(shell awk -v cores="$$(nproc)" '/MemAvailable/ { n = int($$2 / 1300000); if (n < 1) n = 1; print n < cores ? n : cores }' /proc/meminfo)
BOOTSTRAP ?= tools/bootstrap.sh
PYTHON ?= python3
SMALL_LABELS = unit|kernel|golden
# What reads bytes of strangers, or runs coroutines: CI builds these under sanitizers, `make asan` builds everything.
ASAN_TESTS = base_test base_task_test deepwell_gguf_test deepwell_tokenizer_test deepwell_net_test deepwell_chat_test \
  deepwell_auth_test models_test deepwell_dialogue_test deepwell_edge_test deepwell_edge_server_test \
  deepwell_cluster_test deepwell_worker_test deepwell_supervisor_test deepwell_control_test deepwell_store_test load_test
ASAN_FUZZERS = gguf_fuzz tokenizer_fuzz http_message_fuzz chat_template_fuzz chat_request_fuzz worker_protocol_fuzz control_fuzz
empty :=
space := $(empty) $(empty)

.PHONY: help run build test test-all test-long asan asan-parsers tsan check tidy format clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  variables: MODEL=$(MODEL) HOST=$(HOST) PORT=$(PORT) JOBS=$(JOBS)"

run: build ## build, fetch the model once, and serve it on http://127.0.0.1:8080
	build/release/deepwell pull $(MODEL)
	exec build/release/deepwell serve --model $(MODEL) --host $(HOST) --port $(PORT)

build: ## the program as it is shipped: build/release/deepwell
	@$(BOOTSTRAP) build
	@tools/preflight.sh build/release 1000
	@mkdir -p build
	@cmake --preset release > build/release.configure.log 2>&1 || { cat build/release.configure.log; exit 1; }
	@cmake --build build/release --parallel $(JOBS)

test: ## every fast test and check; closes with `N passed, N failed`
	@$(BOOTSTRAP) test
	@tools/preflight.sh build/dev 3000
	cmake --preset dev
	cmake --build build/dev --parallel $(JOBS)
	$(PYTHON) tools/run_tests.py --build build/dev --labels '$(SMALL_LABELS)' --jobs $(JOBS) --also checks '$(PYTHON) tools/check.py'

test-all: ## the fast tests, then real weights, other people's clients, sanitizers: takes long
	@failed=0; \
	for part in test test-long asan asan-parsers tsan; do \
	  echo "== make $$part"; $(MAKE) --no-print-directory $$part || { failed=1; echo "== make $$part FAILED"; }; \
	done; exit $$failed

test-long: build ## real weights, accuracy, other people's clients; fetches two models and pip packages once
	@$(BOOTSTRAP) test
	cmake --preset dev
	cmake --build build/dev --parallel $(JOBS)
	tools/fetch_test_models.sh build/release/deepwell build/models
	tests/functional/setup.sh
	DEEPWELL_TEST_MODELS=$(CURDIR)/build/models DEEPWELL_BIN=$(CURDIR)/build/release/deepwell \
	DEEPWELL_SYNTHETIC_BIN="$$(find $(CURDIR)/build/dev -name deepwell_synthetic_server -type f)" \
	$(PYTHON) tools/run_tests.py --build build/dev --labels 'weights|slow|fault|golden' --jobs 1 \
	  --also accuracy '$(PYTHON) tests/golden/accuracy/check_accuracy.py build/release/deepwell build/models' \
	  --also functional 'tests/functional/.venv/bin/pytest tests/functional' \
	  --also python-client 'tests/functional/.venv/bin/pytest clients/python/tests' \
	  --also typescript-client 'node --test clients/typescript/test/'

asan: ## the fast tests under AddressSanitizer and UBSan
	@$(BOOTSTRAP) test
	@tools/preflight.sh build/asan 5000
	cmake --preset asan
	cmake --build build/asan --parallel $(JOBS)
	$(PYTHON) tools/run_tests.py --build build/asan --labels '$(SMALL_LABELS)' --jobs $(JOBS)

asan-parsers: ## the part of `make asan` that reads bytes of strangers, as CI runs it
	@$(BOOTSTRAP) test
	@tools/preflight.sh build/asan 4000
	cmake --preset asan
	cmake --build build/asan --parallel $(JOBS) --target $(ASAN_TESTS) $(ASAN_FUZZERS)
	$(PYTHON) tools/run_tests.py --build build/asan --labels unit --jobs $(JOBS) \
	  --tests '^($(subst $(space),|,$(strip $(ASAN_TESTS) $(ASAN_FUZZERS:=_replay))))$$'

tsan: ## the fast tests under ThreadSanitizer
	@$(BOOTSTRAP) test
	@tools/preflight.sh build/tsan 5000
	cmake --preset tsan
	cmake --build build/tsan --parallel $(JOBS)
	TSAN_OPTIONS="suppressions=$(CURDIR)/tools/tsan.supp ignore_noninstrumented_modules=1" \
	$(PYTHON) tools/run_tests.py --build build/tsan --labels unit --jobs $(JOBS)

check: ## layers, style, format, spelling, headers: no build needed
	@$(BOOTSTRAP) test
	$(PYTHON) tools/check.py

tidy: ## clang-tidy over what build/dev compiles (slow; needs clang-tidy)
	@mkdir -p build
	@cmake --preset dev > build/dev.configure.log
	run-clang-tidy -quiet -p build/dev -j $(JOBS) '^$(CURDIR)/src/.*'

format: ## rewrite the C++ files in the project's format
	git ls-files -z --cached --others --exclude-standard 'src/*.hpp' 'src/*.cpp' 'src/*.inl' 'fuzz/*.cpp' | xargs -0 clang-format -i

clean: ## remove everything that was built
	rm -rf build
