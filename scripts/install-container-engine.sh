#!/bin/sh
# Debian's container engine, for the tests of deploy/compose.yaml; without root, or elsewhere, they are skipped and say so.
set -eu
for program in dockerd docker-compose debootstrap; do
    command -v "$program" >/dev/null || missing=1
done
[ -n "${missing:-}" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "no container engine here; the tests that need one are skipped" >&2
    exit 0
fi
apt-get update -qq
apt-get install -qq --yes --no-install-recommends docker.io docker-compose debootstrap iptables >/dev/null
