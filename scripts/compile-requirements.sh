#!/bin/sh
# Compiles pyproject.toml into pinned requirements, without index addresses.
set -eu
compile() {
    out=$1
    shift
    .venv/bin/uv pip compile pyproject.toml "$@" --python-version 3.11 --strip-extras --no-header --quiet \
        --no-emit-index-url --no-emit-find-links --no-emit-package onoma -o "requirements/$out.txt"
}
compile onoma
compile serve --extra serve
# What two images share is the same in both.
compile serve-light --extra serve-light --constraint requirements/serve.txt
compile dev --extra demo --group dev
