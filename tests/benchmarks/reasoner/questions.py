"""Arithmetic and logic with answers that can be checked, as many as wanted; very easy, for the models are very small."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from random import Random

ANSWER = r"(?i)answer is:?\s*\$?\**(-?\w+)"
"""Where an answer stands."""
NAMES = ("Ann", "Ben", "Carl", "Dora", "Emil", "Fay", "Gus", "Hanna")
THINGS = ("apples", "books", "coins", "eggs", "marbles", "stamps")
SHOWN = 3
"""Questions of the same kind that are answered before the one that is asked: so small a model has to be shown how."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked, the steps to the one right answer, and the answer."""

    text: str
    steps: str
    answer: str

    @property
    def worked(self) -> str:
        """How it should be answered."""
        return f"{self.steps} The answer is {self.answer}."


@dataclass(frozen=True, slots=True)
class Question:
    """A task to be solved, after others of its kind that are shown solved."""

    task: Task
    shown: tuple[Task, ...]

    @property
    def messages(self) -> list[dict[str, str]]:
        """The chat that asks it."""
        chat = []
        for example in self.shown:
            chat += [
                {"role": "user", "content": example.text},
                {"role": "assistant", "content": example.worked},
            ]
        return [*chat, {"role": "user", "content": self.task.text}]

    def is_right(self, found: str | None) -> bool:
        """Whether an answer is the right one."""
        return found is not None and found.strip(".").lower() == self.task.answer.lower()


def questions(count: int, seed: int) -> list[Question]:
    """Of each kind in turn."""
    rng = Random(seed)
    return [_question(_KINDS[number % len(_KINDS)], rng) for number in range(count)]


def _question(kind: Callable[[Random], Task], rng: Random) -> Question:
    *shown, asked = (kind(rng) for _ in range(SHOWN + 1))
    return Question(asked, tuple(shown))


def _sum(rng: Random) -> Task:
    first, *others = (rng.randint(1, 3) for _ in range(7))
    total, steps = first, []
    for number in others:
        steps.append(f"{total} + {number} = {total + number}.")
        total += number
    listed = ", ".join(str(number) for number in (first, *others))
    return Task(f"Add these numbers one by one: {listed}.", " ".join(steps), str(total))


def _boxes(rng: Random) -> Task:
    boxes, each, thing = rng.randint(4, 6), rng.choice((2, 5, 10)), rng.choice(THINGS)
    steps = [f"1 box has {each} {thing}."]
    steps += [f"{box} boxes have {(box - 1) * each} + {each} = {box * each} {thing}." for box in range(2, boxes + 1)]
    text = f"There are {boxes} boxes with {each} {thing} each. How many {thing} are there?"
    return Task(text, " ".join(steps), str(boxes * each))


def _ages(rng: Random) -> Task:
    order = rng.sample(NAMES, 4)
    facts = " ".join(f"{older} is older than {younger}." for older, younger in pairwise(order))
    steps = [f"{older} is older than {younger}, so {younger} is not the oldest." for older, younger in pairwise(order)]
    return Task(f"{facts} Who is the oldest?", " ".join([*steps, f"Only {order[0]} is left."]), order[0])


_KINDS: tuple[Callable[[Random], Task], ...] = (_sum, _ages, _boxes)
