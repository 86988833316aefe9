import json
from collections.abc import Mapping

import pytest

from agentserve.gateway.chain import Chain
from agentserve.gateway.errors import ApiError
from agentserve.gateway.identity import Identity, Registrar
from agentserve.gateway.request import parse_request
from agentserve.gateway.sources import Source
from scheduler.types import DEFAULT_TENANT, ProgramKey, TenantId
from tests.gateway.world import CHAT, COMPLETIONS, RESPONSES

CONTEXT = {"agentic_context": {"session_id": "s", "task_id": "t", "agent_id": "a"}}


def who(
    registrar: Registrar,
    body: Mapping[str, object],
    headers: Mapping[str, str] | None = None,
    path: str = CHAT,
    *,
    url: str = "",
    tenant: TenantId = DEFAULT_TENANT,
) -> Identity:
    raw = {name.encode(): value.encode() for name, value in (headers or {}).items()}
    request = parse_request(path, json.dumps({"model": "m", **body}).encode())
    identity = registrar.identify(raw, request, url, tenant)
    registrar.remember(request, identity)
    return identity


def nobody_known() -> Registrar:
    return Registrar(Chain(), 1000)


def chat(*messages: str, **fields: object) -> dict[str, object]:
    """Messages by turn: "u..." is the user's, "a..." the assistant's, "s..." the system's."""
    roles = {"u": "user", "a": "assistant", "s": "system"}
    return {"messages": [{"role": roles[text[0]], "content": text} for text in messages], **fields}


CLAUDE_USER = "user_8fd1_account_5c2a_session_1f-2e"
NEW_CLAUDE_USER = json.dumps({"device_id": "d", "account_uuid": "a", "session_id": "1f-2e"})
BAGGAGE = "userId=alice, gen_ai.conversation.id=conv%201;ttl=3"

SOURCES: list[tuple[dict[str, str], dict[str, object], str, Source]] = [
    ({"x-agentserve-program": "p"}, {}, "p", Source.HEADER),
    ({}, {"agentserve": {"program": "b"}}, "b", Source.BODY),
    ({}, {"vllm_xargs": CONTEXT}, "s/t/a", Source.AGENTIC_CONTEXT),
    ({"x-dynamo-session-id": "4"}, {}, "4", Source.DYNAMO),
    ({"x-claude-code-session-id": "2"}, {}, "2", Source.CLAUDE_CODE),
    ({"session-id": "3"}, {}, "3", Source.CODEX),
    ({"x-session-affinity": "ses_1"}, {}, "ses_1", Source.OPENCODE),
    ({"x-qwen-code-session-id": "q"}, {}, "q", Source.SESSION),
    ({}, {"conversation": {"id": "conv_1"}}, "conv_1", Source.CONVERSATION),
    ({}, {"previous_response_id": "resp_1"}, "resp_1", Source.RESPONSE),
    ({}, {"prompt_cache_key": "k"}, "k", Source.PROMPT_CACHE_KEY),
    ({}, {"metadata": {"user_id": CLAUDE_USER}}, "1f-2e", Source.METADATA),
    ({"baggage": BAGGAGE}, {}, "conv 1", Source.BAGGAGE),
]

OTHERS: list[tuple[dict[str, str], dict[str, object], str, Source]] = [
    ({}, {"vllm_xargs": {"agentic_context": '{"session_id": "s", "other": 1}'}}, "s", Source.AGENTIC_CONTEXT),
    ({}, {"vllm_xargs": {"agentic_context": {"program_id": "p", "session_id": "s"}}}, "p", Source.AGENTIC_CONTEXT),
    ({"x-claude-code-session-id": "2", "x-claude-code-agent-id": "a"}, {}, "2/a", Source.CLAUDE_CODE),
    ({"session-id": "3", "thread-id": "t"}, {}, "t", Source.CODEX),
    ({"session_id": "3"}, {}, "3", Source.CODEX),
    ({"session_id": "3", "conversation_id": "c"}, {}, "c", Source.CODEX),
    ({"x-opencode-session": "ses_1"}, {}, "ses_1", Source.OPENCODE),
    ({"x-session-id": "1"}, {}, "1", Source.SESSION),
    ({}, {"conversation": "conv_1"}, "conv_1", Source.CONVERSATION),
    ({}, {"metadata": {"user_id": NEW_CLAUDE_USER}}, "1f-2e", Source.METADATA),
    ({}, {"metadata": {"session_id": "s"}}, "s", Source.METADATA),
    ({}, {"metadata": {"thread_id": "t"}}, "t", Source.METADATA),
]


@pytest.mark.parametrize("tenant", [DEFAULT_TENANT, TenantId("other")])
@pytest.mark.parametrize(("headers", "fields", "program", "source"), SOURCES + OTHERS)
def test_each_source_names_the_program_within_its_tenant(
    headers: dict[str, str], fields: dict[str, object], program: str, source: Source, tenant: TenantId
) -> None:
    identity = who(nobody_known(), chat("u1", **fields), headers, url="of-the-url", tenant=tenant)
    assert (identity.program, identity.source) == (ProgramKey(tenant, program), source)


LONG = "x" * 257
TOO_LONG: list[tuple[dict[str, str], dict[str, object]]] = [
    *(
        ({header: LONG}, {})
        for header in (
            "x-dynamo-session-id",
            "x-claude-code-session-id",
            "session-id",
            "x-opencode-session",
            "x-session-affinity",
            "x-qwen-code-session-id",
        )
    ),
    ({"baggage": f"gen_ai.conversation.id={LONG}"}, {}),
    ({}, {"conversation": {"id": LONG}}),
    ({}, {"previous_response_id": LONG}),
    ({}, {"prompt_cache_key": LONG}),
    ({}, {"metadata": {"session_id": LONG}}),
    ({}, {"metadata": {"user_id": f"user_1_account_2_session_{LONG}"}}),
]


@pytest.mark.parametrize(("headers", "fields"), TOO_LONG)
def test_an_id_that_is_too_long_is_passed_over(headers: dict[str, str], fields: dict[str, object]) -> None:
    assert who(nobody_known(), chat("u1", **fields), headers).source is Source.NONE


@pytest.mark.parametrize(
    ("headers", "fields"),
    [
        ({"x-agentserve-program": LONG}, {}),
        ({}, {"agentserve": {"program": LONG}}),
        ({}, {"vllm_xargs": {"agentic_context": {"session_id": LONG}}}),
        ({}, {"vllm_xargs": {"agentic_context": {"session_id": "x" * 200, "task_id": "y" * 200}}}),
    ],
)
def test_an_id_of_our_own_that_is_too_long_is_refused(headers: dict[str, str], fields: dict[str, object]) -> None:
    with pytest.raises(ApiError, match="at most 256 bytes"):
        who(nobody_known(), chat("u1", **fields), headers)


def test_the_sources_are_asked_in_order() -> None:
    headers: dict[str, str] = {}
    fields: dict[str, object] = {}
    for more_headers, more_fields, program, source in reversed(SOURCES):
        headers |= more_headers
        fields |= more_fields
        identity = who(nobody_known(), chat("u1", **fields), headers, url="of-the-url")
        assert (identity.program.program, identity.source) == (program, source)


IGNORED: list[tuple[dict[str, str], dict[str, object]]] = [
    ({"x-session-id": "s" * 257}, {}),
    ({"x-session-id": "a\x07b"}, {}),
    ({"x-session-id": ""}, {}),
    ({"x-dynamo-parent-session-id": "parent"}, {}),
    ({"thread-id": "no session"}, {}),
    ({"x-claude-code-agent-id": "no session"}, {}),
    ({"baggage": "gen_ai.conversation.id=%07,=;,x"}, {}),
    ({}, {"prompt_cache_key": "k" * 257}),
    ({}, {"prompt_cache_key": 7}),
    ({}, {"metadata": "text"}),
    ({}, {"metadata": {"user_id": "alice"}}),
    ({}, {"metadata": {"user_id": "{" * 1000}}),
    ({}, {"metadata": {"user_id": '{"session_id": 7}'}}),
    ({}, {"conversation": {"id": 7}}),
    ({}, {"previous_response_id": ["resp_1"]}),
    ({}, {"vllm_xargs": "text"}),
]


@pytest.mark.parametrize(("headers", "fields"), IGNORED)
def test_what_can_be_no_name_of_a_program_is_passed_over(headers: dict[str, str], fields: dict[str, object]) -> None:
    assert who(nobody_known(), chat("u1", **fields), headers, url="of-the-url").source is Source.PATH


PARENTS: list[tuple[dict[str, str], str, str | None]] = [
    ({"x-claude-code-session-id": "s", "x-claude-code-agent-id": "a"}, "s/a", "s"),
    (
        {"x-claude-code-session-id": "s", "x-claude-code-agent-id": "b", "x-claude-code-parent-agent-id": "a"},
        "s/b",
        "s/a",
    ),
    ({"session-id": "r", "thread-id": "t", "x-codex-parent-thread-id": "r"}, "t", "r"),
    ({"session-id": "r", "thread-id": "r"}, "r", None),
    ({"x-session-affinity": "child", "x-parent-session-id": "root"}, "child", "root"),
    ({"x-dynamo-session-id": "child", "x-dynamo-parent-session-id": "root"}, "child", "root"),
    ({"x-acme-session-id": "child", "x-acme-parent-session-id": "root"}, "child", "root"),
]


@pytest.mark.parametrize(("headers", "program", "parent"), PARENTS)
def test_a_sub_agent_is_a_program_with_a_parent(headers: dict[str, str], program: str, parent: str | None) -> None:
    identity = who(nobody_known(), chat("u1"), headers)
    assert identity.program.program == program
    assert identity.parent == (None if parent is None else ProgramKey(DEFAULT_TENANT, parent))


def test_a_session_that_says_it_is_over_ends_its_program() -> None:
    headers = {"x-dynamo-session-id": "s", "x-dynamo-session-final": "true"}
    assert who(nobody_known(), chat("u1"), headers).final


def test_a_response_belongs_to_the_program_of_the_one_before_it() -> None:
    chain = Chain()
    registrar = Registrar(chain, 1000)
    first = parse_request(RESPONSES, json.dumps({"model": "m", "input": "hi"}).encode())
    program = registrar.identify({}, first).program
    chain.remember("resp_1", program, first.prompt, 10)
    second = {"input": "more", "previous_response_id": "resp_1"}
    assert who(registrar, second, path=RESPONSES).program == program
    assert who(registrar, second, path=RESPONSES, tenant=TenantId("other")).program.program == "resp_1"


def test_a_response_that_follows_another_has_that_ones_prompt_before_its_own() -> None:
    chain = Chain()
    registrar = Registrar(chain, 1000)
    first = parse_request(RESPONSES, json.dumps({"model": "m", "input": "hello"}).encode())
    chain.remember("resp_1", registrar.identify({}, first).program, first.prompt, 10)
    body = {"model": "m", "input": "more", "previous_response_id": "resp_1"}
    second = registrar.continued(parse_request(RESPONSES, json.dumps(body).encode()))
    assert second.prompt.marks[: len(first.prompt.marks)] == first.prompt.marks
    assert second.prompt.end.size == len("hello") + 4 * 10 + len("more")
    assert second.prompt.end == second.prompt.marks[-1]


def test_responses_are_remembered_across_a_restart() -> None:
    chain, fresh = Chain(), Chain()
    prompt = parse_request(RESPONSES, json.dumps({"model": "m", "input": "hello"}).encode()).prompt
    chain.remember("resp_1", ProgramKey(DEFAULT_TENANT, "p"), prompt, 10)
    fresh.load(json.loads(json.dumps(chain.to_json())))
    body = {"input": "more", "previous_response_id": "resp_1"}
    assert who(Registrar(fresh, 1000), body, path=RESPONSES).program.program == "p"


def test_no_more_responses_are_remembered_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentserve.gateway.chain.MAX_RESPONSES", 2)
    chain = Chain()
    prompt = parse_request(RESPONSES, json.dumps({"model": "m", "input": "hello"}).encode()).prompt
    for number in range(4):
        chain.remember(f"resp_{number}", ProgramKey(DEFAULT_TENANT, "p"), prompt, 1)
    known = [number for number in range(4) if chain.find(DEFAULT_TENANT, f"resp_{number}")]
    assert known == [2, 3]


def test_a_response_continues_a_history_given_as_items() -> None:
    known = nobody_known()
    first = who(known, {"input": "hello"}, path=RESPONSES)
    call = {"type": "function_call", "call_id": "c", "name": "ls", "arguments": "{}"}
    items = [
        {"role": "user", "content": "hello"},
        call,
        {"type": "function_call_output", "call_id": "c", "output": "a"},
    ]
    assert who(known, {"input": items}, path=RESPONSES).program == first.program


def test_programs_of_other_tenants_are_never_found_by_history() -> None:
    known = nobody_known()
    who(known, chat("u1"))
    assert who(known, chat("u1", "a1", "u2"), tenant=TenantId("other")).source is Source.NONE


def test_what_the_client_says_beside_its_program() -> None:
    headers = {
        "x-agentserve-program": "p",
        "x-agentserve-parent": "q",
        "x-agentserve-stage": "revise",
        "x-agentserve-workflow": "sql",
        "x-agentserve-deadline-ms": "1500",
        "x-agentserve-final": "true",
        "x-agentserve-priority": "-3",
        "x-agentserve-expected-output": "70",
    }
    identity = who(nobody_known(), chat("u1"), headers)
    assert str(identity.parent) == "default/q"
    assert (identity.stage, identity.workflow, identity.deadline, identity.final) == ("revise", "sql", 1.5, True)
    assert (identity.priority, identity.expected_output) == (-3, 70)


def test_the_body_can_say_what_headers_say() -> None:
    hint = {"program": "p", "parent": "q", "stage": "s", "workflow": "w", "deadline_ms": 1500, "final": True}
    body = chat("u1", agentserve={**hint, "priority": 2, "expected_output": 9})
    identity = who(nobody_known(), body, {"x-agentserve-priority": "5"})
    assert identity.parent == ProgramKey(DEFAULT_TENANT, "q")
    assert (identity.stage, identity.workflow, identity.deadline, identity.final) == ("s", "w", 1.5, True)
    assert (identity.priority, identity.expected_output) == (5, 9), "a header wins"


def test_an_agentic_context_can_hint_too() -> None:
    context = {"session_id": "s", "parent_id": "q", "priority": 4, "deadline": 2.5, "expected_output": 7, "final": True}
    identity = who(nobody_known(), chat("u1", vllm_xargs={"agentic_context": context}))
    assert identity.parent == ProgramKey(DEFAULT_TENANT, "q")
    assert (identity.priority, identity.deadline, identity.expected_output, identity.final) == (4, 2.5, 7, True)


def test_without_any_word_each_first_prompt_is_a_program_of_its_own() -> None:
    known = nobody_known()
    first, second = who(known, chat("s", "u1")), who(known, chat("s", "u1"))
    assert first.source is second.source is Source.NONE
    assert first.program != second.program


def test_a_request_belongs_to_the_program_whose_answer_it_continues() -> None:
    known = nobody_known()
    one = who(known, chat("s", "u1")).program
    other = who(known, chat("s", "u2")).program
    assert who(known, chat("s", "u1", "a1", "u3")).program == one
    assert who(known, chat("s", "u2", "a1", "u3")).program == other
    assert who(known, chat("s", "u1", "a1", "u3", "a2", "u4")).program == one


def test_the_longest_known_known_wins() -> None:
    known = nobody_known()
    root = who(known, chat("u1")).program
    branch = who(known, chat("u1", "a1", "u2"), {"x-agentserve-program": "branch"}).program
    assert who(known, chat("u1", "a1", "u2", "a2", "u3")).program == branch
    assert who(known, chat("u1", "a9", "u2")).program == root


def test_a_shared_system_prompt_or_example_is_no_known() -> None:
    known = nobody_known()
    who(known, chat("s", "u-example", "a-example", "u1"))
    assert who(known, chat("s", "u-example", "a-example", "u2")).source is Source.NONE


def test_programs_with_the_same_first_prompt_each_get_one_of_the_second_calls() -> None:
    known = nobody_known()
    twins = {who(known, chat("s", "u1")).program for _ in range(3)}
    seconds = [who(known, chat("s", "u1", f"a{number}", "u2")).program for number in range(3)]
    assert set(seconds) == twins
    for number, program in enumerate(seconds):
        assert who(known, chat("s", "u1", f"a{number}", "u2", "a", "u3")).program == program


def test_another_model_or_other_tools_share_no_known() -> None:
    known = nobody_known()
    who(known, chat("u1"))
    assert who(known, chat("u1", "a1", "u2", tools=[{"type": "function"}])).source is Source.NONE
    assert who(known, {**chat("u1", "a1", "u2"), "model": "other"}).source is Source.NONE


def test_a_known_of_a_named_program_is_known_too() -> None:
    known = nobody_known()
    named = who(known, chat("u1"), {"x-agentserve-program": "p"}).program
    assert who(known, chat("u1", "a1", "u2")).program == named


def test_a_plain_prompt_continues_one_that_it_begins_with() -> None:
    known = nobody_known()
    text = "".join(f"line {number}\n" for number in range(200))
    first = who(known, {"prompt": text}, path=COMPLETIONS)
    twin = who(known, {"prompt": text}, path=COMPLETIONS)
    longer = who(known, {"prompt": text + "answer, and more"}, path=COMPLETIONS)
    other = who(known, {"prompt": text[:-1] + "?" + "answer, and more"}, path=COMPLETIONS)
    assert longer.source is Source.HISTORY
    assert longer.program == first.program
    assert twin.source is other.source is Source.NONE


def test_a_short_plain_prompt_is_no_known() -> None:
    known = nobody_known()
    who(known, {"prompt": "a"}, path=COMPLETIONS)
    assert who(known, {"prompt": "ab"}, path=COMPLETIONS).source is Source.NONE
