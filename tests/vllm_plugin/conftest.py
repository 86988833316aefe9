"""Imports vLLM before the tests do: it and torch warn meanwhile, and warnings are errors in tests."""

import importlib
import importlib.util
import warnings

collect_ignore: list[str] = []

if importlib.util.find_spec("vllm") is None:
    collect_ignore += [
        "test_free_queue.py",
        "test_real_engine.py",
        "test_requests.py",
        "test_scheduler.py",
        "test_stress.py",
        "test_tail_scores.py",
    ]
else:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("agentserve.vllm_plugin.scheduler")
