#!/usr/bin/env bash
# Builds .venv-clients/: agents' frameworks, as their users install them, for the tests of tests/clients. They pin what
# vLLM pins otherwise (websockets, certifi), so they have an environment of their own. Does nothing the second time.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=.venv-clients
stamp=$venv/.agentserve-clients
wanted=$(cat requirements/lock-clients.txt scripts/clients.sh | cksum)

if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
  [ -x "$venv/bin/python" ] || .venv/bin/uv venv --quiet --python .venv/bin/python "$venv"
  .venv/bin/uv pip install --quiet --python "$venv/bin/python" --requirements requirements/lock-clients.txt
  printf '%s' "$wanted" >"$stamp"
fi
