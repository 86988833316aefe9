#!/usr/bin/env bash
# Sees to it that there is a Chromium for the tests of the dashboard. Does nothing where there is one.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }

for name in chromium chromium-browser google-chrome; do
  if command -v "$name" >/dev/null; then exit 0; fi
done
own=$(.venv/bin/python -c 'from playwright.sync_api import sync_playwright as start
with start() as p: print(p.chromium.executable_path)')
[ ! -x "$own" ] || exit 0
say "installing Chromium, for the tests of the dashboard"
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  if { apt-get update && apt-get install -y --no-install-recommends chromium; } >/dev/null 2>&1; then exit 0; fi
fi
.venv/bin/python -m playwright install chromium ||
  { say "no Chromium could be installed: install one, or run pytest -m 'not browser'"; exit 1; }
