# `make` lists the targets. PYTHON is the interpreter for .venv (3.11 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check
READY := $(VENV)/.ready
# Two processes. tests/conftest.py says which files run in the same process.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
TORCH := torch==2.13.0+cpu
TORCH_INDEX := https://download.pytorch.org/whl/cpu

.DEFAULT_GOAL := help
.PHONY: help setup demo sweep controls test test-quick test-all lint docs wheel clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(READY) ## .venv with vt-ray, vt-tools and pinned packages (about 3 minutes)

demo: $(READY) ## the whole pipeline on this machine (3 to 6 minutes), into runs/demo
	$(BIN)/vt-ray experiment=demo cluster=two_generators

sweep: $(READY) ## compare MGPO with GRPO: lambda 0, 0.5, 1, 2 x 3 seeds on one fused model
	PATH=$(CURDIR)/$(BIN):$$PATH launch/local.sh vt-ray -m experiment=sweep cluster.ray_address=auto
	$(BIN)/vt-tools report runs/sweep-*

# EXPERIMENT=demo_long takes about two hours. Every line continues or skips what is there.
EXPERIMENT ?= demo
SEEDS ?= 0 1 2
controls: $(READY) ## compare RL with its controls, seeds 0 1 2: more SFT for the same time, shuffled rewards, RL without fusion
	for seed in $(SEEDS); do \
	  run="$(BIN)/vt-ray experiment=$(EXPERIMENT) seed=$$seed run_name=$(EXPERIMENT)_$$seed"; \
	  $$run && \
	  $${run}_sft signal.control=sft signal.control_sft_like=runs/$(EXPERIMENT)_$$seed && \
	  $${run}_shuffled signal.control=shuffled_rewards && \
	  $${run}_pass_at_1 phases=[sft,probe,rl] || exit 1; \
	done
	$(BIN)/vt-tools report $(foreach kind,_ _sft _shuffled _pass_at_1,$(foreach seed,$(SEEDS),runs/$(EXPERIMENT)_$(seed)$(kind:_=)))

test: $(READY) lint ## lint, types and all tests but the nightly ones (about 15 minutes on 2 cores)
	$(PYTEST) -m "not nightly and not gpu"

test-quick: $(READY) lint ## without Ray and the engines (about 4 minutes)
	$(PYTEST) -m "not slow and not nightly and not gpu"

test-all: $(READY) lint ## the nightly tests too
	$(PYTEST) -m "not gpu"

lint: $(READY) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY) ## the generated documents: docs/configuration.md and the pictures
	$(BIN)/python docs/make_configuration.py
	$(BIN)/python docs/draw_flow.py
	$(BIN)/python docs/draw_demo.py
	$(BIN)/python docs/draw_rl_or_sft.py

wheel: $(READY) ## dist/vt_ray-*.whl
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

clean: ## remove .venv and build outputs; keep the runs
	rm -rf $(VENV) dist build *.egg-info

# The marker is written last: an interrupted set-up starts again.
$(READY): requirements/build.lock requirements/cpu.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit(f"{sys.executable} is Python {sys.version.split()[0]}, vt_ray needs 3.11 or newer: make setup PYTHON=python3.12")'
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) -r requirements/build.lock
	@# Try the configured package index first, then PyTorch's index of CPU builds.
	$(PIP) --no-deps $(TORCH) || $(PIP) --no-deps --index-url $(TORCH_INDEX) $(TORCH)
	$(PIP) --no-deps --no-build-isolation -r requirements/cpu.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@
