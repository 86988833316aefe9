from __future__ import annotations

import json
import subprocess
import sys
from typing import cast

import pytest

from scheduler.learned import Learned
from scheduler.log import LogError, replay
from tests.scheduler.world import World

REPLAY = "import sys; from scheduler.log import replay; print(replay(sys.stdin).first_difference)"


def recorded() -> World:
    world = World()
    for turn in range(1, 4):
        for program in ("p", "q"):
            world.finish(world.call(program, tokens=400 + 100 * turn, turns=turn), prompt=400 + 100 * turn)
        world.later(2.0)
    world.down("a")
    world.up("a")
    return world


def test_a_log_replays_to_the_same_actions() -> None:
    world = recorded()
    outcome = replay(world.log)
    assert outcome.first_difference is None
    assert outcome.events == len(world.log) - 1
    assert outcome.brain.learned.to_json() == world.brain.learned.to_json()


@pytest.mark.parametrize("seed", ["0", "1", "4242"])
def test_a_log_replays_the_same_under_any_hash_seed(seed: str) -> None:
    log = "\n".join(recorded().log)
    done = subprocess.run(
        [sys.executable, "-c", REPLAY],
        input=log,
        env={"PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "None"


def test_a_replay_names_the_first_line_that_differs() -> None:
    log = recorded().log
    event = json.loads(log[4])
    event["actions"] = "0" * 16
    log[4] = json.dumps(event)
    assert replay(log).first_difference == 5


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (0, "{}", "line 1 is no snapshot"),
        (0, '{"format": "other/9"}', "line 1: the log is of format 'other/9'"),
        (2, "not json", "line 3"),
        (2, '{"event": "Nonsense", "actions": ""}', "line 3: unknown event 'Nonsense'"),
        (2, '{"event": "CallSent", "at": 0, "actions": ""}', "line 3: malformed CallSent"),
    ],
)
def test_a_damaged_log_is_an_error_that_names_the_line(line: int, text: str, message: str) -> None:
    log = recorded().log
    log[line] = text
    with pytest.raises(LogError, match=message):
        replay(log)


def test_an_empty_log_is_an_error() -> None:
    with pytest.raises(LogError, match="empty"):
        replay([])


def test_what_was_learned_is_saved_and_loaded_whole() -> None:
    learned = recorded().brain.learned
    state = json.loads(json.dumps(learned.to_json()))
    assert Learned.from_json(state).to_json() == learned.to_json()


def test_a_state_of_before_seconds_were_learned_goes_without() -> None:
    state = recorded().brain.learned.to_json()
    state["workflows"] = [row[:7] for row in cast("list[list[object]]", state["workflows"])]
    workflows = Learned.from_json(state).workflows
    assert workflows
    assert all(stats.work.count == stats.call_work.count == 0 for stats in workflows.values())


def test_a_state_that_is_none_is_an_error() -> None:
    with pytest.raises(ValueError, match="not a saved state"):
        Learned.from_json({"gaps": 3})
