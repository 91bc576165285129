#!/bin/sh
# Make .venv, or bring it up to date: sh scripts/setup.sh [python]. Takes no time when nothing changed.
set -eu
python=${1:-python3}
# A venv knows its own absolute path, so a renamed folder needs a new one; so do new pins.
wanted="$(pwd -P) $(cat pyproject.toml constraints.txt | cksum)"
# An upgrade of the system's Python can leave the venv without one.
[ "$(cat .venv/ready 2>/dev/null || true)" = "$wanted" ] && .venv/bin/python -c '' 2>/dev/null && exit 0

command -v "$python" >/dev/null || { echo "setup: error: $python not found: install Python 3.11 or newer" >&2; exit 1; }
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "setup: error: $("$python" --version) is too old: use 3.11 or newer, as in make PYTHON=python3.12 repro" >&2
    exit 1
}
command -v git >/dev/null || { echo "setup: error: git not found: install it" >&2; exit 1; }
echo "setup: making .venv with $("$python" --version) (a few minutes, once)"
rm -rf .venv
"$python" -m venv .venv
pip_install() { .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt "$@"; }
pip_install -e '.[test]'
# The book's own code, to compare with. It asks for TensorFlow and Jupyter, which none of that code needs here.
pip_install --no-deps llms-from-scratch ||
    echo "setup: llms-from-scratch cannot be installed: the tests that compare with the book's code will be skipped" >&2
# llama.cpp, to compare with and to serve a real model to the judge's tests.
pip_install --no-deps xllamacpp ||
    echo "setup: xllamacpp cannot be installed: the tests against llama.cpp will be skipped" >&2
# Sourced by make: the environment on PATH, which DVC needs to find `python`.
printf '%s\n' 'PATH="$(pwd)/.venv/bin:$PATH"; export PATH' >.venv/activate-here
printf '%s' "$wanted" >.venv/ready
echo "setup: done"
