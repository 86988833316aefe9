"""One question to a database of your own, through a gateway that runs already.

python -m workloads.text2sql --url http://127.0.0.1:8000 --model smollm2 --database shop.sqlite "How many orders?"
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from agentserve.client import AgentserveError, AsyncClient
from workloads.text2sql.agent import WORKFLOW, Settings, Solution, Task, solve
from workloads.text2sql.sandbox import Sandbox, SqlError
from workloads.text2sql.schema import Schema


def main() -> int:
    """Prints the SQL, its rows, and what each call took; returns 1 if there is no answer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question")
    parser.add_argument("--database", type=Path, required=True, help="an SQLite file; it is only read")
    parser.add_argument("--model", required=True, help="as the gateway names it")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--deadline", type=float, help="seconds within which an answer is wanted")
    parser.add_argument("--max-revise", type=int, choices=range(11), default=10, metavar="0..10")
    options = parser.parse_args()
    if options.deadline is not None and not options.deadline > 0:
        parser.error(f"--deadline must be above 0 seconds, not {options.deadline:g}")
    try:
        solution = asyncio.run(_ask(options))
    except (AgentserveError, SqlError, FileNotFoundError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(_told(solution))
    return int(bool(solution.chosen.error))


async def _ask(options: argparse.Namespace) -> Solution:
    task = Task(options.question, Schema.read(options.database), Sandbox(options.database))
    settings = Settings(options.model, max_revise=options.max_revise)
    async with (
        AsyncClient(options.url) as client,
        client.program(workflow=WORKFLOW, deadline=options.deadline) as program,
    ):
        return await solve(task, program, settings)


def _told(solution: Solution) -> str:
    chosen = solution.chosen
    rows = [f"failed: {chosen.error}"] if chosen.error else ["\t".join(map(str, row)) for row in chosen.rows]
    calls = [
        f"{call.stage:<20} {call.ended - call.began:7.2f} s {call.prompt:6} + {call.output:3} tokens  {call.engine}"
        for call in solution.calls
    ]
    return "\n".join([chosen.sql, *rows, "", f"{solution.revisions} revisions", *calls, ""])


if __name__ == "__main__":
    sys.exit(main())
