"""Arithmetic and logic with answers that can be checked, as many as wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from random import Random

ANSWER = r"(?i)answer is:?\s*\$?\**(-?\w+)"
"""Where an answer stands."""
WORKED = """\
Question: Tom has 12 pens. He buys 9 more and gives 5 away. How many has he?
Let me think step by step. Tom has 12 pens and buys 9, so he has 12 + 9 = 21. He gives 5 away, so 21 - 5 = 16. \
The answer is 16.

Question: Ada is older than Bea. Bea is older than Cleo. Who is the youngest?
Let me think step by step. Ada is older than Bea, so Bea is younger. Bea is older than Cleo, so Cleo is younger than \
both. The answer is Cleo.
"""
NAMES = ("Ann", "Ben", "Carl", "Dora", "Emil", "Fay", "Gus", "Hanna")
THINGS = ("apples", "books", "coins", "eggs", "marbles", "stamps")


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and the one right answer."""

    text: str
    answer: str

    @property
    def messages(self) -> list[dict[str, str]]:
        """The chat that asks it. Worked examples come first: the target has never been taught to chat."""
        return [{"role": "user", "content": f"{WORKED}\nQuestion: {self.text}\nLet me think step by step."}]

    def is_right(self, found: str | None) -> bool:
        """Whether an answer is the right one."""
        return found is not None and found.strip(".").lower() == self.answer.lower()


def questions(count: int, seed: int) -> list[Question]:
    """Of each kind in turn."""
    rng = Random(seed)
    return [_KINDS[number % len(_KINDS)](rng) for number in range(count)]


def _shopping(rng: Random) -> Question:
    name, thing = rng.choice(NAMES), rng.choice(THINGS)
    has, buys = rng.randint(10, 60), rng.randint(2, 40)
    gives = rng.randint(1, 9)
    text = f"{name} has {has} {thing}. {name} buys {buys} more and gives {gives} away. How many {thing} are left?"
    return Question(text, str(has + buys - gives))


def _boxes(rng: Random) -> Question:
    boxes, each, loose = rng.randint(2, 9), rng.randint(2, 12), rng.randint(1, 20)
    thing = rng.choice(THINGS)
    text = f"There are {boxes} boxes with {each} {thing} each, and {loose} loose {thing}. How many {thing} are there?"
    return Question(text, str(boxes * each + loose))


def _ages(rng: Random) -> Question:
    oldest, *others = rng.sample(NAMES, 4)
    order = [oldest, *others]
    facts = [f"{older} is older than {younger}." for older, younger in pairwise(order)]
    rng.shuffle(facts)
    return Question(f"{' '.join(facts)} Who is the oldest?", oldest)


_KINDS: tuple[Callable[[Random], Question], ...] = (_shopping, _ages, _boxes)
