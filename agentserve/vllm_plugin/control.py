"""The control protocol: orders in, reports and numbers out, as JSON between the API server and the engine process."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from time import monotonic
from typing import Protocol

from agentserve.vllm_plugin.reports import Outcome
from agentserve.vllm_plugin.retention import Retention
from agentserve.vllm_plugin.ticket import BadValueError, parse_program, parse_ttl

METHOD = "agentserve_control"
"""The name under which the engine process serves the protocol to `call_utility_async`."""


class BadOrderError(ValueError):
    """A control message that is not one. The message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class PinOrder:
    """Keep `program` for `ttl` seconds from now, or from the end of the call it has in the engine; 0 releases it."""

    program: str
    ttl: float


@dataclass(frozen=True, slots=True)
class Message:
    """Orders, and the number of the last report the sender has seen; without one it gets no reports."""

    pins: tuple[PinOrder, ...] = ()
    since: int | None = None

    def to_json(self) -> str:
        """The message as it goes to the engine process."""
        return json.dumps(asdict(self))


class FreeList(Protocol):
    """The engine's free blocks."""

    num_free_blocks: int


class RetentionHost(Protocol):
    """The scheduler, as far as the control protocol needs it. `total_blocks` are those that requests can have."""

    retention: Retention
    total_blocks: int
    block_size: int
    guard: bool
    ignored: int
    max_num_running_reqs: int

    @property
    def free_queue(self) -> FreeList:
        """The list that counts free blocks."""
        ...


class EngineProcess(Protocol):
    """vLLM's engine core."""

    @property
    def scheduler(self) -> RetentionHost:
        """The scheduler it runs."""
        ...


def parse_message(body: bytes | str) -> Message:
    """Reads a control message: `{"pins": [{"program": str, "ttl": float}, ...], "since": int}`, both optional.

    Raises:
        BadOrderError: it is not JSON, or not of this shape.
    """
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadOrderError(f"the body is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise BadOrderError('the body must be an object such as {"pins": [], "since": 0}')
    unknown = sorted(data.keys() - {"pins", "since"})
    if unknown:
        raise BadOrderError(f"unknown key {unknown[0]!r}; the keys are 'pins' and 'since'")
    pins = data.get("pins", [])
    if not isinstance(pins, list):
        raise BadOrderError("'pins' must be a list")
    return Message(tuple(_parse_pin(index, pin) for index, pin in enumerate(pins)), _parse_since(data.get("since")))


def _parse_pin(index: int, pin: object) -> PinOrder:
    if not isinstance(pin, dict) or pin.keys() != {"program", "ttl"}:
        raise BadOrderError(f'pins[{index}] must be {{"program": string, "ttl": seconds}}')
    try:
        return PinOrder(parse_program(pin["program"]), parse_ttl(pin["ttl"]))
    except BadValueError as error:
        raise BadOrderError(f"pins[{index}]: {error}") from error


def _parse_since(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise BadOrderError("'since' must be a report's number, 0 or more")
    return value


def serve(engine: EngineProcess, message: str) -> str:
    """Carries out a message in the engine process, between two steps, and answers with reports and numbers."""
    scheduler = engine.scheduler
    parsed = parse_message(message)
    now = monotonic()
    scheduler.retention.expire(now)
    for order in parsed.pins:
        scheduler.retention.order(order.program, order.ttl, now)
    return json.dumps(_status(scheduler, parsed.since))


def _status(host: RetentionHost, since: int | None) -> dict[str, object]:
    retention = host.retention
    reports = retention.reports
    totals = {outcome.value: reports.totals[outcome] for outcome in Outcome}
    return {
        "cursor": reports.cursor,
        "reports": [asdict(report) for report in reports.since(since)] if since is not None else [],
        "protected_tokens": retention.ownership.held_tokens,
        "protected_blocks": retention.ownership.held_blocks,
        "free_blocks": host.free_queue.num_free_blocks,
        "total_blocks": host.total_blocks,
        "block_size": host.block_size,
        "counters": {**totals, "released": retention.released, "ignored": host.ignored},
        "guard": host.guard,
        "max_num_seqs": host.max_num_running_reqs,
    }
