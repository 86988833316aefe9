"""What the brain has learned, and whose the latest responses were, kept in a file from one run to the next."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

from agentserve.gateway.chain import Chain
from scheduler.learned import Learned
from scheduler.types import Seconds

INTERVAL: Seconds = 60.0
"""Between two saves."""
RESPONSES = "responses"
"""The file's key beside those of `Learned`."""


class StateError(ValueError):
    """The file cannot be used. The message says why and what to do."""


def load_state(path: Path) -> Mapping[str, object] | None:
    """The saved state; None if there is no such file yet.

    Raises:
        StateError: the file is not one that `save_state` wrote.
    """
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        Learned.from_json(state)
        Chain().load(state.get(RESPONSES, []))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError) as error:
        message = f"state {path} cannot be read ({error}); move it away to begin with nothing learned"
        raise StateError(message) from error
    return dict(state)


def load_responses(path: Path, chain: Chain) -> None:
    """Puts the saved responses into the chain. Raises `StateError` as `load_state` does."""
    state = load_state(path)
    if state is not None:
        chain.load(state.get(RESPONSES, []))


def save_state(path: Path, learned: Learned, chain: Chain) -> None:
    """Replaces the file, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(json.dumps({**learned.to_json(), RESPONSES: chain.to_json()}), encoding="utf-8")
    fresh.replace(path)


async def keep_state(path: Path, learned: Learned, chain: Chain) -> None:
    """Saves now and then, until cancelled."""
    while True:
        await asyncio.sleep(INTERVAL)
        save_state(path, learned, chain)
