# `make demo` and `make test` set everything up by themselves: they need Python 3.11 or newer, and PyPI.

PYTHON ?= python3
BIN := .venv/bin
RUN := runs/demo

.PHONY: demo test test-all check clean

demo: .venv/ready
	$(BIN)/python -m export.sample --model_dir=pretrained/dcgan_mnist --num=64 --seed=1000 --out=runs/mnist.png
	$(BIN)/python -m trainers.run --flagfile=configs/demo.cfg --run_dir=$(RUN)
	$(BIN)/python -m export.sample --model_dir=$(RUN)/export --num=64 --seed=0 --out=$(RUN)/digits.png

test: .venv/ready-to-test
	$(BIN)/python -m pytest -n 2 --dist=loadgroup

# The same, every check over every variant of the adversarial games, and with all that XLA does to make code fast.
test-all: .venv/ready-to-test
	ALL_VARIANTS=1 $(BIN)/python -m pytest -n 2 --dist=loadgroup

# Lint and the fast tests, of one model of each family.
check: .venv/ready-to-test
	$(BIN)/ruff check .
	$(BIN)/python -m pytest -n 2 --dist=loadgroup -m "not slow" --one-of-each-family

.venv/ready: pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed: make PYTHON=python3.11')"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --editable .
	touch $@

.venv/ready-to-test: .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --editable ".[test,serving,onnx,pjrt,playground,tfds]"
	touch $@

clean:
	rm -rf .venv
