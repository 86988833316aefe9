"""What is compared. All arms but the target's own have the same accept rule and the same budgets."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import httpx

from agentserve.config import VirtualSection, parse
from agentserve.engines.factory import build_engines, default_logs
from agentserve.gateway.assembly import gateway
from scheduler.actions import Submit
from scheduler.brain import Brain, Decision
from scheduler.events import CallArrived, CallFinished, Event, StepEnded
from scheduler.procedures.base import Kind, ProcedureSpec, Stage, Step
from scheduler.types import CallId
from tests.benchmarks.reasoner.pair import DRAFT, TARGET
from tests.benchmarks.reasoner.questions import ANSWER
from tests.gateway.world import CHAT, eventually

ALONE, BEST = "target alone", "target best of n"
BARRIER, FREE, OURS = "barrier a turn", "no barriers", "no barriers, stopping early"
ARMS = (ALONE, BEST, BARRIER, FREE, OURS)


@dataclass(frozen=True, slots=True)
class Budget:
    """What a question may cost."""

    samples: int = 8
    turns: int = 5
    segment_tokens: int = 32
    takeover: float = 0.4

    @property
    def whole(self) -> int:
        """The longest answer: as if all segments were taken over."""
        return 2 * self.turns * self.segment_tokens


class Section(VirtualSection):
    """A virtual model whose takeover rate does not follow the load, so that all arms are asked for the same."""

    @property
    def spec(self) -> ProcedureSpec:
        return replace(super().spec, follow_load=False)


class BarrierSection(Section):
    """The same with a barrier a turn."""

    @property
    def spec(self) -> ProcedureSpec:
        return replace(super().spec, kind=Kind.ATTS_BARRIER)


def section(arm: str, budget: Budget) -> Section | None:
    """The virtual model of an arm; None for a plain call of the target."""
    stopping: dict[str, Any] = {} if arm == OURS else {"decided": None, "certain": None}
    own: dict[str, Any] = {"model": "reasoner", "answer": {"regex": ANSWER}, "samples": budget.samples, **stopping}
    if arm == ALONE:
        return None
    if arm == BEST:
        return Section(kind="best_of_n", draft=TARGET, turns=1, segment_tokens=budget.whole, **own)
    limits: dict[str, Any] = {
        "turns": budget.turns,
        "segment_tokens": budget.segment_tokens,
        "takeover": budget.takeover,
    }
    build = BarrierSection if arm == BARRIER else Section
    return build(kind="atts", draft=DRAFT, target=TARGET, **limits, **own)


class CountingBrain(Brain):
    """A brain that counts what it is told and what it asks for, and how long its models are busy."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.counts: Counter[str] = Counter()
        """Verifications, takeovers, and output tokens by model."""
        self.busy: defaultdict[str, float] = defaultdict(float)
        """By model the seconds in which it had a call."""
        self._at = 0.0
        self._models: dict[CallId, str] = {}
        self._steps: dict[CallId, Step] = {}

    def handle(self, event: Event) -> Decision:
        """Counts, and decides as ever."""
        for model in {self._models[call] for call in self.calls}:
            self.busy[model] += event.at - self._at
        self._at = event.at
        match event:
            case CallArrived():
                self._models[event.call] = event.model
            case CallFinished() if event.usage is not None:
                self.counts[self._models[event.call]] += event.usage.output
            case StepEnded() if self._steps[event.call].stage is Stage.VERIFY and event.news.score is not None:
                self.counts[Stage.VERIFY] += 1
        decision = super().handle(event)
        for action in decision.actions:
            if isinstance(action, Submit):
                self._steps[action.call] = action.step
                self.counts[Stage.TAKEOVER] += action.step.stage is Stage.TAKEOVER
        return decision


@dataclass(frozen=True, slots=True)
class Side:
    """An arm, ready to be asked."""

    arm: str
    client: httpx.AsyncClient
    brain: CountingBrain

    async def ask(self, messages: list[dict[str, str]], budget: Budget, seed: int) -> dict[str, Any]:
        """One answer, within a budget of the arm's own or a smaller one. Raises `httpx.HTTPStatusError` if there is none."""
        body: dict[str, Any] = {"messages": messages, "temperature": 0.7, "seed": seed}
        if self.arm == ALONE:
            body |= {"model": TARGET, "max_tokens": budget.whole}
        else:
            lowered = {"samples": budget.samples, "turns": 1} if self.arm == BEST else asdict(budget)
            body |= {"model": "reasoner", "agentserve": lowered}
        response = await self.client.post(CHAT, json=body)
        response.raise_for_status()
        await eventually(lambda: not self.brain.calls, "the end of all calls", 60.0)
        answer: dict[str, Any] = response.json()
        return answer


@asynccontextmanager
async def sides(urls: Mapping[str, str], budget: Budget) -> AsyncIterator[list[Side]]:
    """A gateway an arm, each with a calibration of its own, in front of the same two engines."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(_side(arm, urls, budget)) for arm in ARMS]


@asynccontextmanager
async def _side(arm: str, urls: Mapping[str, str], budget: Budget) -> AsyncIterator[Side]:
    pools = [
        {"model": model, "engines": [{"name": model, "url": url, "priority": True}]} for model, url in urls.items()
    ]
    virtual = section(arm, budget)
    config = parse({"pools": pools}).model_copy(update={"virtual": [virtual] if virtual else []})
    brain = CountingBrain(config.policy)
    async with gateway(config, brain, build_engines(config, default_logs())) as app:
        await eventually(lambda: len(app.driver.engines) == len(urls), "the start of the engines", 60.0)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway", timeout=None) as client:
            yield Side(arm, client, brain)
