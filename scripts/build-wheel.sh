#!/bin/sh
# Builds the wheel into the given folder and looks into it. From a copy: what an earlier build left behind would go in.
set -eu
out=$1
python=${PYTHON:-.venv/bin/python}
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r pyproject.toml README.md LICENSE NOTICE onoma services "$copy"
find "$copy" -name __pycache__ -type d -prune -exec rm -r {} +
"$python" -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "$out" "$copy"
"$python" scripts/check_wheel.py "$out"/onoma-*.whl
