#!/bin/sh
# The browser tests need Debian's chromium. Installs it where that is possible; otherwise pytest skips those
# tests and says so.
command -v chromium >/dev/null && exit 0
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    echo "installing chromium for the browser tests"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null
fi
command -v chromium >/dev/null || echo "no chromium: the browser tests will be skipped"
exit 0
