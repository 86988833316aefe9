from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest

from agentserve.vllm_plugin.control import BadOrderError, Message, PinOrder, parse_message, serve
from agentserve.vllm_plugin.retention import Retention
from tests.vllm_plugin.world import World


@dataclass
class FreeList:
    num_free_blocks: int = 12


@dataclass
class Host:
    retention: Retention
    free_queue: FreeList = field(default_factory=FreeList)
    total_blocks: int = 12
    block_size: int = 32
    guard: bool = True
    max_num_running_reqs: int = 64
    ignored: int = 2


@dataclass
class Engine:
    scheduler: Host


def test_a_message_survives_its_way_to_the_engine_process() -> None:
    message = Message((PinOrder("default/é", 2.5), PinOrder("b", 0.0)), since=7)
    assert parse_message(message.to_json()) == message
    assert parse_message(Message().to_json()) == Message()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "the body is not JSON"),
        ("{", "the body is not JSON"),
        (b"\xff", "the body is not JSON"),
        ("[" * 100_000, "the body is not JSON"),
        ("[]", "the body must be an object"),
        ('{"pin": []}', "unknown key 'pin'; the keys are 'pins' and 'since'"),
        ('{"pins": {}}', "'pins' must be a list"),
        ('{"pins": [1]}', r"pins\[0\] must be"),
        ('{"pins": [{"program": "p"}]}', r"pins\[0\] must be"),
        ('{"pins": [{"program": "p", "ttl": 1, "rank": 1}]}', r"pins\[0\] must be"),
        ('{"pins": [{"program": "p", "ttl": 1}, {"program": 1, "ttl": 1}]}', r"pins\[1\]: a program must be a string"),
        ('{"pins": [{"program": "p", "ttl": NaN}]}', r"pins\[0\]: a ttl must be from 0"),
        ('{"pins": [{"program": "p", "ttl": -1}]}', r"pins\[0\]: a ttl must be from 0"),
        ('{"since": -1}', "'since' must be a report's number"),
        ('{"since": true}', "'since' must be a report's number"),
        ('{"since": 1.5}', "'since' must be a report's number"),
    ],
)
def test_a_bad_message_is_refused_with_what_is_wrong(body: bytes | str, message: str) -> None:
    with pytest.raises(BadOrderError, match=message):
        parse_message(body)


def test_an_order_is_carried_out_and_answered_with_reports_and_numbers() -> None:
    world = World()
    world.call("agent", "abc")
    message = Message((PinOrder("agent", 10.0), PinOrder("stranger", 1.0)), since=0)
    answer = json.loads(serve(Engine(Host(world.retention)), message.to_json()))
    assert answer == {
        "cursor": 2,
        "reports": [
            {"program": "agent", "outcome": "applied", "tokens": 96},
            {"program": "stranger", "outcome": "lost", "tokens": 0},
        ],
        "protected_tokens": 96,
        "protected_blocks": 3,
        "free_blocks": 12,
        "total_blocks": 12,
        "block_size": 32,
        "counters": {"applied": 1, "hit": 0, "expired": 0, "broken": 0, "lost": 1, "released": 0, "ignored": 2},
        "guard": True,
        "max_num_seqs": 64,
    }


def test_without_a_cursor_there_are_no_reports() -> None:
    world = World()
    world.call("agent", "abc", ttl=1)
    answer = json.loads(serve(Engine(Host(world.retention)), Message().to_json()))
    assert (answer["cursor"], answer["reports"]) == (2, [])
