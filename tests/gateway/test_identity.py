import json

import pytest

from agentserve.gateway.history import History
from agentserve.gateway.identity import Identity, Source, identify
from agentserve.gateway.request import CHAT, COMPLETIONS, parse_request

CONTEXT = {"agentic_context": {"session_id": "s", "task_id": "t", "agent_id": "a"}}


def who(history: History, body: dict[str, object], headers: dict[str, str] | None = None, path: str = CHAT) -> Identity:
    raw = {name.encode(): value.encode() for name, value in (headers or {}).items()}
    return identify(raw, parse_request(path, json.dumps({"model": "m", **body}).encode()), history)


def chat(*messages: str, **fields: object) -> dict[str, object]:
    """Messages by turn: "u..." is the user's, "a..." the assistant's, "s..." the system's."""
    roles = {"u": "user", "a": "assistant", "s": "system"}
    return {"messages": [{"role": roles[text[0]], "content": text} for text in messages], **fields}


SOURCES: list[tuple[dict[str, str], dict[str, object], str, Source]] = [
    ({"x-agentserve-program": "p"}, {}, "p", Source.HEADER),
    ({}, {"vllm_xargs": CONTEXT}, "s/t/a", Source.AGENTIC_CONTEXT),
    ({}, {"vllm_xargs": {"agentic_context": '{"session_id": "s", "other": 1}'}}, "s", Source.AGENTIC_CONTEXT),
    ({"x-session-id": "1"}, {}, "1", Source.SESSION),
    ({"x-claude-code-session-id": "2"}, {}, "2", Source.SESSION),
    ({"session-id": "3"}, {}, "3", Source.SESSION),
    ({"x-dynamo-session-id": "4"}, {}, "4", Source.SESSION),
    ({}, {"prompt_cache_key": "k"}, "k", Source.PROMPT_CACHE_KEY),
]


@pytest.mark.parametrize(("headers", "fields", "program", "source"), SOURCES)
def test_each_source_names_the_program(
    headers: dict[str, str], fields: dict[str, object], program: str, source: Source
) -> None:
    identity = who(History(), chat("u1", **fields), headers)
    assert (str(identity.program), identity.source) == (f"default/{program}", source)


def test_the_sources_are_asked_in_order() -> None:
    headers: dict[str, str] = {}
    fields: dict[str, object] = {}
    for more_headers, more_fields, program, source in reversed(SOURCES):
        headers |= more_headers
        fields |= more_fields
        identity = who(History(), chat("u1", **fields), headers)
        assert (identity.program.program, identity.source) == (program, source)


def test_what_the_client_says_beside_its_program() -> None:
    headers = {
        "x-agentserve-program": "p",
        "x-agentserve-parent": "q",
        "x-agentserve-stage": "revise",
        "x-agentserve-workflow": "sql",
        "x-agentserve-deadline-ms": "1500",
        "x-agentserve-final": "true",
    }
    identity = who(History(), chat("u1"), headers)
    assert str(identity.parent) == "default/q"
    assert (identity.stage, identity.workflow, identity.deadline, identity.final) == ("revise", "sql", 1.5, True)


def test_without_any_word_each_first_prompt_is_a_program_of_its_own() -> None:
    history = History()
    first, second = who(history, chat("s", "u1")), who(history, chat("s", "u1"))
    assert first.source is second.source is Source.NONE
    assert first.program != second.program


def test_a_request_belongs_to_the_program_whose_answer_it_continues() -> None:
    history = History()
    one = who(history, chat("s", "u1")).program
    other = who(history, chat("s", "u2")).program
    assert who(history, chat("s", "u1", "a1", "u3")).program == one
    assert who(history, chat("s", "u2", "a1", "u3")).program == other
    assert who(history, chat("s", "u1", "a1", "u3", "a2", "u4")).program == one


def test_the_longest_known_history_wins() -> None:
    history = History()
    root = who(history, chat("u1")).program
    branch = who(history, chat("u1", "a1", "u2"), {"x-agentserve-program": "branch"}).program
    assert who(history, chat("u1", "a1", "u2", "a2", "u3")).program == branch
    assert who(history, chat("u1", "a9", "u2")).program == root


def test_a_shared_system_prompt_or_example_is_no_history() -> None:
    history = History()
    who(history, chat("s", "u-example", "a-example", "u1"))
    assert who(history, chat("s", "u-example", "a-example", "u2")).source is Source.NONE


def test_programs_with_the_same_first_prompt_each_get_one_of_the_second_calls() -> None:
    history = History()
    twins = {who(history, chat("s", "u1")).program for _ in range(3)}
    seconds = [who(history, chat("s", "u1", f"a{number}", "u2")).program for number in range(3)]
    assert set(seconds) == twins
    for number, program in enumerate(seconds):
        assert who(history, chat("s", "u1", f"a{number}", "u2", "a", "u3")).program == program


def test_another_model_or_other_tools_share_no_history() -> None:
    history = History()
    who(history, chat("u1"))
    assert who(history, chat("u1", "a1", "u2", tools=[{"type": "function"}])).source is Source.NONE
    assert who(history, {**chat("u1", "a1", "u2"), "model": "other"}).source is Source.NONE


def test_a_history_of_a_named_program_is_known_too() -> None:
    history = History()
    named = who(history, chat("u1"), {"x-agentserve-program": "p"}).program
    assert who(history, chat("u1", "a1", "u2")).program == named


def test_a_plain_prompt_continues_one_that_it_begins_with() -> None:
    history = History()
    text = "".join(f"line {number}\n" for number in range(200))
    first = who(history, {"prompt": text}, path=COMPLETIONS)
    twin = who(history, {"prompt": text}, path=COMPLETIONS)
    longer = who(history, {"prompt": text + "answer, and more"}, path=COMPLETIONS)
    other = who(history, {"prompt": text[:-1] + "?" + "answer, and more"}, path=COMPLETIONS)
    assert longer.source is Source.HISTORY
    assert longer.program == first.program
    assert twin.source is other.source is Source.NONE


def test_a_short_plain_prompt_is_no_history() -> None:
    history = History()
    who(history, {"prompt": "a"}, path=COMPLETIONS)
    assert who(history, {"prompt": "ab"}, path=COMPLETIONS).source is Source.NONE
