"""The event log: what it takes to have a fresh brain decide everything again.

JSON Lines. The first is the snapshot: format, policy, seed, learned state. Each further line is one event and a hash
of the actions the brain answered with. Replaying needs nothing else; a replay that answers differently says where.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

from scheduler.actions import Action
from scheduler.brain import Brain
from scheduler.codec import decode, encode, plain
from scheduler.events import Event
from scheduler.policy import Choice, PolicyConfig

FORMAT = "agentserve-log/1"


class LogError(ValueError):
    """A line of a log cannot be read. The message names the line."""


@dataclass(frozen=True, slots=True)
class Replay:
    """The outcome of a replay: the brain as it ended, how many events it took, and where it first differed."""

    brain: Brain
    events: int
    actions: int
    first_difference: int | None
    """Number of the first line (from 1) whose actions differ from the recorded ones; None if none does."""


def snapshot_line(brain: Brain) -> str:
    """The first line of a log. To be taken before the brain's first event."""
    head = {
        "format": FORMAT,
        "policy": asdict(brain.policy),
        "seed": brain.seed,
        "idle_timeout": brain.idle_timeout,
        "learned": brain.learned.to_json(),
    }
    return json.dumps(head, separators=(",", ":"))


def event_line(event: Event, actions: tuple[Action, ...]) -> str:
    """The line of one event and of the actions that answered it."""
    return json.dumps({**encode(event), "actions": digest(actions)}, separators=(",", ":"))


def digest(actions: tuple[Action, ...]) -> str:
    """Sixteen hexadecimal digits that tell one list of actions from another; "" for none."""
    if not actions:
        return ""
    text = json.dumps([[type(action).__name__, plain(action)] for action in actions], separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def replay(lines: Iterable[str]) -> Replay:
    """Feeds a recorded log to a fresh brain.

    Raises:
        LogError: the log is damaged or of another format.
    """
    brain, events = opened(lines)
    count = actions = 0
    difference = None
    for number, event, recorded in events:
        decision = brain.handle(event)
        count += 1
        actions += len(decision.actions)
        if difference is None and digest(decision.actions) != recorded:
            difference = number
    return Replay(brain, count, actions, difference)


def opened(lines: Iterable[str]) -> tuple[Brain, Iterator[tuple[int, Event, str]]]:
    """The brain as it was when the log began; and of each further line its number, event, and its actions' digest.

    Raises:
        LogError: the log is damaged or of another format; of an event, when that is reached.
    """
    numbered = enumerate(lines, 1)
    return _brain_of(numbered), _events(numbered)


def _brain_of(numbered: Iterator[tuple[int, str]]) -> Brain:
    try:
        _, first = next(numbered)
        head = json.loads(first)
        if head["format"] != FORMAT:
            raise LogError(f"line 1: the log is of format {head['format']!r}, this program reads {FORMAT!r}")
        choices = {
            kind: Choice(value["name"], tuple((key, item) for key, item in value["params"]))
            for kind, value in head["policy"].items()
            if kind != "name"
        }
        policy = PolicyConfig(head["policy"]["name"], **choices)
        return Brain(policy, seed=head["seed"], learned=head["learned"], idle_timeout=head["idle_timeout"])
    except StopIteration:
        raise LogError("the log is empty") from None
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise LogError(f"line 1 is no snapshot: {error!r}") from error


def _events(numbered: Iterator[tuple[int, str]]) -> Iterator[tuple[int, Event, str]]:
    for number, line in numbered:
        try:
            record = json.loads(line)
            recorded = record.pop("actions")
            yield number, decode(record), recorded
        except (json.JSONDecodeError, KeyError, AttributeError, ValueError) as error:
            raise LogError(f"line {number}: {error}") from error
