"""What the examples share: their options, and a client."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable

from agentserve.client import DEFAULT_URL, AgentserveError, AsyncClient
from agentserve.graphs import GraphError

Example = Callable[[AsyncClient, str], Awaitable[str]]


def main(example: Example, about: str | None) -> None:
    """Runs an example from the command line, and prints what it returns."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default=DEFAULT_URL, help="the gateway (%(default)s)")
    parser.add_argument("--api-key", help="where the gateway has keys")
    parser.add_argument("--model", required=True, help="a model that the gateway serves")
    options = parser.parse_args()
    try:
        text = asyncio.run(_run(example, options.url, options.api_key, options.model))
    except (AgentserveError, GraphError) as error:
        sys.exit(f"error: {error}")
    sys.stdout.write(f"{text}\n")


async def _run(example: Example, url: str, api_key: str | None, model: str) -> str:
    async with AsyncClient(url, api_key) as client:
        return await example(client, model)
