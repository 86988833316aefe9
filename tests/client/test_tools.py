"""Tools, and clients that are none of those that can be wrapped."""

from __future__ import annotations

import asyncio

import pytest

from agentserve import Client, Effect, tool
from agentserve.client.notices import Pending


@tool(effect="irreversible", dry_run=lambda path: f"would delete {path}")
def delete(path: str) -> str:
    """Deletes a file."""
    return path


def test_a_tool_is_called_like_its_function_and_says_what_it_does() -> None:
    assert delete("x") == "x"
    assert (delete.name, delete.effect, delete.__doc__) == ("delete", Effect.IRREVERSIBLE, "Deletes a file.")
    assert delete.dry_run is not None
    assert delete.dry_run("x") == "would delete x"


def test_arguments_can_be_checked_without_a_call() -> None:
    delete.check(("x",), {})
    with pytest.raises(TypeError, match=r"delete\(path: 'str'\) -> 'str': missing a required argument: 'path'"):
        delete.check((), {})


def test_an_unknown_effect_names_those_there_are() -> None:
    with pytest.raises(ValueError, match="pure, idempotent, irreversible, not 'harmless'"):
        tool(effect="harmless")


async def test_an_async_tool_is_awaited() -> None:
    @tool(effect="pure")
    async def wait() -> int:
        await asyncio.sleep(0)
        return 3

    assert wait.is_async
    assert await wait() == 3


def test_of_what_was_not_sent_yet_the_latest_word_counts() -> None:
    pending = Pending()
    assert pending.put("p", {"tool_started": "a"}), "somebody has to begin to send"
    assert not pending.put("p", {"remaining_calls": 3})
    assert not pending.put("p", {"tool_ended": True})
    assert pending.take() == ("p", {"remaining_calls": 3}), "of a tool that has ended already nobody need know"
    assert pending.take() is None
    pending.put("p", {"tool_started": "a"})
    assert pending.take() == ("p", {"tool_started": "a"})
    pending.put("p", {"tool_ended": True})
    pending.put("p", {"tool_started": "b"})
    assert pending.take() == ("p", {"tool_started": "b"})
    pending.put("p", {"tool_ended": True})
    assert pending.take() == ("p", {"tool_ended": True})
    pending.put("p", {"tool_started": "c"})
    pending.put("p", {"tool_ended": True})
    assert pending.take() is None
    assert pending.put("p", {"tool_started": "b"})
    pending.forget("p")
    assert pending.take() is None


def test_only_clients_of_the_two_packages_can_be_wrapped() -> None:
    with pytest.raises(TypeError, match=r"openai or anthropic package, not object; pass program\.headers\(\)"):
        Client().program().wrap(object())
