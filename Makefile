# make repro: everything from nothing to both submissions. make test: the checks. Both make their own environment first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# dvc starts `python`: the environment's own
export PATH := $(abspath $(BIN)):$(PATH)
export DVC_NO_ANALYTICS := 1
# where images of containers set it, each of 16 stages would compile its libraries anew: 3 of its 7 core-seconds of imports
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help repro preflight test test-all coverage bench ablation ladder methods search diagnostics numbers docs lint clean environment

# everything from nothing to both submissions; on a processor both tracks at the same time
repro: environment
	@git rev-parse --git-dir >/dev/null 2>&1 || $(BIN)/dvc config --local core.no_scm true
	$(BIN)/python -m pipeline.params.check --machine
	$(BIN)/lid run --at-once
	@$(BIN)/python -m pipeline.evaluate.headline
	@ls -l submissions/*.zip reports/*/index.html

# every target, with the comment above it
help:
	@awk '/^# /{about = about substr($$0, 2); next} \
		/^[a-z][a-z-]*:/{split($$0, name, ":"); if (about) printf "%-14s%s\n", name[1], about} \
		!/^[A-Z]+ \?=/{about = ""}' $(firstword $(MAKEFILE_LIST))

# before a long run: everything that is wrong, how long it takes, how much it writes; OPTIONS=--no-trial and others
preflight: environment
	$(BIN)/python -m pipeline.preflight $(OPTIONS)

# the checks, without those that take minutes, in a process on each core
test: environment
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile -m "not slow" tests pipeline

# all checks, one after the other
test-all: environment
	$(BIN)/python -m pytest tests pipeline

# which lines and branches of pipeline/ and stages/ the checks run; what a test starts in another process is not seen
coverage: environment
	$(BIN)/python -m pytest -m "not slow" --cov --cov-report=term:skip-covered --cov-report=html tests pipeline

# ours beside references, as ratios: prints a table, writes benchmarks/results.json and docs/performance.md. DEVICE=cuda:
# the rows of a GPU; ONLY=crf_same,peak_iou: these rows; OPTIONS=--demo: the seconds of the demo, too
DEVICE ?= cpu
ONLY ?=
bench: environment $(VENV)/.bench
	$(BIN)/python -m benchmarks --device $(DEVICE) --only '$(ONLY)' $(OPTIONS)

# the published ablation on a recipe: two trainings a seed, the rest shared and cached. GRID=1: all 16 combinations;
# SET="train.backbone.trained=true train.epochs=2" NAME=trained: keys of the recipe changed, in a folder of that name
RECIPE ?= params.yaml
TRACK ?= track3
SEEDS ?= 0
ablation: environment
	$(BIN)/python -m pipeline.experiments.ablation --recipe $(RECIPE) --track $(TRACK) --seeds $(SEEDS) $(if $(GRID),--grid) \
		$(foreach change,$(SET),--set '$(change)') $(if $(NAME),--name $(NAME)) $(OPTIONS)

# what each step of finished runs is worth, in the folder ladder: STEPS="runs/cam:before_crf data/track3"
STEPS ?= .
ladder: environment
	$(BIN)/python -m pipeline.experiments.ladder $(STEPS) --track $(TRACK) --out ladder $(OPTIONS)

# the training methods side by side, on the butterflies and Tiny ImageNet: four trials for each, two seeds, split val;
# hours. Stopped, it goes on where it was; OPTIONS="--only HaS,ADL --sets butterflies" and others
methods: environment
	$(BIN)/python -m pipeline.experiments.methods $(OPTIONS)

# the best settings behind the maps of a finished run, by split val: a recipe. Stopped, it goes on where it was
BUDGET ?= 60
OUT ?= recipes/found-$(TRACK).yaml
search: environment
	$(BIN)/python -m pipeline.experiments.search --track $(TRACK) --budget $(BUDGET) --out $(OUT) $(OPTIONS)

# why the method works, or does not, on the val images of a finished run
diagnostics: environment
	$(BIN)/python -m pipeline.report.diagnostics_page --track $(TRACK) $(OPTIONS)

# docs/numbers.md from its records; RUN=ablation/<name> NAME="..." adds a finished ablation first, METHODS=ablation/methods
# the comparison of methods
numbers: environment
	$(BIN)/python -m pipeline.experiments.numbers $(if $(METHODS),methods $(METHODS),$(if $(RUN),ablation $(RUN) $(if $(NAME),--name "$(NAME)"),render))

# the documentation as a site that needs no network: site/index.html
docs: environment
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

# style, format and types
lint: environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# asked before gigabytes are installed: the versions of Python that the tests ran with
define CHECK_PYTHON
import sys
found = ".".join(map(str, sys.version_info[:2]))
if found not in ("3.11", "3.12"):
    sys.exit(f"error: expected Python 3.11 or 3.12, got {found}; the packages are not tested with others: make PYTHON=python3.12")
endef
export CHECK_PYTHON

# the virtual environment alone, which all other targets make first
environment: $(VENV)/.installed

# PyTorch alone is gigabytes: pip, which also looks where a closed network keeps them. The rest by uv, which is faster, and
# by pip where uv cannot be had. TORCH=cpu: PyTorch's CPU build, if its index can be reached
TORCH ?=
PIP = $(BIN)/python -m pip install --quiet --constraint constraints.txt
UV = $(BIN)/python -m uv pip install --quiet --python $(BIN)/python --constraint constraints.txt
CPU_BUILD = --index-url https://download.pytorch.org/whl/cpu --retries 1

# a second run installs nothing as long as the list of packages is the same
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c "$$CHECK_PYTHON"
	$(PYTHON) -m venv $(VENV)
ifeq ($(TORCH),cpu)
	$(PIP) torch torchvision $(CPU_BUILD) || echo "PyTorch's index cannot be reached: the build of the usual index"
endif
	$(PIP) torch torchvision
	@echo "the other packages, by uv"; $(PIP) uv && $(UV) --editable '.[test,lint]' || \
		{ echo "uv could not install them: by pip"; $(PIP) --editable '.[test,lint]'; }
	@$(PIP) pydensecrf2 >/dev/null 2>&1 || \
		echo "left out: pydensecrf2, an optional CRF backend that is built with a C++ compiler; nothing else needs it"
	@touch $@; echo "installed into $(VENV); in each new shell: . $(BIN)/activate"

# what only the benchmarks need; where it cannot be had, their rows say so
$(VENV)/.bench: $(VENV)/.installed
	@$(PIP) --editable '.[bench]' && touch $@ || echo "some packages of the benchmarks cannot be had here"

# what the chain made; the cache of DVC keeps its copies until `rm -r .dvc/cache`
clean:
	rm -rf data/track1 data/track3 data/raw/demo submissions reports site .pytest_cache .mypy_cache .ruff_cache .hypothesis
