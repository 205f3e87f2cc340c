# make study: from a fresh clone to the comparison. make test: the project's checks. Both can be run again, and both
# run on the versions that constraints.txt names.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: study lint test test-slow test-long constraints clean

study: $(VENV)/leafexp-installed
	$(BIN)/python -m leafexp.train -m model=cnn,mnv2 freeze=frozen,unfrozen,partial
	$(BIN)/python scripts/report.py
	@echo
	@echo "The report with figures: reports/leafexp/report.html"
	@echo "Every run, its curves and its model: $(BIN)/mlflow ui   (then open http://127.0.0.1:5000)"

lint: $(VENV)/leafexp-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/pytest -n 2 --dist loadfile

test-slow: $(VENV)/leafexp-installed
	$(BIN)/pytest -n 2 --dist loadfile -m "slow and not long"

test-long: $(VENV)/leafexp-installed
	$(BIN)/pytest -m long

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "leafexp needs Python 3.11 or later; $(PYTHON) is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 study")'
	@echo "Making the environment $(VENV)"
	$(PYTHON) -m venv $(VENV)

$(VENV)/leafexp-installed: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "Installing leafexp and what it needs (about 2 GB) into $(VENV)"
	$(PIP) install --require-hashes --requirement constraints.txt
	$(PIP) install --no-deps --editable .
	@touch $@

# The newest versions that pyproject.toml allows, for every system and Python that it allows; then run the tests.
constraints: $(VENV)/bin/python
	$(PIP) install uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra dev --generate-hashes --upgrade \
		--no-header --no-annotate --output-file constraints.txt pyproject.toml

clean:
	rm -rf $(VENV) outputs reports .mypy_cache .ruff_cache .pytest_cache
