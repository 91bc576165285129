# Everything runs in a virtual environment in .venv, made on first use; `make help` lists the targets.
# Recipes call modules (`python -m dvc`), not scripts: a script's first line breaks in paths with spaces.
.DEFAULT_GOAL := help
.PHONY: help setup repro sweep test lint profile docs book-figures clean

export PYTHON ?= python3
export P
export E
RUN := . ./.venv/activate-here &&

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Make .venv and install what constraints.txt pins (other targets call it)
	@sh scripts/setup.sh "$$PYTHON"

repro: setup ## Run every stage of the pipeline that is out of date, then write report.html
	@$(RUN) PYTHONPATH=src python scripts/preflight.py && python -m dvc repro
	-@$(RUN) PYTHONPATH=src python -m scratchlm.cli report

sweep: setup ## Run a set of experiments, experiments/E.yaml: make sweep E=seeds
	@$(RUN) export PYTHONPATH=src && python scripts/preflight.py && python scripts/sweep.py $${E:+"$$E"}

test: setup ## Run the tests
	@$(RUN) OMP_NUM_THREADS=1 python -m pytest -n 2 --dist worksteal

lint: setup ## Check style and types
	@$(RUN) python -m ruff check .
	@$(RUN) python -m ruff format --check .
	@$(RUN) python -m mypy
	@$(RUN) python -c "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"

profile: ## Copy profiles/P.yaml over params.yaml: make profile P=laptop
	@sh scripts/profile.sh "$$P"

docs: setup ## Print what the pages show, and draw their pictures, from the last run (2 minutes)
	@$(RUN) PYTHONPATH=src python scripts/pages.py

book-figures: setup ## Recompute the book's printed figures (6 minutes): make book-figures ARGS="--only ch05"
	@$(RUN) python benchmarks/book_figures.py $(ARGS)

clean: ## Remove .venv and tool caches; data, models and DVC's cache stay
	rm -rf .venv build .mypy_cache .ruff_cache .pytest_cache .hypothesis src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
