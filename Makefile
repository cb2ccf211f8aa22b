# Everything is installed into .venv, from the lock files; a target installs what is missing before it runs.
# On Linux a PyTorch built for the CPU spares two gigabytes of downloads: see docs/decisions/0002-dependency-lock.md.

PYTHON ?= python3
ARGS ?=

VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check --no-input
INSTALL := $(PIP) install --no-deps --no-compile
IMAGE := build/protos.binpb

# The installer compiles nothing, so the first import must be allowed to keep what it compiles.
unexport PYTHONDONTWRITEBYTECODE
unexport PYTHONPATH

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo up test check soak format protos lock setup setup-dev clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: setup ## Start the services, draw three scenes with the reference's face into out/, stop
	@$(RUN) -m scripts.demo $(ARGS)

up: setup ## Start the services in the foreground, the gateway on port 8080; Ctrl-C stops them
	@$(RUN) -m scripts.up $(ARGS)

test: setup-dev ## Run all tests
	@$(RUN) -m pytest $(ARGS)

check: setup-dev ## Lint and type-check the code, lint the protos, see that the generated code is up to date
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(RUN) scripts/generate_protos.py --image $(IMAGE)
	$(VENV)/bin/buf lint $(IMAGE) --config protos/buf.yaml
	$(RUN) scripts/generate_protos.py --check

soak: setup ## Send random requests to a generator and to a faceswap service, look at memory and answers; SERVICE=faceswap for one
	$(if $(filter-out generator,$(SERVICE)),,$(RUN) -m bench.soak --output bench/results/soak.json $(ARGS))
	$(if $(filter-out faceswap,$(SERVICE)),,$(RUN) -m bench.soak_faceswap --output bench/results/soak_faceswap.json $(ARGS))

format: setup-dev ## Format the code
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

protos: setup-dev ## Generate the Python contract from protos/
	$(RUN) scripts/generate_protos.py

lock: setup ## Write the lock files from pyproject.toml; ARGS="--upgrade" renews the pins (needs uv)
	$(RUN) scripts/lock_dependencies.py $(ARGS)

setup: $(VENV)/.installed ## Install what runs the services
setup-dev: $(VENV)/.installed-dev ## Install what tests and checks them

clean: ## Remove .venv and all that was built or written
	rm -rf $(VENV) build out var *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -path ./.git -prune -o -name __pycache__ -type d -exec rm -rf {} +

$(VENV)/.created:
	@command -v "$(PYTHON)" >/dev/null || { echo "$(PYTHON) is missing; Likeness needs Python 3.11 or newer" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Likeness needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V 2>&1); set PYTHON=python3.12, say" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) lacks its venv module; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	"$(PYTHON)" -m venv --clear $(VENV)
	@touch $@

# PyTorch's build for Linux from PyPI links CUDA's libraries, and does not start without them, GPU or not.
$(VENV)/.installed: $(VENV)/.created requirements.lock requirements-cuda.lock pyproject.toml
	$(INSTALL) -r requirements.lock
	@if $(RUN) -c 'from importlib.metadata import requires; import sys; sys.exit("nvidia" not in str(requires("torch")))'; \
		then echo "$(INSTALL) -r requirements-cuda.lock"; $(INSTALL) -r requirements-cuda.lock; fi
	$(INSTALL) --quiet --no-build-isolation --config-settings editable_mode=compat --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock
	$(INSTALL) -r requirements-dev.lock
	@touch $@
