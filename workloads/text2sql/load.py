"""Plays questions to a gateway: each begins at its own time, however slow the answers are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from agentserve.client import AgentserveError, AsyncClient
from workloads.clock import ReplayClock
from workloads.text2sql.agent import WORKFLOW, Seconds, Settings, StageCall, Task, solve
from workloads.text2sql.databases import Question
from workloads.text2sql.sandbox import Row, Sandbox
from workloads.text2sql.schema import Schema
from workloads.text2sql.score import same_result


@dataclass(frozen=True, slots=True)
class Played:
    """What became of one question. Times are seconds since the first question; `error` is empty if it was answered."""

    question: str
    arrived: Seconds
    ended: Seconds
    correct: bool = False
    """Whether its SQL returns what the gold SQL does."""
    ran: bool = False
    """Whether its SQL runs and returns rows."""
    revisions: int = 0
    sql: str = ""
    sql_seconds: Seconds = 0.0
    calls: tuple[StageCall, ...] = ()
    error: str = ""

    @property
    def latency(self) -> Seconds:
        """From its arrival to its answer."""
        return self.ended - self.arrived


@dataclass(frozen=True, slots=True)
class Prepared:
    """A question with its database read and its gold SQL run."""

    question: Question
    task: Task
    gold: tuple[Row, ...]


def prepare(questions: Sequence[Question]) -> list[Prepared]:
    """Reads each database once, and runs the gold SQL."""
    schemas = {path: Schema.read(path) for path in {question.database for question in questions}}
    return [_prepared(question, schemas[question.database]) for question in questions]


def arrivals(count: int, rate: float, seed: int) -> list[Seconds]:
    """When questions come: a Poisson process of `rate` questions a second that starts with the first one at 0.

    The same seed at another rate stretches the same arrivals.
    """
    rng = Random(f"text2sql/{seed}")
    found, now = [], 0.0
    for _ in range(count):
        found.append(now)
        now += rng.expovariate(1.0) / rate
    return found


async def play(
    prepared: Sequence[Prepared],
    times: Sequence[Seconds],
    url: str,
    settings: Settings,
    deadline: Seconds | None = None,
    on_answer: Callable[[Played], None] | None = None,
) -> list[Played]:
    """Asks every question at its time, and returns what became of each, in their order.

    Args:
        prepared: the questions.
        times: when each comes, in seconds from now.
        url: the gateway's.
        settings: of the agent.
        deadline: seconds within which each question should be answered; the gateway is told, and nothing is given up.
        on_answer: called when a question has been answered or has failed.
    """
    clock = ReplayClock()

    async def one(item: Prepared, at: Seconds) -> Played:
        await clock.sleep_until(at)
        played = await _ask(client, item, at, settings, deadline, clock)
        if on_answer is not None:
            on_answer(played)
        return played

    async with AsyncClient(url) as client, asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(item, at)) for item, at in zip(prepared, times, strict=True)]
    return [task.result() for task in tasks]


async def _ask(
    client: AsyncClient,
    item: Prepared,
    at: Seconds,
    settings: Settings,
    deadline: Seconds | None,
    clock: ReplayClock,
) -> Played:
    name = item.question.id
    try:
        async with client.program(workflow=WORKFLOW, deadline=deadline) as program:
            solution = await solve(item.task, program, settings, clock.now)
    except AgentserveError as error:
        return Played(name, at, clock.now(), error=str(error))
    chosen = solution.chosen
    return Played(
        name,
        at,
        clock.now(),
        correct=not chosen.error and same_result(item.question.gold, item.gold, chosen.rows),
        ran=chosen.useful,
        revisions=solution.revisions,
        sql=chosen.sql,
        sql_seconds=solution.sql_seconds,
        calls=solution.calls,
    )


def _prepared(question: Question, schema: Schema) -> Prepared:
    sandbox = Sandbox(question.database)
    return Prepared(
        question, Task(question.text, schema, sandbox, question.examples), tuple(sandbox.run(question.gold))
    )
