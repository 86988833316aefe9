"""Reading vLLM's command-line arguments, of which our own users write some."""

from __future__ import annotations

from collections.abc import Sequence

DATA_PARALLEL_REFUSED = (
    "an engine with several data-parallel ranks hides which rank holds a program's KV; "
    "start one engine a rank instead and list them in the pool"
)


def value_of(args: Sequence[str], *names: str) -> str | None:
    """The value that vLLM will use of an option (the last one given), or None; a bare switch is an empty string.

    `names` are its spellings, with dashes; vLLM takes underscores for the dashes of a long one.
    """
    value = None
    for position, word in enumerate(args):
        name, equals, rest = word.partition("=")
        if name.replace("_", "-") not in names:
            continue
        following = args[position + 1] if position + 1 < len(args) else ""
        value = rest if equals else "" if following.startswith("--") else following
    return value
