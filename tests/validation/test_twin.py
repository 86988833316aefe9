"""The simulated side does what the load client and the gateway do."""

from __future__ import annotations

import pytest

from agentserve.validation.outcome import outcome
from agentserve.validation.twin import APART, counted, named, resized, simulate_replays
from scheduler.policy import PRESETS
from tests.simulator.worlds import chain, fleet, small
from workloads.program import Call, CallRef, Edge, Program, SharedPrefix, check_workload

FAMILY = [
    Program("parent", 0.0, (Call("0", 100, 5), Call("1", 50, 5, (Edge("0", 1.0, program="child"),)))),
    Program("child", 0.0, (Call("0", 80, 5, (Edge("0", program="parent"),)),), parent="parent"),
]


def test_another_name_changes_nothing_else() -> None:
    renamed = named(FAMILY, "~1")
    check_workload(renamed)
    assert [program.id for program in renamed] == ["parent~1", "child~1"]
    assert [program.parent for program in renamed] == [None, "parent~1"]
    assert [program.prompt_tokens() for program in renamed] == [program.prompt_tokens() for program in FAMILY]


def test_programs_take_the_lengths_that_the_server_counted() -> None:
    programs = small(3)
    (records,) = simulate_replays([programs], fleet(), PRESETS["vllm"])
    assert resized(programs, counted(records)) == programs
    longer = {ref: tokens + 40 for ref, tokens in counted(records).items()}
    (program, *_) = resized(programs, longer)
    planned = programs[0].prompt_tokens()
    assert program.prompt_tokens() == {call: tokens + 40 for call, tokens in planned.items()}
    assert resized(programs, {}) == programs


def test_a_call_adds_at_least_a_token_to_what_it_shares() -> None:
    first = Call("0", 50, 10, prefix=(SharedPrefix("x", 100),))
    later = Call("1", 9, 5, (Edge("0"),), "0")
    (program,) = resized([Program("a", 0.0, (first, later))], {CallRef("a", "0"): 90, CallRef("a", "1"): 95})
    assert program.prompt_tokens() == {"0": 101, "1": 112}


def test_there_is_a_record_for_every_call_and_none_failed() -> None:
    programs = small(6)
    (records,) = simulate_replays([programs], fleet(), PRESETS["agentserve"])
    assert [(record.program, record.call) for record in records] == [
        (program.id, call.id) for program in programs for call in program.calls
    ]
    assert outcome(records).mean_completion > 0
    for program in programs:
        first = next(record for record in records if record.program == program.id)
        assert first.scheduled_s == pytest.approx(program.arrival_s)


def test_a_later_replay_counts_from_its_own_start() -> None:
    once, again = simulate_replays([named(small(4), "~0"), named(small(4), "~1")], fleet(), PRESETS["vllm"])
    assert outcome(again).mean_completion == pytest.approx(outcome(once).mean_completion, rel=0.02)
    assert min(record.scheduled_s or 0.0 for record in again) == pytest.approx(0.0, abs=1e-6)


def test_no_replay_begins_before_the_one_before_has_ended() -> None:
    slow = chain("slow", calls=3, gap=APART)
    quick = chain("quick")
    long, short = simulate_replays([[slow], [quick]], fleet(), PRESETS["vllm"])
    assert max(record.finish_s or 0.0 for record in long) > 2 * APART
    alone = simulate_replays([[quick]], fleet(), PRESETS["vllm"])[0]
    assert [record.finish_s for record in short] == pytest.approx([record.finish_s for record in alone], rel=1e-6)


def test_the_gateway_sees_no_tools_for_answers_are_text() -> None:
    bash = chain("a", calls=6, gap=2.0)
    silent = [Program("a", 0.0, tuple(_without_tool(call) for call in bash.calls))]
    for policy in ("continuum", "agentserve"):
        assert simulate_replays([[bash]], fleet(), PRESETS[policy]) == simulate_replays(
            [silent], fleet(), PRESETS[policy]
        )


def _without_tool(call: Call) -> Call:
    edges = tuple(Edge(edge.call, edge.gap_s) for edge in call.after)
    return Call(call.id, call.new_tokens, call.output_tokens, edges, call.context)
