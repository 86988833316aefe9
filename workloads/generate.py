"""Generated programs: chains of calls with tools between them, and workflows of stages, from published statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Protocol

from workloads.budget import ContextBudget
from workloads.distributions import Distribution, LogNormal, Normal, Uniform, UniformInt
from workloads.program import Call, Edge, Program, SharedPrefix, Tokens
from workloads.staged import TEXT2SQL_NATURAL, TEXT2SQL_UNIFORM


class Kind(Protocol):
    """What programs of one kind look like. Lengths are tokens of the model that the statistics were taken with."""

    @property
    def name(self) -> str:
        """Of the kind; its programs' names begin with it."""
        ...

    @property
    def window_tokens(self) -> Tokens:
        """The context that the lengths are meant for."""
        ...

    def program(self, name: str, rng: Random) -> Program:
        """One of them, arriving at 0."""
        ...


@dataclass(frozen=True, slots=True)
class Profile:
    """A chain of calls, each of which goes on with the one before after a tool has run."""

    name: str
    turns: Distribution
    """Calls a program, rounded."""
    gap_s: Distribution
    """Seconds from a call's last token to the next call."""
    first: Distribution
    """Tokens of the first prompt, after the shared prefix."""
    result: Distribution
    """Tokens that a tool's result adds."""
    output: Distribution
    """Tokens of an answer."""
    tools: tuple[str, ...]
    """Names of the tools; each gap is one of them, equally likely."""
    prefix: tuple[SharedPrefix, ...] = ()
    """System prompt and tool definitions, the same for every program of the profile."""
    window_tokens: Tokens = 32_768

    def program(self, name: str, rng: Random) -> Program:
        turns = round(self.turns.draw(rng))
        calls = (self._first_call(rng), *(self._next_call(rng, turn) for turn in range(1, turns)))
        return Program(name, 0.0, calls, workflow=self.name)

    def _first_call(self, rng: Random) -> Call:
        return Call("0", _length(self.first, rng), _length(self.output, rng), prefix=self.prefix)

    def _next_call(self, rng: Random, turn: int) -> Call:
        previous = str(turn - 1)
        edge = Edge(previous, self.gap_s.draw(rng), rng.choice(self.tools))
        return Call(str(turn), _length(self.result, rng), _length(self.output, rng), after=(edge,), context=previous)


# Turns and mean tool times of SWE-agent and of web search are those of the workloads of Continuum (arXiv 2511.02230).
# Their tails are log-normal with sigma 1.5, which puts the 99th percentile at ten times the mean. Lengths of the first
# follow the medians of public coding-agent sessions: a call adds 713 tokens, of which its predecessor's answer is 216.
# Those of the second, and of both prefixes, are plausible and not measured.
SWE_AGENT = Profile(
    name="swe_agent",
    turns=Normal(10.9, 2.1, low=2),
    gap_s=LogNormal.with_mean(0.9, sigma=1.5),
    first=LogNormal(1500, 0.5),
    result=LogNormal(500, 0.9, cut=8000),
    output=LogNormal(216, 0.7, cut=2000),
    tools=("bash", "edit", "search", "read"),
    prefix=(SharedPrefix("swe_agent", 2500),),
)
WEB_SEARCH = Profile(
    name="web_search",
    turns=Normal(6.3, 2.3, low=2),
    gap_s=LogNormal.with_mean(1.9, sigma=1.5),
    first=LogNormal(300, 0.5),
    result=LogNormal(1800, 0.7, cut=8000),
    output=LogNormal(150, 0.7, cut=2000),
    tools=("web_search", "fetch"),
    prefix=(SharedPrefix("web_search", 1200),),
)
SMALL = Profile(
    name="small",
    turns=UniformInt(4, 9),
    gap_s=LogNormal(0.74, 0.9, cut=8.0),
    first=Uniform(500, 900),
    result=Uniform(80, 250),
    output=Uniform(30, 90),
    tools=("bash", "edit", "search"),
    window_tokens=4096,
)
PROFILES = {profile.name: profile for profile in (SWE_AGENT, WEB_SEARCH, SMALL)}
_QUERIES = {mix.name: mix for mix in (TEXT2SQL_NATURAL, TEXT2SQL_UNIFORM)}
KINDS: Mapping[str, Kind] = {**PROFILES, **_QUERIES}
"""Everything that can be generated, by name."""


def generate(kind: Kind, count: int, seed: int, context_tokens: Tokens | None = None) -> list[Program]:
    """Makes `count` programs that all arrive at 0 (`arrivals.poisson` spreads them).

    Program i depends on the kind, the seed and i alone. With `context_tokens`, lengths shrink by the rule of
    `ContextBudget`.

    Raises:
        WorkloadError: a program does not fit into `context_tokens` even with one token a part.
    """
    names = (f"{kind.name}-{seed}-{index:04d}" for index in range(count))
    programs = [kind.program(name, Random(name)) for name in names]
    if context_tokens is None:
        return programs
    budget = ContextBudget(context_tokens, kind.window_tokens)
    return [budget.fit(program) for program in programs]


def _length(distribution: Distribution, rng: Random) -> Tokens:
    return max(1, round(distribution.draw(rng)))
