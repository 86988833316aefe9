"""What graphs cost, and what they gain.

Cost: graphs of 10,000 tools that take no time, so that what is measured is the graph's own work: nodes a second, and
CPU per node, beside the same tools as bare asyncio tasks.

Gain: three shapes of LLMCompiler's paper (two searches and a comparison, eight questions and a comparison, a search over
thoughts with a vote) as a sequential ReAct loop, as a graph whose plan is read when it is complete, and as one whose plan
is followed while it is written. Tools sleep 0.3 to 2 s. A plan's text is fixed, and its lines become known in the measure
in which the engine generates as many tokens; models of the sizes at hand write no plans.

    python -m tests.benchmarks.graphs [--json docs/results/graphs.json --markdown docs/results/graphs.md]
    python -m tests.benchmarks.graphs --engine real                                  # the demo's engine and model
    python -m tests.benchmarks.graphs --url http://127.0.0.1:8000 --model smollm2    # on a gateway that runs

On a real engine of two cores a repetition takes about three minutes. `--costs 0` leaves the cost out.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agentserve.client import AsyncClient, AsyncProgram, tool
from agentserve.demo.arms import MODEL_NAME, EngineSize
from agentserve.engines import demo_model
from agentserve.graphs import Graph, Hold, Prompt
from agentserve.validation.served import ServedGateway
from scheduler.policy import PRESETS
from tests.client.emulated import MODEL, emulated
from tests.graphs.random_dag import random_graph, work

COUNT = 10_000
TOKENS_A_LINE = 16
THOUGHT, ANSWER = 48, 64
"""Tokens of a ReAct step and of the last answer."""
LOGS = Path(".bench/graphs")
SPEED = 4.0
"""Seconds of the emulated engine in one of the clock."""


# --- cost ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cost:
    """Medians over repetitions. Building the graph counts as well."""

    graph: str
    nodes: int
    nodes_per_second: float
    wall_us: float
    cpu_us: float

    @property
    def by_cpu(self) -> float:
        """Nodes a second of CPU time: what a core of its own would do."""
        return 1e6 / self.cpu_us


def bare() -> Coroutine[Any, Any, object]:
    """The tools of the wide graph as tasks that nobody schedules."""

    async def run() -> None:
        await asyncio.gather(*[asyncio.create_task(work.function(number, [], False)) for number in range(COUNT)])

    return run()


def wide() -> Coroutine[Any, Any, object]:
    """No node needs another."""
    graph = Graph(tools=[work], hold=Hold.NOTHING)
    for number in range(COUNT):
        graph.tool(work, number, [], False)
    return graph.run()


def chain() -> Coroutine[Any, Any, object]:
    """Each needs the one before."""
    graph = Graph(tools=[work], hold=Hold.NOTHING)
    last = graph.tool(work, 0, [], False)
    for number in range(1, COUNT):
        last = graph.tool(work, number, [last], False)
    return graph.run()


def planned() -> Coroutine[Any, Any, object]:
    """A chain of pairs, as the text of a plan in small pieces."""
    lines = [
        f"{number}. work({number}, [{f'${number - 2}' if number > 2 else ''}], False)\n" for number in range(COUNT)
    ]

    async def written() -> AsyncIterator[str]:
        text = "".join(lines)
        for start in range(0, len(text), 64):
            yield text[start : start + 64]
            await asyncio.sleep(0)

    return Graph(tools=[work]).run(written())


GRAPHS: Mapping[str, Callable[[], Coroutine[Any, Any, object]]] = {
    "bare asyncio tasks, no graph": bare,
    "independent nodes": wide,
    "one chain": chain,
    "random, up to 3 edges a node": lambda: random_graph(COUNT, 1).run(),
    "random, 5 % fail": lambda: random_graph(COUNT, 1, failing=0.05).run(),
    "a plan's text, in pieces of 64 characters, verified": planned,
}


async def costs(repetitions: int) -> list[Cost]:
    """All graphs in turn, as often as asked."""
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in GRAPHS}
    for _ in range(repetitions):
        for name, make in GRAPHS.items():
            gc.collect()
            wall, cpu = time.perf_counter(), time.process_time()
            await make()
            seen[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return [_cost(name, times) for name, times in seen.items()]


def _cost(name: str, times: Sequence[tuple[float, float]]) -> Cost:
    wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
    return Cost(name, COUNT, COUNT / wall, wall / COUNT * 1e6, cpu / COUNT * 1e6)


# --- gain ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shape:
    """A question: the plan that answers it, and how many LLM calls and tools it takes one after the other."""

    name: str
    plan: str

    @property
    def lines(self) -> list[str]:
        return self.plan.splitlines()

    @property
    def tokens(self) -> int:
        """Of the plan."""
        return TOKENS_A_LINE * len(self.lines)


def search(count: int) -> str:
    """A plan that looks up so many things and compares them."""
    return "\n".join([*(f'{k}. search("subject {k}")' for k in range(1, count + 1)), f"{count + 1}. join()"])


def thoughts(branches: int, rounds: int) -> str:
    """Proposals side by side, each weighed and checked, and the best taken on to the next round."""
    lines: list[str] = []
    best = '"1 2 4 7"'
    for _ in range(rounds):
        checked = []
        for branch in range(branches):
            k = len(lines) + 1
            lines += [f"{k}. propose({best}, {branch})", f'{k + 1}. weigh("${k}")', f"{k + 2}. check($" + f"{k + 1})"]
            checked.append(f"${k + 2}")
        best = f"${len(lines) + 1}"
        lines.append(f"{len(lines) + 1}. select({', '.join(checked)})")
    return "\n".join([*lines, f"{len(lines) + 1}. join()"])


SHAPES = (
    Shape("parallel search (2)", search(2)),
    Shape("parallel questions (8)", search(8)),
    Shape("game of 24 (3 branches, 2 rounds)", thoughts(3, 2)),
)


class Agent:
    """One question to one program. How long each tool takes is drawn from the seed, in the same order for every arm."""

    def __init__(self, program: AsyncProgram, model: str, shape: Shape, seed: int) -> None:
        self.program, self.shape = program, shape
        self.fields: dict[str, Any] = {"model": model, "ignore_eos": True, "temperature": 0}
        draw = random.Random(seed)
        seconds = [draw.uniform(0.3, 2.0) for _ in shape.lines]
        self._seconds = iter(seconds)
        self.question = f"question {seed}: " + "what is known of all of this, and how does it compare? " * 8

    async def run_tool(self, name: str) -> str:
        await asyncio.sleep(next(self._seconds))
        return f"{name}: " + "a finding of some length. " * 8

    async def ask(self, text: str, tokens: int, stage: str) -> str:
        return (await self.program.chat(text, stage=stage, max_tokens=tokens, **self.fields)).text

    async def react(self) -> None:
        """One step after the other: a thought that names the call, then the call, all in one history."""
        messages: list[dict[str, Any]] = [{"role": "user", "content": self.question}]
        for line in self.shape.lines[:-1]:
            name = line.split(". ")[1].partition("(")[0]
            tokens = THOUGHT
            answer = await self.program.chat(messages, stage="react", max_tokens=tokens, **self.fields)
            found = "" if name in ("propose", "weigh", "select") else await self.run_tool(name)
            messages += [{"role": "assistant", "content": answer.text}, {"role": "user", "content": found or "go on"}]
        await self.program.chat(messages, stage="join", max_tokens=ANSWER, final=True, **self.fields)

    async def compiled(self, *, streamed: bool) -> None:
        """A graph by a plan that the engine takes the plan's time to write."""
        plan = self._written()
        await self._graph().run(plan if streamed else "".join([piece async for piece in plan]), final=True)

    def _graph(self) -> Graph:
        @tool(effect="idempotent")
        async def search(subject: str) -> str:
            return await self.run_tool(subject)

        @tool(effect="idempotent")
        async def check(thought: str) -> str:
            return await self.run_tool("check")

        @tool(effect="idempotent")
        async def select(*thoughts: str) -> str:
            return thoughts[0]

        step, last = {"max_tokens": THOUGHT}, {"max_tokens": ANSWER}
        prompts = [
            Prompt("propose", lambda best, branch: f"{self.question} {branch} {best}", fields=step),
            Prompt("weigh", lambda thought: f"{self.question} {thought}", fields=step),
            Prompt("join", lambda found: f"{self.question} {found}", join=True, fields=last),
        ]
        return Graph(self.program, tools=[search, check, select], prompts=prompts, **self.fields)

    async def _written(self) -> AsyncIterator[str]:
        text, told, count = self.shape.plan, 0, 0
        stream = self.program.stream(self.question, stage="plan", max_tokens=self.shape.tokens, **self.fields)
        async for _ in stream:
            count += 1
            known = min(len(text), len(text) * count // self.shape.tokens)
            yield text[told:known]
            told = known
        yield text[told:]


ARMS: Mapping[str, Callable[[Agent], Coroutine[Any, Any, None]]] = {
    "react": Agent.react,
    "graph": lambda agent: agent.compiled(streamed=False),
    "streamed": lambda agent: agent.compiled(streamed=True),
}


@dataclass(frozen=True, slots=True)
class Gain:
    """Seconds from the question to the answer, by arm: one for each repetition."""

    shape: str
    seconds: dict[str, list[float]]

    def ratio(self, arm: str, other: str) -> float:
        """The median of the paired ratios."""
        return statistics.median(a / b for a, b in zip(self.seconds[arm], self.seconds[other], strict=True))


async def gains(url: str, model: str, repetitions: int) -> list[Gain]:
    """All shapes and arms in turn, as often as asked, each alone on the gateway."""
    found = [Gain(shape.name, {arm: [] for arm in ARMS}) for shape in SHAPES]
    async with AsyncClient(url) as client:
        for repetition in range(repetitions):
            for shape, gain in zip(SHAPES, found, strict=True):
                for arm, run in ARMS.items():
                    async with client.program(workflow=f"{arm}-{shape.name}") as program:
                        began = time.perf_counter()
                        await run(Agent(program, model, shape, repetition))
                        gain.seconds[arm].append(time.perf_counter() - began)
                        sys.stderr.write(f"{shape.name}, {arm}: {gain.seconds[arm][-1]:.2f} s\n")
    return found


# --- report -------------------------------------------------------------------------------------------------------------


def table(measured: Sequence[Cost], gained: Sequence[Gain], engines: str) -> str:
    """Both as Markdown."""
    lines = [
        "# Graphs",
        "",
        f"`python -m tests.benchmarks.graphs {' '.join(sys.argv[1:])}`",
        "",
        f"{COUNT:,} tools that take no time; building the graph is counted. Medians, the graphs in turn; the wall",
        "time counts what else the machine did.",
        "",
        "| graph | nodes a second of CPU | CPU, us a node | nodes/s by the clock | wall, us a node |",
        "|---|---|---|---|---|",
        *(
            f"| {c.graph} | {c.by_cpu:,.0f} | {c.cpu_us:.0f} | {c.nodes_per_second:,.0f} | {c.wall_us:.0f} |"
            for c in measured
        ),
        "",
        f"LLMCompiler's shapes on {engines}; tools take 0.3 to 2 s. Seconds are medians, ratios medians of pairs. The plans'",
        "text is fixed; its lines become known as the engine generates as many tokens.",
        "",
        "| shape | ReAct loop, s | graph, plan read at its end, s | graph, plan followed as it is written, s | ReAct over the latter | what following it gains |",
        "|---|---|---|---|---|---|",
        *(_row(gain) for gain in gained),
        "",
    ]
    return "\n".join(lines)


def _row(gain: Gain) -> str:
    seconds = " | ".join(f"{statistics.median(gain.seconds[arm]):.2f}" for arm in ARMS)
    return f"| {gain.shape} | {seconds} | {gain.ratio('react', 'streamed'):.2f}x | {gain.ratio('graph', 'streamed'):.2f}x |"


@asynccontextmanager
async def gateway(options: argparse.Namespace) -> AsyncIterator[tuple[str, str, str]]:
    """A gateway's address, a model of it, and what it is: the one that is given, one on a real engine, or an emulated one."""
    if options.url and options.model:
        yield options.url, options.model, f"the engines behind {options.model}"
    elif options.engine == "real":
        size = EngineSize(demo_model.prepare(options.folder))
        config = {"pools": [{"model": MODEL_NAME, "engines": [size.section(plugin=True)]}]}
        async with ServedGateway(config, PRESETS["agentserve"], LOGS, "graphs", ["vllm"], _say, None) as served:
            yield served.url, MODEL_NAME, f"a real vLLM with SmolLM2-135M on {os.cpu_count()} CPU cores"
    else:
        async with emulated(SPEED) as served:
            yield served.url, MODEL, f"an emulated engine ({SPEED:g} times as fast as SmolLM2-135M on two CPU cores)"


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


async def measure(options: argparse.Namespace) -> None:
    """Both parts, and the files."""
    repetitions = options.repetitions if options.costs is None else options.costs
    measured = await costs(repetitions) if repetitions else []
    async with gateway(options) as (url, model, engines):
        gained = await gains(url, model, options.repetitions)
    text = table(measured, gained, engines)
    sys.stdout.write(text)
    if options.markdown:
        options.markdown.write_text(text)
    if options.json:
        record = {
            "machine": platform.platform(),
            "python": platform.python_version(),
            "engines": engines,
            "cost": [asdict(cost) for cost in measured],
            "gain": [asdict(gain) for gain in gained],
        }
        options.json.write_text(json.dumps(record, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--costs", type=int, help="repetitions of the cost, where they are others")
    parser.add_argument("--engine", choices=("emulated", "real"), default="emulated")
    parser.add_argument("--folder", type=Path, default=Path(".models") / MODEL_NAME, help="where the real model is")
    parser.add_argument("--url", help="a gateway that runs, with --model; an emulated one otherwise")
    parser.add_argument("--model")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    LOGS.mkdir(parents=True, exist_ok=True)
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
