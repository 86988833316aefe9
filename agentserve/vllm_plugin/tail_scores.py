"""Log-probabilities of a prompt's last tokens, with the prefix cache on.

vLLM gives the log-probabilities of a prompt only to requests that read nothing from the prefix cache, for it has no
logits of what it does not compute. A request that wants those of the last few tokens alone may read everything before
them: its hit ends early enough, and the rows before its tail, which nobody has computed, are left out of its answer.
"""

from __future__ import annotations

from typing import Any

from vllm.v1.core.kv_cache_manager import KVCacheManager
from vllm.v1.outputs import LogprobsTensors
from vllm.v1.request import Request


class TailScores:
    """The requests that want the scores of their tails, in the scheduler that owns `manager`."""

    def __init__(self, manager: KVCacheManager) -> None:
        self._tails: dict[str, int] = {}
        self._longest_hit: int | None = None
        """Of the request whose cached blocks are being looked up; None if it wants no scores."""
        self._lookup = manager.get_computed_blocks
        self._find = manager.coordinator.find_longest_cache_hit
        manager.get_computed_blocks = self._get_computed_blocks
        manager.coordinator.find_longest_cache_hit = self._find_longest_cache_hit

    def __len__(self) -> int:
        return len(self._tails)

    def enter(self, request: Request, tail: int) -> None:
        """Takes in a request that asks for `prompt_logprobs`: those of its last `tail` tokens are wanted."""
        self._tails[request.request_id] = tail
        request.skip_reading_prefix_cache = False

    def leave(self, request: str) -> None:
        """The request has finished. One that wanted no scores is ignored."""
        self._tails.pop(request, None)

    def cut(self, answers: dict[str, LogprobsTensors | None]) -> None:
        """Leaves only the rows of the tails in a step's prompt log-probabilities, by request."""
        for name in self._tails.keys() & answers.keys():
            answers[name] = _last_rows(answers[name], self._tails[name])

    def _get_computed_blocks(self, request: Request, *args: Any, **kwargs: Any) -> Any:
        tail = self._tails.get(request.request_id)
        if tail is not None:
            # the token before the tail has to be computed, for its logits score the tail's first one
            self._longest_hit = max(0, request.num_prompt_tokens - tail - 1)
        try:
            return self._lookup(request, *args, **kwargs)
        finally:
            self._longest_hit = None

    def _find_longest_cache_hit(self, block_hashes: Any, max_cache_hit_length: int, *args: Any, **kwargs: Any) -> Any:
        if self._longest_hit is not None:
            max_cache_hit_length = min(max_cache_hit_length, self._longest_hit)
        return self._find(block_hashes, max_cache_hit_length, *args, **kwargs)


def _last_rows(rows: LogprobsTensors | None, count: int) -> LogprobsTensors | None:
    if rows is None:
        return None
    return rows._replace(
        logprob_token_ids=rows.logprob_token_ids[-count:],
        logprobs=rows.logprobs[-count:],
        selected_token_ranks=rows.selected_token_ranks[-count:],
    )
