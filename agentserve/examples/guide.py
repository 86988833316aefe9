"""A troubleshooting guide as a graph with conditions: which steps are taken depends on what others found.

status ──down──▶ logs ──▶ cause (LLM) ──▶ restart (irreversible) ──▶ report (LLM)
└─────up────▶ load ──────────────────────────────────────────────────▲
"""

from __future__ import annotations

from agentserve.client import AsyncClient, tool
from agentserve.examples.common import main
from agentserve.graphs import At, Graph, Join, OnError, Outcome, Policy

SERVICE = "checkout"


@tool(effect="pure")
async def status(service: str) -> str:
    """Whether it answers."""
    return "down"


@tool(effect="pure")
async def logs(service: str) -> list[str]:
    """Its last lines."""
    return ["12:00:01 accepting connections", "12:04:55 out of memory, exiting"]


@tool(effect="pure")
async def load(service: str) -> float:
    """Requests a second."""
    return 20.0


def would_restart(service: str) -> str:
    """What a restart would do; there is nothing to restart that nobody knows."""
    if service != SERVICE:
        raise LookupError(f"no service {service!r}")
    return f"would restart {service}"


@tool(effect="irreversible", dry_run=would_restart)
async def restart(service: str) -> str:
    """Restarts it: connections are lost."""
    return f"{service} restarted"


def is_down(value: object) -> bool:
    """The condition of one branch."""
    return value == "down"


def is_up(value: object) -> bool:
    """The condition of the other."""
    return not is_down(value)


async def troubleshoot(client: AsyncClient, model: str) -> Outcome:
    """Follows the guide."""
    async with client.program(workflow="troubleshoot", deadline=120) as program:
        graph = Graph(program, model=model, max_tokens=32)
        patient = Policy(timeout=10, retries=2, on_error=OnError.FALLBACK, fallback="down")
        graph.tool(status, SERVICE, at=At("status", policy=patient))
        graph.tool(logs, SERVICE, at=At("logs", when={"status": is_down}))
        graph.tool(load, SERVICE, at=At("load", when={"status": is_up}))
        graph.llm("Why did it stop? ${logs}", stage="cause", at=At("cause"))
        graph.tool(restart, SERVICE, at=At("restart", after=["cause"]))
        ask = "Report in one sentence. Cause: ${cause} Action: ${restart} Load: ${load}"
        graph.llm(ask, stage="report", at=At("report", join=Join.ANY))
        return await graph.run(final=True)


async def example(client: AsyncClient, model: str) -> str:
    """The report, and what became of each step."""
    outcome = (await troubleshoot(client, model)).check()
    steps = ", ".join(f"{name} {state.value}" for name, state in outcome.states.items())
    return f"{outcome['report']}\n({steps})"


if __name__ == "__main__":
    main(example, __doc__)
