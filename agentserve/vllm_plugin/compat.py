"""Which vLLM the plugin runs in. Everything that depends on its version is here.

vLLM's scheduler is no public interface. The plugin uses, with the same signatures in all supported versions (read in
the sources of 0.26, 0.28, 0.32 and 0.33; run on 0.32): `Scheduler.__init__`, `schedule(throttle_prefills)`,
`add_request`, `update_from_output`, `_free_request_blocks`, `reset_prefix_cache`; `KVCacheManager.get_blocks`,
`get_computed_blocks` and the first four parameters of `allocate_slots`; the first two of the coordinator's
`find_longest_cache_hit`; `Request.skip_reading_prefix_cache`; `ModelRunnerOutput.prompt_logprobs_dict`; `BlockPool.blocks` and `free_block_queue`; `FreeKVCacheBlockQueue.popleft`, `popleft_n`, `remove`,
`append_n`, `prepend_n` and `num_free_blocks`; the endpoint plugins; `call_utility_async` of the engine's client.
"""

from __future__ import annotations

import re

OLDEST = (0, 26)
NEWEST = (0, 33)


class UnsupportedVllmError(RuntimeError):
    """The plugin does not know this version of vLLM."""


def vllm_version() -> str:
    """The version of the vLLM that is installed here, such as `0.32.0`."""
    from vllm.version import __version__

    return str(__version__)


def require_supported(version: str) -> None:
    """Refuses a vLLM whose scheduler the plugin has not been checked against.

    Raises:
        UnsupportedVllmError: the version is older than 0.26, newer than 0.33, or unreadable.
    """
    parts = re.match(r"(\d+)\.(\d+)", version)
    if parts is None or not OLDEST <= (int(parts[1]), int(parts[2])) <= NEWEST:
        raise UnsupportedVllmError(
            f"the agentserve plugin supports vLLM {OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}, but this is vLLM "
            f"{version}; install a supported vLLM, or start it without --scheduler-cls (agentserve then works "
            "without retention)"
        )
