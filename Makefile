# Everything sets itself up in .venv on first use. PYTHON chooses the interpreter: make test PYTHON=python3.12
PYTHON ?= python3
BIN := .venv/bin
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo docs notebooks test test-long test-browser test-nodes test-faults fuzz mutants audit test-laion lint format clean

# Nothing here may wait for a model hub.
export HF_HUB_OFFLINE := 1

help:  ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/.installed  ## make .venv; the targets below do it themselves

# What shows that there is a GPU, of NVIDIA or AMD.
GPU ?= $(wildcard /dev/nvidia0 /dev/kfd)$(shell command -v nvidia-smi)
# On Linux PyPI's torch is the one for CUDA, some gigabytes. Without a GPU the small one of PyTorch's index is asked for, once,
# and only where pip's settings name no source of packages and no other build is installed. If that fails, PyPI's follows.
define TORCH_FOR_CPUS
if [ "$$(uname -s)" = Linux ] && [ -z "$(GPU)" ] \
	&& ! $(BIN)/python -m pip config list | grep -E 'index|find-links' >/dev/null \
	&& ! $(BIN)/python -m pip list --disable-pip-version-check --format freeze | grep '^torch==' | grep -v '+cpu' >/dev/null; then \
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --retries 0 --timeout 10 \
		--index-url https://download.pytorch.org/whl/cpu "$$(grep '^torch==' constraints.txt)+cpu" \
		|| echo "PyTorch's build for CPUs could not be had: taking the one that pip finds"; \
fi
endef

# The stamp makes set-up happen once, and again when what is installed changes.
.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("expected Python 3.11 or later, got %d.%d from $(PYTHON): set another, as in `make test PYTHON=python3.12`" % v[:2])'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(TORCH_FOR_CPUS)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: .venv/.installed  ## distil the bundled teacher and show it in demo/report.html, in a few minutes
	$(BIN)/python -m tools.demo

notebooks: .venv/.installed  ## run the notebooks, with few steps; the documentation site then shows their outputs
	OMP_NUM_THREADS=1 $(BIN)/python -m tools.documentation.run_notebooks

# mkdocstrings reads the package where a wheel would have it (pyproject.toml, package-dir). Links that lead nowhere are errors.
docs: .venv/.installed  ## build the documentation site in build/site; its sounds take a minute the first time
	OMP_NUM_THREADS=1 $(BIN)/python -m tools.documentation.gallery build/gallery
	@rm -rf build/package
	@$(BIN)/python -c 'from setuptools import setup; setup()' -q build_py --build-lib build/package
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# OpenVINO has threads of its own and ended a worker of the suite once: its tests have a process to themselves.
test: .venv/.installed  ## run the tests, but for the long ones
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not long" --ignore tests/graphs/test_openvino_format.py
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/graphs/test_openvino_format.py

# One after the other: they start processes of their own, which need the cores.
test-long: .venv/.installed  ## run the long tests: two processes that train as one, recipes one after another, compilation (minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m long

# Gradio accepts no Pillow of constraints.txt's version: .venv-app lies over .venv, and has Gradio and an older Pillow.
.venv-app/.installed: .venv/.installed constraints-app.txt
	test -x .venv-app/bin/python || $(BIN)/python -m venv .venv-app
	$(BIN)/python -c 'import site; print("import site; site.addsitedir(%r)" % site.getsitepackages()[0])' \
		> "$$(.venv-app/bin/python -c 'import site; print(site.getsitepackages()[0])')/under.pth"
	.venv-app/bin/python -m pip install --disable-pip-version-check -c constraints-app.txt -e '.[app]'
	@touch $@

test-browser: .venv-app/.installed  ## run the tests of pages in Chromium
	OMP_NUM_THREADS=1 .venv-app/bin/python -m pytest tests/browser

test-nodes: .venv/.installed  ## run the tests of two machines, in network namespaces (root, Linux, minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/nodes

test-faults: .venv/.installed  ## kill trainings a hundred times, fill a disk as root, resume in every order (Linux, minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -s -rs tests/faults
	CHAINS=all OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/training/test_position.py -k chain

# libFuzzer stops at the first input that a reader does not withstand, and keeps it in build/fuzz.
FUZZ_SECONDS ?= 600
fuzz: .venv/.installed  ## feed the readers of captions and sounds with odd bytes for FUZZ_SECONDS (600)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fuzz]'
	for reader in captions sounds; do \
		OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz.fuzz_readers $$reader -max_total_time=$$(($(FUZZ_SECONDS) * 2 / 5)); done
	HYPOTHESIS_PROFILE=long OMP_NUM_THREADS=1 timeout $$(($(FUZZ_SECONDS) / 5)) $(BIN)/python -m pytest -x -k random \
		tests/storage tests/runtime tests/datamodules || test $$? = 124

mutants: .venv/.installed  ## which single changes of FILES their tests do not find: make mutants FILES="losses/stft.py"
	$(BIN)/python -m tools.mutants $(FILES)

# What the versions in constraints*.txt are known for, by PyPI's records. `--strict`: a version without a record is an error.
audit:  ## look up known vulnerabilities of the pinned packages (needs pypi.org)
	test -x .venv-audit/bin/pip-audit \
		|| { $(PYTHON) -m venv .venv-audit && .venv-audit/bin/python -m pip install --quiet pip-audit; }
	for file in constraints*.txt; do \
		.venv-audit/bin/pip-audit --strict -r $$file --no-deps --disable-pip || exit 1; done

# laion_clap asks for older releases than constraints.txt has, and with them comes torch for GPUs: 7 GB.
.venv-laion/.installed: pyproject.toml constraints-laion.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; (3, 11) <= v < (3, 13) or sys.exit("expected Python 3.11 or 3.12, got %d.%d from $(PYTHON): set another, as in `make test-laion PYTHON=python3.12`" % v[:2])'
	test -x .venv-laion/bin/python || $(PYTHON) -m venv .venv-laion
	.venv-laion/bin/python -m pip install --disable-pip-version-check -c constraints-laion.txt -e '.[laion]' pytest
	@touch $@

test-laion: .venv-laion/.installed  ## run the tests that need the extra laion, in .venv-laion (7 GB)
	OMP_NUM_THREADS=1 .venv-laion/bin/python -m pytest tests/laion

# mypy reads the package where a wheel would have it (pyproject.toml, tool.mypy); sed turns its paths back into ours.
lint: .venv/.installed  ## check style, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	@rm -rf build/typecheck
	@$(BIN)/python -c 'from setuptools import setup; setup()' -q build_py --build-lib build/typecheck
	MYPYPATH=build/typecheck $(BIN)/mypy --cache-dir build/mypy_cache -p consistency_tta -p tools \
		| sed -E 's#^build/typecheck/##; s#^consistency_tta/(losses|datamodules)/#\1/#'

format: .venv/.installed  ## repair style and format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:  ## remove all .venv*, builds and caches
	rm -rf .venv .venv-app .venv-audit .venv-laion build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
