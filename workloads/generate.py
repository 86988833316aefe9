"""Generated programs: chains of calls with tools between them, from published statistics."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from workloads.budget import ContextBudget
from workloads.distributions import Distribution, LogNormal, Normal, Uniform, UniformInt
from workloads.program import Call, Edge, Program, SharedPrefix, Tokens


@dataclass(frozen=True, slots=True)
class Profile:
    """What programs of one kind look like. Lengths are tokens of the model that the statistics were taken with."""

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
    """The context that the lengths are meant for."""


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


def generate(profile: Profile, count: int, seed: int, context_tokens: Tokens | None = None) -> list[Program]:
    """Makes `count` programs that all arrive at 0 (`arrivals.poisson` spreads them).

    Program i depends on the profile, the seed and i alone. With `context_tokens`, lengths shrink by the rule of
    `ContextBudget`.

    Raises:
        WorkloadError: a program does not fit into `context_tokens` even with one token a part.
    """
    programs = [_program(profile, seed, index) for index in range(count)]
    if context_tokens is None:
        return programs
    budget = ContextBudget(context_tokens, profile.window_tokens)
    return [budget.fit(program) for program in programs]


def _program(profile: Profile, seed: int, index: int) -> Program:
    name = f"{profile.name}-{seed}-{index:04d}"
    rng = Random(name)
    turns = round(profile.turns.draw(rng))
    calls = (_first_call(profile, rng), *(_next_call(profile, rng, turn) for turn in range(1, turns)))
    return Program(name, 0.0, calls, workflow=profile.name)


def _first_call(profile: Profile, rng: Random) -> Call:
    return Call("0", _length(profile.first, rng), _length(profile.output, rng), prefix=profile.prefix)


def _next_call(profile: Profile, rng: Random, turn: int) -> Call:
    previous = str(turn - 1)
    edge = Edge(previous, profile.gap_s.draw(rng), rng.choice(profile.tools))
    return Call(str(turn), _length(profile.result, rng), _length(profile.output, rng), after=(edge,), context=previous)


def _length(distribution: Distribution, rng: Random) -> Tokens:
    return max(1, round(distribution.draw(rng)))
