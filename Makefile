# make demo    install what the main job needs and run it on the embedded data
# make test    install everything, check style and types, run the whole suite
# make test-plain  the tests that compute once more, as if on a machine of another make: the plainest kernels of
#              torch, oneDNN, MKL and NumPy
# make lint    style and types only
# make bench   every benchmark into out/bench/: needs the data and programs that benchmarks/ names, and hours;
#              make bench-plink and so on run one of them
# make clean   remove outputs, builds and caches; the environment stays
#
# PYTHON=python3.12  another Python (3.10 to 3.13)     VENV=/path  another place for the environment
# EXTRAS=            `make demo` without torch         JOBS=8      processes of `make test` and `make bench`

PYTHON ?= python3
VENV ?= .venv
EXTRAS ?= sequence
JOBS ?= 2

comma := ,
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
METADATA := setup.cfg pyproject.toml constraints.txt
CORE := $(VENV)/.installed-core$(if $(EXTRAS),-$(subst $(comma),-,$(EXTRAS)))
ALL := $(VENV)/.installed-all

# The long one last.
BENCHMARKS := $(filter-out accuracy,$(patsubst benchmarks/%.py,%,$(sort $(wildcard benchmarks/*.py)))) accuracy
BENCH := out/bench
# Scripts that are not named here take a folder as their --out.
BENCH_accuracy = --out $(BENCH)/accuracy --threads $(JOBS)
BENCH_enformer = --out $(BENCH)/enformer.json
BENCH_enformer_small = --out $(BENCH)/enformer_small --threads $(JOBS)
BENCH_eqtl = --out $(BENCH)/eqtl.md
BENCH_eqtl_truth = --out $(BENCH)/eqtl_truth.md
BENCH_overlap = --work $(BENCH)/overlap
BENCH_plink = --out $(BENCH)/plink
BENCH_predict = --out $(BENCH)/predict --whole 20000
BENCH_sequence_stack = --out $(BENCH)/sequence_stack --threads $(JOBS)

.PHONY: demo test test-plain lint bench clean
.DELETE_ON_ERROR:

demo: $(CORE)
	$(BIN)/genopred demo --out demo

test: lint
	$(BIN)/python -m pytest -n $(JOBS) -rs --durations=15

# No result may hang on the last bits of a float. NumPy refuses names that it does not know, so it is asked for them.
test-plain: $(ALL)
	ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_CBWR=COMPATIBLE OMP_NUM_THREADS=1 \
	  NPY_DISABLE_CPU_FEATURES="$$($(BIN)/python -c 'from numpy._core._multiarray_umath import __cpu_dispatch__, \
	  __cpu_features__ as has; print(*(f for f in __cpu_dispatch__ if has.get(f)))' 2>/dev/null)" \
	  $(BIN)/python -m pytest -n $(JOBS) -rs --durations=5 tests/test_genetics_*.py tests/test_learning_*.py \
	  tests/test_sequence_*.py tests/test_training_networks_*.py tests/test_training_tasks_*.py

lint: $(ALL)
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet . || { echo "Formatting differs; run: $(BIN)/ruff format ."; exit 1; }
	$(BIN)/mypy

bench: $(addprefix bench-,$(BENCHMARKS))

bench-%: $(ALL) benchmarks/%.py
	@mkdir -p $(BENCH)
	$(BIN)/python benchmarks/$*.py $(or $(BENCH_$*),--out $(BENCH)/$*)

clean:
	rm -rf demo out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find genopred cli pipelines tests benchmarks notebooks -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is newer than the metadata it was installed from, so a second call installs nothing.
$(CORE): $(METADATA) | $(BIN)/python
	@echo "Installing genopred$(if $(EXTRAS), with [$(EXTRAS)]) into $(VENV) ..."
	@$(INSTALL) --editable ".$(if $(EXTRAS),[$(EXTRAS)])"
	@touch $@

$(ALL): $(METADATA) | $(BIN)/python
	@echo "Installing genopred with torch and the tools of the tests into $(VENV) ..."
	@$(INSTALL) --editable ".[all,test]"
	@touch $@

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null && \
	  $(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' || { \
	  echo "genopred needs Python 3.10 to 3.13; $(PYTHON) is `$(PYTHON) --version 2>/dev/null || echo not there`."; \
	  echo "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "$(PYTHON) could not make an environment; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
