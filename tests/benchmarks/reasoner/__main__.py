"""A small draft and a larger target answer arithmetic and logic, with and without barriers.

Both are real engines on this machine's CPU. Each question is a repetition: all arms are asked it under the same seed,
one after the other, and take turns at being first. They are the target alone; the best of n by the target; the
procedure with a barrier a turn; without barriers; and without barriers and stopping early. The last three have the
same accept rule and budgets.

    python -m tests.benchmarks.reasoner --json docs/results/reasoner.json --markdown docs/results/reasoner.md
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import sys
import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import uvloop

from agentserve.engines import installed
from agentserve.engines.base import EngineError
from scheduler.procedures.answers import Extraction, Rule
from tests.benchmarks.reasoner import pair
from tests.benchmarks.reasoner.arms import ALONE, Budget, Side, sides
from tests.benchmarks.reasoner.questions import ANSWER, Question, questions
from tests.benchmarks.reasoner.report import Asked, figures, markdown

REAL = (
    "SmolLM2-135M-Instruct drafts; the target is the same made {depth} times deeper by layers that add nothing: its cost "
    "is that of a larger model, its text the draft's. Two vLLM engines in float32, one CPU core each."
)
EMULATED = "**Emulated engines**: modelled times and filler text; only that everything runs can be seen here."
NOTE = (
    "The times are those of a real pair of unequal models; the accuracy is that of one small model in all arms, and says "
    "nothing: what a takeover by a better target is worth is measured in simulation (reasoner-sim.md)."
)
EXTRACTION = Extraction(Rule.REGEX, ANSWER)


async def ask(side: Side, number: int, question: Question, budget: Budget, seed: int) -> Asked:
    """Asks one question and checks the answer."""
    before, busy_before = Counter(side.brain.counts), dict(side.brain.busy)
    began = time.monotonic()
    answer = await side.ask(question.messages, budget, seed)
    seconds = time.monotonic() - began
    text = answer["choices"][0]["message"]["content"]
    found = EXTRACTION.find(text) or None if side.arm == ALONE else answer["agentserve"]["answer"]
    spent = {name: count - before[name] for name, count in side.brain.counts.items()}
    busy = {model: round(until - busy_before.get(model, 0.0), 3) for model, until in side.brain.busy.items()}
    return Asked(number, side.arm, round(seconds, 3), question.is_right(found), found, spent, busy)


async def play(options: argparse.Namespace, budget: Budget, asked: list[Asked]) -> None:
    """Adds the answers of all arms, a question at a time, while there is time; engines are ended in any case."""
    logs = options.models / "logs"
    async with (
        pair.running(options.models, logs, _say, tails=not options.judgement, emulated=options.emulated) as urls,
        sides(urls, budget) as ready,
    ):
        deadline = time.monotonic() + 60 * options.minutes
        for side in ready:  # what the first call of an engine costs is nobody's
            await ask(side, -1, questions(1, options.seed + 1)[0], replace(budget, samples=1, turns=1), options.seed)
            side.brain.counts.clear()
        for number, question in enumerate(questions(options.questions, options.seed)):
            if time.monotonic() > deadline:
                _say(f"{options.minutes:g} minutes have passed: this is all")
                break
            first = number % len(ready)
            order = (*ready[first:], *ready[:first])
            asked += [await _told(side, number, question, budget, options.seed + number) for side in order]


async def _told(side: Side, number: int, question: Question, budget: Budget, seed: int) -> Asked:
    done = await ask(side, number, question, budget, seed)
    _say(f"question {number}, {done.arm}: {done.seconds:.1f} s, {done.answer} ({question.task.answer})")
    return done


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


async def interruptible(options: argparse.Namespace, budget: Budget, asked: list[Asked]) -> None:
    """Plays as a task that SIGINT and SIGTERM cancel, so that no engine outlives the run."""
    task = asyncio.ensure_future(play(options, budget, asked))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await task


def report_of(options: argparse.Namespace, budget: Budget, asked: list[Asked]) -> dict[str, Any]:
    """What is kept of a run."""
    limits = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in asdict(budget).items())
    settings = {"questions": options.questions, "seed": options.seed, "depth": options.depth, **asdict(budget)}
    chosen = "".join(f" --{name.replace('_', '-')} {value}" for name, value in settings.items())
    return {
        "command": f"python -m tests.benchmarks.reasoner{chosen}"
        + (" --judgement" if options.judgement else "")
        + (" --emulated" if options.emulated else ""),
        "what": EMULATED if options.emulated else REAL.format(depth=options.depth),
        "budget": limits.capitalize(),
        "note": NOTE,
        "figures": figures(asked, budget.takeover),
        "asked": [asdict(each) for each in asked],
    }


def main() -> int:
    """Returns the exit code: 130 if it was interrupted."""
    options = _options()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    budget = Budget(options.samples, options.turns, options.segment_tokens, options.takeover)
    if not options.emulated and not installed.has_vllm():
        _say(f"{installed.HOW_TO_INSTALL}; or use --emulated")
        return 1
    options.models.mkdir(parents=True, exist_ok=True)
    asked: list[Asked] = []
    code = 0
    try:
        if not options.emulated:
            pair.prepare(options.models, options.depth)
        uvloop.run(interruptible(options, budget, asked))
    except (KeyboardInterrupt, asyncio.CancelledError):
        _say("interrupted; everything that was started has been stopped")
        code = 130
    except (EngineError, RuntimeError) as error:
        _say(str(error))
        code = 1
    if asked:
        write(report_of(options, budget, asked), options)
    return code


def write(report: dict[str, Any], options: argparse.Namespace) -> None:
    """Prints the report, and writes it where it is wanted."""
    text = markdown(report)
    for path, content in ((options.json, json.dumps(report, indent=1) + "\n"), (options.markdown, text)):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    sys.stdout.write(text)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    for name, value in asdict(Budget()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    parser.add_argument("--depth", type=int, default=pair.DEPTH, help="layers of the target for each of the draft's")
    parser.add_argument("--minutes", type=float, default=20.0, help="no question is begun after so many")
    parser.add_argument("--models", type=Path, default=Path(".models"), help="where the models are, or are written")
    parser.add_argument("--emulated", action="store_true", help="emulated engines, to see that everything runs")
    parser.add_argument("--judgement", action="store_true", help="the target judges, instead of scoring tails")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    if options.questions < 1 or options.depth < 1 or options.minutes <= 0:
        parser.error("--questions, --depth and --minutes must be above 0")
    return options


if __name__ == "__main__":
    sys.exit(main())
