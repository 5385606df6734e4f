#!/usr/bin/env bash
# Set up if needed, then lint, type-check and test.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
set_up dev

"$VENV/bin/ruff" check .
"$VENV/bin/ruff" format --check .
"$VENV/bin/mypy"
"$VENV/bin/python" -m pytest --numprocesses 2 "$@"
