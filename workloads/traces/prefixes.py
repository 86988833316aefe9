"""What prompts share, from lists of block hashes."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from workloads.program import SharedPrefix, Tokens

_ROOT = -1


class PrefixTree:
    """All prompts seen so far as a tree: each text is a run of blocks, and begins where it parted from another.

    A prompt is a path of such texts, a few however many blocks it has. What is kept is eight bytes a distinct block.
    """

    def __init__(self, name: str, block_tokens: Tokens) -> None:
        self._name = name
        self._block_tokens = block_tokens
        self._texts: list[array[int]] = []
        self._branches: dict[tuple[int, int, int], int] = {}
        """Text, offset in it, block that follows there -> the text that begins with that block."""

    def path(self, blocks: Sequence[int], tokens: Tokens) -> tuple[SharedPrefix, ...]:
        """The first `tokens` tokens of a prompt made of these blocks, or all of them if they are fewer."""
        path: list[SharedPrefix] = []
        left = tokens
        for text, length in self._runs(blocks):
            size = min(left, length * self._block_tokens)
            if size > 0:
                path.append(SharedPrefix(f"{self._name}/{text}", size))
            left -= size
        return tuple(path)

    def _runs(self, blocks: Sequence[int]) -> list[tuple[int, int]]:
        """The texts that the blocks run through, with the number of blocks in each; new blocks are added."""
        runs: list[tuple[int, int]] = []
        text, offset, start = _ROOT, 0, 0
        while start < len(blocks):
            branch = self._branches.get((text, offset, blocks[start]))
            if branch is None:
                runs += self._grow(text, offset, blocks[start:], runs)
                break
            text, offset = branch, self._matching(branch, blocks, start)
            runs.append((text, offset))
            start += offset
        return runs

    def _matching(self, text: int, blocks: Sequence[int], start: int) -> int:
        """How many blocks from `start` on are the text's own."""
        known = self._texts[text]
        end = min(len(known), len(blocks) - start)
        return next((index for index in range(end) if known[index] != blocks[start + index]), end)

    def _grow(
        self, text: int, offset: int, blocks: Sequence[int], runs: list[tuple[int, int]]
    ) -> list[tuple[int, int]]:
        """Adds blocks that nobody has begun with here: at the text's end, or as a new one."""
        if text != _ROOT and offset == len(self._texts[text]):
            self._texts[text].extend(blocks)
            runs.pop()
            return [(text, offset + len(blocks))]
        self._texts.append(array("Q", blocks))
        self._branches[text, offset, blocks[0]] = len(self._texts) - 1
        return [(len(self._texts) - 1, len(blocks))]
