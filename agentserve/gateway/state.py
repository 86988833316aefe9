"""What the brain has learned, and whose the latest responses were, kept in a file from one run to the next."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from agentserve.gateway.chain import Chain
from agentserve.gateway.tenants.roster import Roster
from scheduler.learned import Learned
from scheduler.types import Seconds

INTERVAL: Seconds = 60.0
"""Between two saves."""
RESPONSES, SPENT = "responses", "spent"
"""The file's keys beside those of `Learned`."""


NOTHING: Mapping[str, object] = MappingProxyType({})


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
        Roster.check_spent(state.get(SPENT, {}))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError) as error:
        message = f"state {path} cannot be read ({error}); move it away to begin with nothing learned"
        raise StateError(message) from error
    return dict(state)


def load_memory(path: Path, chain: Chain, roster: Roster) -> None:
    """Puts the saved responses and what is spent of budgets in their places. Raises `StateError` as `load_state` does."""
    state = load_state(path)
    if state is not None:
        chain.load(state.get(RESPONSES, []))
        roster.load_spent(state.get(SPENT, {}))


def save_state(path: Path, learned: Learned, chain: Chain, spent: Mapping[str, object] = NOTHING) -> None:
    """Replaces the file, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(
        json.dumps({**learned.to_json(), RESPONSES: chain.to_json(), **({SPENT: spent} if spent else {})}),
        encoding="utf-8",
    )
    fresh.replace(path)


async def keep_state(path: Path, learned: Learned, chain: Chain, roster: Roster) -> None:
    """Saves now and then, until cancelled."""
    while True:
        await asyncio.sleep(INTERVAL)
        save_state(path, learned, chain, roster.spent())
