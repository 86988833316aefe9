"""Workflows of stages as a generator has them: which steps a query makes, how often, and how long they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random

from workloads.distributions import Distribution, Quantiles, UniformInt, Weighted
from workloads.program import Call, Edge, Program, Tokens
from workloads.templates import check_share, with_templates

ONCE = UniformInt(1, 1)


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a workflow: calls of one stage, each with a prompt of its own."""

    stage: str
    prompt: Quantiles
    output: Quantiles
    calls: Distribution = ONCE
    share: float = 1.0
    """How many queries make it at all."""
    needs: str = ""
    """The stage without which it is left out too."""
    parallel: bool = False
    """Its calls, and those of the step before it if that has the same stage, run at the same time."""


@dataclass(frozen=True)
class Workflow:
    """Queries that go through the same steps one after the other, with nothing between them.

    The lengths of a query's prompts go together: its question and schema are in all of them. So each query has one
    rank, and every prompt of it has that rank among those of its step. Answers are drawn one by one.
    """

    name: str
    steps: tuple[Step, ...]
    workflow: str
    """The name that its programs give their workflow, whatever the mix."""
    template_share: float = 0.0
    """Of each stage's prompts; see `workloads.templates`."""
    window_tokens: Tokens = 1
    """The context that the lengths are meant for; as it is, only queries that exceed another are scaled to it."""

    def __post_init__(self) -> None:
        check_share(self.template_share)

    def with_templates(self, share: float) -> Workflow:
        """The same, with prompts of which that share is the template of their stage.

        Raises:
            WorkloadError: the share is not from 0 to 1.
        """
        return replace(self, template_share=share)

    def program(self, name: str, rng: Random) -> Program:
        """One query, arriving at 0."""
        rank = rng.random()
        calls: list[Call] = []
        before: tuple[Edge, ...] = ()
        latest: tuple[Edge, ...] = ()
        previous: Step | None = None
        for step in self._made(rng):
            beside = previous is not None and step.parallel and step.stage == previous.stage
            for number in range(round(step.calls.draw(rng))):
                if not beside and not (step.parallel and number):
                    before, latest = latest, ()
                call = _call(str(len(calls)), step, rank, rng, before)
                calls.append(call)
                latest = (*latest, Edge(call.id))
                previous = step
        return with_templates(Program(name, 0.0, tuple(calls), workflow=self.workflow), self._templates)

    def _made(self, rng: Random) -> Iterator[Step]:
        """The steps that a query makes."""
        left_out = set()
        for step in self.steps:
            if step.needs in left_out or rng.random() >= step.share:
                left_out.add(step.stage)
            else:
                yield step

    @cached_property
    def _templates(self) -> Mapping[str, Tokens]:
        """The length of each stage's template, by the mean over its steps."""
        means: dict[str, list[float]] = {}
        for step in self.steps:
            means.setdefault(step.stage, []).append(step.prompt.mean)
        return {stage: round(self.template_share * sum(found) / len(found)) for stage, found in means.items()}


def _call(name: str, step: Step, rank: float, rng: Random, after: tuple[Edge, ...]) -> Call:
    prompt, output = round(step.prompt.at(rank)), round(step.output.draw(rng))
    return Call(name, max(1, prompt), max(1, output), after, stage=step.stage)


def _quantiles(*values: float) -> Quantiles:
    return Quantiles((0.0, 0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 1.0), values)


def _text2sql(name: str, revisions: Distribution) -> Workflow:
    """The calls of CHESS as HexGen-Text2SQL's two public traces list them (184 queries, Llama 3.1 70B).

    Lengths are their quantiles over both traces, and so are the shares of queries that extract keywords and that make
    unit tests: 76 % and 94 %. Prompts of the two candidates differ by their templates alone.
    """
    find, test = "Information Retriever", "unit_tester"
    candidate, tests = "generate_candidate_llama-agent", "generate_unit_test"
    constant = Quantiles.constant
    return Workflow(
        name,
        (
            Step(find, constant(301), _quantiles(5, 5, 5, 5, 27, 37, 42, 42, 46)),
            Step(
                "extract_keywords",
                _quantiles(634, 636, 652, 664, 671, 696, 702, 702, 733),
                _quantiles(12, 18, 31, 45, 49, 56, 75, 83, 89),
                share=0.76,
            ),
            *(Step(find, constant(prompt), constant(output)) for prompt, output in ((304, 5), (308, 5), (312, 4))),
            Step(
                candidate,
                _quantiles(11735, 11745, 11844, 11960, 12079, 12145, 12200, 12201, 12286),
                _quantiles(413, 467, 657, 781, 856, 1010, 1010, 1012, 1012),
                parallel=True,
            ),
            Step(
                candidate,
                _quantiles(7869, 7879, 7978, 8094, 8213, 8279, 8334, 8335, 8420),
                _quantiles(337, 370, 438, 512, 529, 617, 772, 772, 772),
                parallel=True,
            ),
            Step(
                "revise",
                _quantiles(5701, 5710, 5766, 5918, 6038, 6130, 6596, 6908, 7025),
                _quantiles(11, 20, 67, 82, 111, 126, 144, 154, 1078),
                calls=revisions,
            ),
            Step(test, constant(271), constant(6)),
            Step(
                tests,
                _quantiles(675, 768, 932, 1048, 1206, 1226, 1308, 1387, 3320),
                _quantiles(26, 49, 78, 97, 119, 128, 134, 134, 153),
                share=0.94,
            ),
            Step(test, constant(275), constant(4)),
            Step(
                "evaluate",
                _quantiles(558, 658, 806, 892, 1028, 1085, 1176, 1209, 3177),
                _quantiles(22, 22, 22, 22, 22, 22, 72, 133, 357),
                calls=Weighted((3, 4, 5, 6, 7), (16, 40, 62, 51, 4)),
                needs=tests,
                parallel=True,
            ),
            Step(test, constant(278), constant(4)),
        ),
        "text2sql",
    )


TEXT2SQL_NATURAL = _text2sql("text2sql_natural", Weighted((0, 1, 2, 3, 4, 5, 6, 8, 10), (52, 12, 5, 2, 1, 1, 1, 2, 1)))
"""The middle of the published 62 to 73 % of queries needs no revision; the others' counts are those of `financial`."""
TEXT2SQL_UNIFORM = _text2sql("text2sql_uniform", UniformInt(0, 9))
"""Every number of revisions up to nine is as likely as another, as it nearly is in `trace1`."""
