#!/usr/bin/env bash
# Makes the environment, checks style and types, and runs the tests.
# Arguments go to pytest: ./run_tests.sh -k decode, or -m differential for the tests of a mark.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source deploy/venv.sh
use_venv .venv-dev dev
export TF_CPP_MIN_LOG_LEVEL=3
.venv-dev/bin/ruff check .
.venv-dev/bin/ruff format --check .
.venv-dev/bin/mypy
.venv-dev/bin/lint-imports --no-logo --no-cache
# All of it side by side, with a process more than there are cores, since some tests wait; a chosen
# part in one process, since engines want the machine for themselves.
processes=$(($(getconf _NPROCESSORS_ONLN) + 1))
[ $# -gt 0 ] || set -- -n "$((processes < 4 ? processes : 4))" --dist=loadfile
exec .venv-dev/bin/python -m pytest "$@"
