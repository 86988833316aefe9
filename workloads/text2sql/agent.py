"""The agent: a chain of stages that follows CHESS (arXiv 2405.16755), from a question to SQL that has been tried.

    retrieve_schema       which tables matter
    extract_keywords      which words may be values
    retrieve         x0-3 which stored value each of these words means; side by side
    generate_candidate x2 SQL by two ways of thinking; side by side
    revise           x0-N while no candidate runs and returns rows: the latest failure with what the database said
    generate_unit_tests   statements that tell the candidates apart, unless all are the same
    evaluate         x0-3 which candidates pass each of them; side by side
    select                the best candidate

Whatever a model answers, the agent goes on: what it cannot read, it takes from the question and the schema itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from agentserve.client import Answer, AsyncProgram
from workloads.text2sql import replies
from workloads.text2sql.domain import Pair
from workloads.text2sql.prompts import GENERATORS, TEMPLATES, Stage, Template
from workloads.text2sql.sandbox import Row, Sandbox, SqlError
from workloads.text2sql.schema import Match, Schema

Seconds: TypeAlias = float
WORKFLOW = "text2sql"

SHOWN_EXAMPLES = 3
SHOWN_ROWS = 3
SHOWN_CHARACTERS = 160
"""Of a result, in a prompt."""
SQL_CHARACTERS = 600
"""Of a candidate that goes into a prompt again."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How much the agent tries. `seed` makes a model that samples answer the same again."""

    model: str
    candidates: int = 2
    max_revise: int = 10
    unit_tests: int = 3
    keywords: int = 3
    seed: int = 0


@dataclass(frozen=True, slots=True)
class StageCall:
    """One call as the agent saw it. Times are the agent's clock; token counts the server's, 0 if it tells none."""

    stage: Stage
    began: Seconds
    ended: Seconds
    prompt: int
    cached: int
    output: int
    engine: str
    template_share: float
    """Of the prompt's characters those of its template."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """SQL that was tried: its rows, or what was wrong with it."""

    sql: str
    rows: tuple[Row, ...] = ()
    error: str = ""

    @property
    def useful(self) -> bool:
        """Whether it ran and found something: a row of NULLs is what an aggregate of nothing gives."""
        return any(cell is not None for row in self.rows for cell in row)

    def __str__(self) -> str:
        shown = "; ".join(", ".join(map(str, row)) for row in self.rows[:SHOWN_ROWS])
        more = f" ... ({len(self.rows)} rows)" if len(self.rows) > SHOWN_ROWS else ""
        result = f"failed: {self.error}" if self.error else f"{shown}{more}" or "no rows"
        return f"{self.sql[:SQL_CHARACTERS]} -> {result[:SHOWN_CHARACTERS]}"


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked, of which database. `examples` are solved questions to learn from, if there are any."""

    text: str
    schema: Schema
    sandbox: Sandbox
    examples: tuple[Pair, ...] = ()


@dataclass(frozen=True, slots=True)
class Solution:
    """What came of a task."""

    chosen: Candidate
    revisions: int
    calls: tuple[StageCall, ...]
    sql_seconds: Seconds
    """Spent in the database."""


async def solve(
    task: Task, program: AsyncProgram, settings: Settings, clock: Callable[[], Seconds] = time.monotonic
) -> Solution:
    """Answers the task's question by calls of the program, whose last call is marked as such.

    Raises:
        AgentserveError: a call failed.
    """
    return await _Run(task, program, settings, clock).solve()


@dataclass(slots=True)
class _Run:
    """One question under way."""

    task: Task
    program: AsyncProgram
    settings: Settings
    clock: Callable[[], Seconds]
    calls: list[StageCall] = field(default_factory=list)
    sql_seconds: Seconds = 0.0

    async def solve(self) -> Solution:
        schema = await self._schema()
        hints = await self._hints()
        candidates = await self._candidates(schema, hints)
        drafts = len(candidates)
        await self._revise(candidates, schema, hints)
        chosen = await self._choose(candidates)
        return Solution(chosen, len(candidates) - drafts, tuple(self.calls), self.sql_seconds)

    async def _schema(self) -> Schema:
        """The tables that the model names, and those that the question itself does."""
        schema = self.task.schema
        [answer] = await self._ask(Stage.SCHEMA, [[f"Schema:\n{schema}\n\n{self._question}"]])
        words = set(answer.replace(",", " ").split())
        return schema.only({*words, *schema.named_in(self.task.text)})

    async def _hints(self) -> str:
        """The stored values that the question's words mean."""
        [answer] = await self._ask(Stage.KEYWORDS, [[self._question]])
        found = [word for word in replies.words_of(answer, 20) if word.lower() in self.task.text.lower()]
        words = list(dict.fromkeys([*found, *replies.words_of(self.task.text, 20)]))
        matches = self.task.schema.matches(words)[: self.settings.keywords]
        answers = await self._ask(Stage.RETRIEVE, [[f"{self._question}\n\n{_choices(match)}"] for match in matches])
        lines = [
            f"{match.column} = '{match.values[(replies.number_of(answer, len(match.values)) or 1) - 1]}'"
            for match, answer in zip(matches, answers, strict=True)
        ]
        return f"Stored values: {', '.join(lines)}" if lines else ""

    async def _candidates(self, schema: Schema, hints: str) -> list[Candidate]:
        turns = self._turns(f"Schema:\n{schema}\n{hints}", self._question)
        templates = [GENERATORS[number % len(GENERATORS)] for number in range(self.settings.candidates)]
        answers = await self._ask(Stage.CANDIDATE, [turns] * len(templates), templates)
        return [await self._try(answer) for answer in answers]

    async def _revise(self, candidates: list[Candidate], schema: Schema, hints: str) -> None:
        """Adds revisions of the latest candidate until one is useful or there have been enough."""
        for _ in range(self.settings.max_revise):
            if any(candidate.useful for candidate in candidates):
                return
            failed = f"{self._question}\nQuery: {candidates[-1]}"
            [answer] = await self._ask(Stage.REVISE, [self._turns(f"Schema:\n{schema}\n{hints}", failed)])
            candidates.append(await self._try(answer))

    async def _choose(self, candidates: Sequence[Candidate]) -> Candidate:
        """The candidate that passes most tests; among equals, what the model says."""
        distinct = _distinct(candidates)[-self.settings.candidates - 1 :]
        numbered = _numbered(map(str, distinct))
        passes: Counter[int] = Counter()
        if len(distinct) > 1 and self.settings.unit_tests:
            passes = await self._tests(numbered, len(distinct))
        scored = _numbered(f"{candidate} ({passes[number]} passed)" for number, candidate in enumerate(distinct, 1))
        [answer] = await self._ask(Stage.SELECT, [[f"{self._question}\n\n{scored}"]], final=True)
        able = [number for number, candidate in enumerate(distinct, 1) if candidate.useful] or [1]
        most = max(passes[number] for number in able)
        best = [number for number in able if passes[number] == most]
        said = replies.number_of(answer, len(distinct))
        return distinct[(said if said in best else best[0]) - 1]

    async def _tests(self, numbered: str, count: int) -> Counter[int]:
        """How many unit tests each candidate passes."""
        [answer] = await self._ask(Stage.UNIT_TESTS, [[f"{self._question}\n\n{numbered}"]])
        tests = replies.lines_of(answer, self.settings.unit_tests)
        answers = await self._ask(
            Stage.EVALUATE, [[f"{self._question}\n\n{numbered}\n\nTest: {test}"] for test in tests]
        )
        return Counter(number for answer in answers for number in replies.passed(answer, count))

    @property
    def _question(self) -> str:
        return f"Question: {self.task.text}"

    def _turns(self, opening: str, asked: str) -> list[str]:
        """What is asked, after the solved questions that have most words in common with it, the best of them last."""
        words = set(replies.words_of(self.task.text.lower(), 50))
        ranked = sorted(self.task.examples, key=lambda pair: len(words & set(replies.words_of(pair.text.lower(), 50))))
        shown = [text for pair in ranked[-SHOWN_EXAMPLES:] for text in (f"Question: {pair.text}", f"{pair.sql};")]
        first, *rest = [*shown, asked]
        return [f"{opening}\n\n{first}", *rest]

    async def _try(self, answer: str) -> Candidate:
        """Runs the SQL of an answer, aside, so that nothing else waits for the database."""
        sql = replies.sql_of(answer)
        began = self.clock()
        try:
            rows = await asyncio.to_thread(self.task.sandbox.run, sql)
        except SqlError as error:
            return Candidate(sql, error=str(error))
        finally:
            self.sql_seconds += self.clock() - began
        return Candidate(sql, tuple(rows))

    async def _ask(
        self,
        stage: Stage,
        prompts: Sequence[Sequence[str]],
        templates: Sequence[Template] = (),
        *,
        final: bool = False,
    ) -> list[str]:
        """The texts of the answers to prompts of one stage, which are asked side by side."""
        templates = templates or [TEMPLATES[stage]] * len(prompts)
        if not prompts:
            return []
        asked = [template.messages(turns) for template, turns in zip(templates, prompts, strict=True)]
        fields: dict[str, Any] = {"model": self.settings.model, "seed": self._seed(stage), **templates[0].fields()}
        began = self.clock()
        if final:
            answers = [await self.program.chat(asked[0], stage=stage, final=True, **fields)]
        else:
            answers = await self.program.chats(asked, stage=stage, **fields)
        shares = [template.share(turns) for template, turns in zip(templates, prompts, strict=True)]
        self.calls += _stage_calls(stage, began, shares, answers)
        return [answer.text for answer in answers]

    def _seed(self, stage: Stage) -> int:
        """Another one for each step, and the same for the same step of another run."""
        text = f"{self.settings.seed}/{self.task.text}/{stage}/{len(self.calls)}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest()) >> 1


def _choices(match: Match) -> str:
    values = " ".join(f"{number}: {value}" for number, value in enumerate(match.values, 1))
    return f"Word: {match.word}. Column: {match.column}. {values}"


def _numbered(texts: Iterable[str]) -> str:
    return "\n".join(f"{number}: {text}" for number, text in enumerate(texts, 1))


def _distinct(candidates: Sequence[Candidate]) -> list[Candidate]:
    return list({candidate.sql: candidate for candidate in candidates}.values())


def _stage_calls(
    stage: Stage, began: Seconds, shares: Sequence[float], answers: Sequence[Answer]
) -> Iterator[StageCall]:
    for share, answer in zip(shares, answers, strict=True):
        usage: dict[str, Any] = answer.get("usage") or {}
        details: dict[str, Any] = usage.get("prompt_tokens_details") or {}
        yield StageCall(
            stage,
            began,
            began + answer.seconds,
            usage.get("prompt_tokens") or 0,
            details.get("cached_tokens") or 0,
            usage.get("completion_tokens") or 0,
            answer.engine or "",
            share,
        )
