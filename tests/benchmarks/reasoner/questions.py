"""Arithmetic and logic with answers that can be checked, as many as wanted; easy, for the models are small."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from random import Random

ANSWER = r"(?i)answer is:?\s*\$?\**(-?\w+)"
"""Where an answer stands."""
WORKED = """\
Question: Tom has 7 pens. Tom buys 5. Tom loses 4. Tom buys 3. Tom loses 2. How many pens has Tom now?
Let me think step by step. Tom has 7 pens. Tom buys 5, so he has 7 + 5 = 12 pens. Tom loses 4, so he has 12 - 4 = 8 \
pens. Tom buys 3, so he has 8 + 3 = 11 pens. Tom loses 2, so he has 11 - 2 = 9 pens. The answer is 9.

Question: Ada is older than Bea. Bea is older than Cleo. Cleo is older than Dan. Who is the oldest?
Let me think step by step. Ada is older than Bea, so Bea is not the oldest. Bea is older than Cleo, so Cleo is not the \
oldest. Cleo is older than Dan, so Dan is not the oldest. Only Ada is left. The answer is Ada.

Question: There are 4 bags with 3 balls each. How many balls are there?
Let me think step by step. 1 bag has 3 balls. 2 bags have 3 + 3 = 6 balls. 3 bags have 6 + 3 = 9 balls. 4 bags have \
9 + 3 = 12 balls. The answer is 12.
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
    has = count = rng.randint(3, 9)
    steps = []
    for verb in ("buys", "loses", "buys", "loses"):
        change = rng.randint(1, 6 if verb == "buys" else count - 1)
        count += change if verb == "buys" else -change
        steps.append(f"{name} {verb} {change}.")
    return Question(f"{name} has {has} {thing}. {' '.join(steps)} How many {thing} has {name} now?", str(count))


def _boxes(rng: Random) -> Question:
    boxes, each, thing = rng.randint(3, 6), rng.randint(2, 9), rng.choice(THINGS)
    return Question(f"There are {boxes} boxes with {each} {thing} each. How many {thing} are there?", str(boxes * each))


def _ages(rng: Random) -> Question:
    order = rng.sample(NAMES, 4)
    facts = [f"{older} is older than {younger}." for older, younger in pairwise(order)]
    return Question(f"{' '.join(facts)} Who is the oldest?", order[0])


_KINDS: tuple[Callable[[Random], Question], ...] = (_shopping, _ages, _boxes)
