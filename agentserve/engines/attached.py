"""An engine that runs already, somewhere, and is reached by its URL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import httpx
from pydantic import BaseModel

from agentserve.engines import metrics
from agentserve.engines.base import EngineError, OutrankedError, PinOrder, PinReport, Progress, Pulse
from agentserve.engines.calls import CallReply
from agentserve.engines.http import HEALTH_TIMEOUT, HttpLeg, read
from agentserve.engines.probe import Known, probe
from agentserve.vllm_plugin.epochs import HEADER
from scheduler.events import PinOutcome
from scheduler.types import EngineId, EngineSpec, Tokens

PINS_PATH = "/agentserve/v1/pins"


class _Report(BaseModel):
    program: str
    outcome: PinOutcome
    tokens: Tokens


class _Pins(BaseModel):
    cursor: int
    reports: list[_Report]


class AttachedEngine:
    """An engine by URL (`base.Engine`)."""

    def __init__(self, name: EngineId, url: str, known: Known) -> None:
        self.name = name
        self._known = known
        self._leg = HttpLeg(name, url)
        self._spec: EngineSpec | None = None
        self._cursor = 0

    @property
    def url(self) -> str:
        """Its base URL, without a trailing slash."""
        return self._leg.url

    async def start(self, progress: Progress) -> EngineSpec:
        """Probes it. Raises `EngineError` if it does not answer or cannot be served."""
        self._spec = await probe(self._leg, self._known, progress)
        if self._spec.retention:
            self._cursor = read(self.name, await self._leg.get(PINS_PATH), _Pins).cursor
        return self._spec

    async def open(self, path: str, headers: Mapping[str, str], body: bytes) -> CallReply:
        """POSTs a body and returns at the answer's head. Raises `EngineError` if none comes."""
        return await self._leg.open(path, headers, body)

    async def healthy(self) -> bool:
        """Whether it answers its health route, or at least knows no such route."""
        try:
            return (await self._leg.get("/health", HEALTH_TIMEOUT)).status_code < httpx.codes.INTERNAL_SERVER_ERROR
        except EngineError:
            return False

    def gone(self) -> str | None:
        """Why it cannot come back without a new start; of an engine elsewhere nothing is known."""
        return None

    async def observe(self) -> Pulse:
        """Scrapes it. Raises `EngineError` if it does not answer, or its page is not vLLM's."""
        if self._spec is None:
            raise EngineError(f"engine {self.name} has not been started")
        answer = await self._leg.get("/metrics")
        try:
            scrape = metrics.read(answer.text)
        except ValueError as error:
            raise EngineError(f"engine {self.name} has a metrics page that cannot be read: {error}") from error
        if scrape is None:
            raise EngineError(f"engine {self.name} has no vLLM metrics at {answer.request.url}")
        return Pulse(scrape.running, scrape.waiting, round(scrape.kv_usage * self._spec.kv_tokens))

    async def pin(self, orders: Sequence[PinOrder], epoch: int = 0) -> list[PinReport]:
        """Sets and releases pins and returns the reports since the last time; without the plugin, none."""
        if self._spec is None or not self._spec.retention:
            return []
        pins = [{"program": order.program, "ttl": order.ttl} for order in orders]
        answer = await self._leg.post(PINS_PATH, {"pins": pins, "since": self._cursor}, {HEADER: str(epoch)})
        if answer.status_code == httpx.codes.CONFLICT:
            raise OutrankedError(
                f"engine {self.name} obeys another gateway ({answer.text.strip()}); two gateways on one engine need a"
                " common `store`, or one of them has to be stopped"
            )
        state = read(self.name, answer, _Pins)
        self._cursor = state.cursor
        return [PinReport(report.program, report.outcome, report.tokens) for report in state.reports]

    async def stop(self) -> None:
        """Closes the connections."""
        await self._leg.aclose()
