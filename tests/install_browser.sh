#!/usr/bin/env bash
# Make sure that there is a Chromium for the browser tests: the system's, Debian's, or Playwright's.
set -euo pipefail
command -v chromium >/dev/null || command -v google-chrome >/dev/null && exit 0
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  apt-get update -qq
  apt-get install -y -qq chromium >/dev/null
else
  "${VIRTUAL_ENV:-.venv}/bin/playwright" install chromium
fi
