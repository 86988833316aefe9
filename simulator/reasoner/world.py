"""Virtual models on simulated engines: the brain runs the procedures, and schedules their calls on two pools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from simpy.core import EmptySchedule

from scheduler.actions import Answer, Submit
from scheduler.brain import Brain
from scheduler.events import ProcedureBegun, StepEnded
from scheduler.policy import PRESETS, PolicyConfig
from scheduler.procedures.base import ProcedureSpec, Stage, Step
from scheduler.types import DEFAULT_TENANT, ProgramKey, Seconds
from simulator.clock import Clock
from simulator.content import Extent
from simulator.fleet import EngineModel, parse_fleet
from simulator.gateway import Gateway, SimulationError
from simulator.live import LiveCall, LiveProgram
from simulator.network import Legs
from simulator.prompt import EMPTY, Prompt, shared_content
from simulator.reasoner.questions import Question, Script, Writer
from simulator.reasoner.record import Record, Tally
from workloads.program import Call, Program

BYTES_A_TOKEN = 4.0


@dataclass(frozen=True, slots=True)
class Pair:
    """The engines of a draft and of a target."""

    draft: str = "1xA100"
    target: str = "1xA100:tp2"
    draft_model: str = "llama-3.1-8b"
    target_model: str = "qwen2.5-32b"

    def fleet(self) -> tuple[EngineModel, ...]:
        """All of them. Each serves the name of the writer whose skill it has."""
        pools = ((self.draft, self.draft_model, Writer.DRAFT), (self.target, self.target_model, Writer.TARGET))
        return tuple(
            replace(engine, name=f"{writer.value}-{engine.name}", model=writer.value)
            for fleet, model, writer in pools
            for engine in parse_fleet(fleet, model)
        )


@dataclass(slots=True)
class Asked:
    """A question under way, and the text of every sample."""

    tally: Tally
    texts: dict[int, Prompt] = field(default_factory=dict)
    steps: dict[str, Step] = field(default_factory=dict)
    """Of the calls under way."""

    def text(self, sample: int) -> Prompt:
        """The prompt, and what the sample has written."""
        question = self.tally.question
        start = EMPTY.then(shared_content(question.name), question.prompt_tokens, BYTES_A_TOKEN)
        return self.texts.setdefault(sample, start)


class Reasoner:
    """One simulation: questions arrive, and are answered by a virtual model."""

    def __init__(
        self, pair: Pair, spec: ProcedureSpec, seed: int, policy: PolicyConfig = PRESETS["agentserve"]
    ) -> None:
        self.brain = Brain(policy, seed=seed)
        self.clock = Clock()
        self._spec = spec
        self._seed = seed
        self._asked: dict[str, Asked] = {}
        self.records: list[Record] = []
        self.gateway = Gateway(self.brain, pair.fleet(), self.clock, None)
        self.gateway.serve(self._answered, lambda program, call: ())
        self.gateway.perform(self._perform, self._aborted)

    def run(self, questions: Sequence[Question], arrivals: Sequence[Seconds]) -> list[Record]:
        """Asks each question at its time, until all are answered.

        Raises:
            SimulationError: a question will never be answered.
        """
        for question, arrival in zip(questions, arrivals, strict=True):
            self.clock.at(arrival, partial(self._ask, question))
        try:
            while len(self.records) < len(questions):
                self.clock.step()
        except EmptySchedule:
            raise SimulationError(f"nothing happens any more: {'; '.join(self.gateway.waiting())}") from None
        return self.records

    def _ask(self, question: Question) -> None:
        script = Script(question, self._seed, self._spec.segment_tokens)
        self._asked[question.name] = Asked(Tally(question, script, self.clock.now))
        program = ProgramKey(DEFAULT_TENANT, question.name)
        self.gateway.tell(ProcedureBegun(self.clock.now, question.name, program, self._spec))

    def _perform(self, action: Submit | Answer) -> None:
        if isinstance(action, Submit):
            self._submit(action)
            return
        asked = self._asked.pop(action.procedure)
        self.records.append(asked.tally.record(action.conclusion, self.clock.now))

    def _submit(self, action: Submit) -> None:
        asked, step = self._asked[action.procedure], action.step
        prompt, output = asked.text(step.sample), asked.tally.script.length(step)
        asked.steps[action.call] = step
        asked.tally.begin(step)
        call = Call(str(step), prompt.tokens, output, stage=step.stage.value)
        program = Program(action.procedure, self.clock.now, (call,), workflow=action.model)
        live = LiveProgram(program, action.program, action.parent, Legs(0.0, 0.0), BYTES_A_TOKEN, 0, 0)
        content = (*prompt.content, Extent(shared_content(action.call), output))
        self.gateway.arrive(
            LiveCall(
                live, call, step.turn, prompt, content, action.max_output, None, final=False,
                arrived=self.clock.now, id=action.call, model=action.model,
            )
        )  # fmt: skip

    def _answered(self, live: LiveCall) -> None:
        asked = self._asked.get(live.program.id)
        if asked is None:
            return
        step = asked.steps.pop(live.id)
        news = asked.tally.end(step, live.model)
        if step.stage is not Stage.VERIFY:
            text = asked.text(step.sample)
            asked.texts[step.sample] = text.then(shared_content(live.id), news.output, BYTES_A_TOKEN)
        self.gateway.tell(StepEnded(self.clock.now, live.id, news))

    def _aborted(self, live: LiveCall) -> None:
        asked = self._asked[live.program.id]
        asked.tally.abort(asked.steps.pop(live.id), live.model, live.produced)
