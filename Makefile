# make demo and make test are all a newcomer needs; each makes .venv and installs genmix once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Constraints hold the torch version: without them pip may fetch gigabytes of CUDA packages.
INSTALL := $(BIN)/python -m pip install --quiet -c constraints.txt

.PHONY: demo test fuzz test-slow test-data test-lowest lint coverage mutation bench wheel clean

demo: $(VENV)/.installed
	$(BIN)/genmix demo

# One thread each: two processes with two threads would wait for one another.
test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 -m "not slow and not data"

# Hostile files for ten minutes, from another seed each time: FUZZ_SEED=<the one printed> repeats a failure.
FUZZ_SECONDS ?= 150
FUZZ_SEED ?= $(shell date +%s)
fuzz: $(VENV)/.installed-dev
	@echo "FUZZ_SEED=$(FUZZ_SEED) FUZZ_SECONDS=$(FUZZ_SECONDS) a test"
	FUZZ_SEED=$(FUZZ_SEED) FUZZ_SECONDS=$(FUZZ_SECONDS) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/fuzz --timeout=1800

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -q -m "slow and not data" --timeout=1800

# What needs data sets that are too large to ship: make test-data GENMIX_DATA=<the folder that holds them>
test-data: $(VENV)/.installed-dev
	@test -d "$(GENMIX_DATA)" || { echo "GENMIX_DATA='$(GENMIX_DATA)' is not a folder" >&2; exit 1; }
	GENMIX_DATA="$(GENMIX_DATA)" OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 -m data

# The quick tests again, in an environment of its own with the lowest versions that pyproject.toml allows.
test-lowest:
	$(PYTHON) -m venv build/lowest
	build/lowest/bin/python -m pip install --quiet -c constraints-lowest.txt -e ".[dev]"
	OMP_NUM_THREADS=1 build/lowest/bin/python -m pytest -q -n 2 -m "not slow and not data"

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# Lines and branches that the quick tests run; the mathematics and the scores leave none out.
coverage: $(VENV)/.installed-dev
	$(BIN)/coverage run -m pytest -q -m "not slow and not data"
	$(BIN)/coverage report --include="*/em.py,*/information.py,*/adversarial.py,*/metrics.py" --fail-under=100
	$(BIN)/coverage report --show-missing

# Small faults put into em.py and metrics.py one by one: those that no test notices are listed at the end.
mutation: $(VENV)/.installed-dev
	$(INSTALL) -e ".[mutation]"
	OMP_NUM_THREADS=1 $(BIN)/mutmut run
	$(BIN)/mutmut results

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/speed.py
	$(BIN)/genmix reproduce --page docs/reproduction.md

# The wheel as a user gets it: built, unpacked apart from the sources, and run from another folder.
wheel: $(VENV)/.installed
	rm -rf build/wheel
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir build/wheel .
	$(BIN)/python -m pip install --quiet --no-deps --target build/wheel/unpacked build/wheel/*.whl
	cd build/wheel && PYTHONPATH=unpacked ../../$(BIN)/python -m genmix.cli fit image-segmentation \
		--n-samples 200 --components 3 --max-iter 2 --set init=kmeans --out model --no-progress
	cd build/wheel && PYTHONPATH=unpacked ../../$(BIN)/python -m genmix.cli report model image-segmentation \
		--n-samples 200 --out report.html

clean:
	rm -rf $(VENV) build dist genmix-demo .coverage htmlcov mutants
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.created:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml constraints.txt
	$(INSTALL) -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(INSTALL) -e ".[dev]"
	touch $@
