# `make demo` and `make test` build .venv from pyproject.toml, at the exact versions of
# constraints.txt, and need nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# The library alone, which is all that `make demo` needs; and what tests and checks need.
LIBRARY := $(VENV)/.installed-library
STAMP := $(VENV)/.installed

.PHONY: test demo lint types wheel-check check lock clean

$(LIBRARY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	touch $@

$(STAMP): $(LIBRARY)
	$(PIP) -e '.[torch,usd,test,dev]'
	touch $@

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

demo: $(LIBRARY)
	$(BIN)/i2z demo --out demo_out

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/pyrefly check

wheel-check: $(STAMP)
	PYTHON=$(BIN)/python bash .ci/wheel-check

check: test lint types wheel-check

# Refresh the exact versions from what is installed now.
lock: $(STAMP)
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' > constraints.txt

clean:
	rm -rf $(VENV) build dist *.egg-info
