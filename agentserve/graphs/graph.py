"""Graphs as people build and run them."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from agentserve.client.aio import AsyncProgram
from agentserve.client.base import Messages
from agentserve.client.tools import Effect, Tool
from agentserve.graphs.calls import Budget, Call
from agentserve.graphs.edits import Add, Edit
from agentserve.graphs.errors import EditError, GraphError, PlanError, PlanRejectedError, Problem
from agentserve.graphs.machine import NO_SPECULATION, Hold, Machine
from agentserve.graphs.node import DEFAULT, Condition, Join, Kind, Node, Policy, Work
from agentserve.graphs.outcome import Outcome
from agentserve.graphs.perform import Performer
from agentserve.graphs.plan import PlanReader, Step
from agentserve.graphs.prompt import Prompt
from agentserve.graphs.runner import Runner
from agentserve.graphs.template import Template, bare
from agentserve.graphs.verify import verify

Plan: TypeAlias = str | AsyncIterable[str]
Replan: TypeAlias = Callable[[Outcome], Awaitable[Plan | Sequence[Edit] | None]]


@dataclass(frozen=True, slots=True)
class At:
    """Where a node stands in its graph. Other nodes may be named by id or placeholder.

    Attributes:
        id: its id; the next free number where it is left out.
        after: nodes that have to be done before, besides those that its arguments refer to.
        when: conditions on the values of nodes; the node is skipped where one does not hold.
        join: whether it needs all of its edges or one.
        policy: timeout, retries and what its failure means.
        likely: how likely its conditions hold, from 0 to 1, for a speculative start.
    """

    id: str | None = None
    after: Sequence[str] = ()
    when: Mapping[str, Condition] = field(default_factory=dict)
    join: Join = Join.ALL
    policy: Policy = DEFAULT
    likely: float = 0.5


SOMEWHERE = At()


@dataclass(frozen=True, slots=True)
class Guess:
    """A pure tool's call that is likely to come."""

    tool: str
    args: tuple[object, ...] = ()
    kwargs: Mapping[str, object] = field(default_factory=dict)
    likely: float = 1.0


class Graph:
    """A graph of tool and LLM calls. It is built, run and changed in one event loop.

    Attributes:
        machine: the state of all its nodes, to be read.
    """

    def __init__(
        self,
        program: AsyncProgram | None = None,
        *,
        tools: Iterable[Tool[Any, Any]] = (),
        prompts: Iterable[Prompt] = (),
        hold: Hold = Hold.IRREVERSIBLE,
        approve: Callable[[Sequence[Node]], bool | Awaitable[bool]] | None = None,
        budget: Budget = NO_SPECULATION,
        guess: Callable[[str, Any], Iterable[Guess]] | None = None,
        **fields: Any,
    ) -> None:
        """Makes an empty graph.

        Args:
            program: whose calls the LLM nodes are; without one there can be none.
            tools: those that plans may name.
            prompts: LLM calls that plans may name.
            hold: what waits until the whole plan was verified.
            approve: asked once the plan is verified, with the nodes that wait for it.
            budget: what may be run early.
            guess: pure calls that are likely to come, by the name of a tool that has ended and its value.
            fields: the API's own fields of all LLM nodes (`model`, ...).
        """
        self.machine = Machine(hold, budget)
        self._program = program
        self._tools = {tool.name: tool for tool in tools}
        self._prompts = {prompt.name: prompt for prompt in prompts}
        self._approve = approve
        self._guess = guess
        self._fields = fields
        self._count = 0
        self._final = False
        self._performer = Performer(self.machine, program, self._tools, self._prompts, fields, self._is_last)
        self._runner: Runner | None = None
        self._started = 0

    # --- building -----------------------------------------------------------------------------------------------------

    def tool(self, tool: Tool[Any, Any] | str, *args: object, at: At = SOMEWHERE, **kwargs: object) -> str:
        """Adds a tool node; returns the placeholder for its value.

        Raises:
            EditError: as `edit`.
        """
        return self._added(self.tool_node(tool, *args, at=at, **kwargs))

    def llm(self, messages: Messages, *, stage: str = "", at: At = SOMEWHERE, **fields: Any) -> str:
        """Adds an LLM node; returns the placeholder for the text of its answer. Raises as `tool`."""
        return self._added(self.llm_node(messages, stage=stage, at=at, **fields))

    def tool_node(self, tool: Tool[Any, Any] | str, *args: object, at: At = SOMEWHERE, **kwargs: object) -> Node:
        """A tool node that is not added yet: for `edit`.

        Raises:
            EditError: no tool has this name, or another one has.
        """
        if isinstance(tool, str):
            if tool not in self._tools:
                raise EditError(f"there is no tool {tool!r}; there are {', '.join(sorted(self._tools)) or 'none'}")
            tool = self._tools[tool]
        elif self._tools.setdefault(tool.name, tool) is not tool:
            raise EditError(f"there is another tool {tool.name!r}")
        return self._node(Work(Kind.TOOL, tool.name, tool.effect), Template.parse((args, kwargs)), at)

    def llm_node(self, messages: Messages, *, stage: str = "", at: At = SOMEWHERE, **fields: Any) -> Node:
        """An LLM node that is not added yet: for `edit`."""
        said = {"messages": messages if isinstance(messages, str) else list(messages), **self._fields, **fields}
        return self._llm(Kind.LLM, stage, Template.parse(((), said)), at)

    def edit(self, edits: Sequence[Edit]) -> None:
        """Applies all of the edits, or none; also while the graph runs, from its own tools too.

        Raises:
            EditError: a node has started, is unknown or exists already, needs one that there is not, or needs itself.
        """
        self.machine.edit(edits)
        self._pump()

    def cancel(self, name: str | None = None) -> None:
        """Cancels a node, or everything that has not ended."""
        if name is None:
            self.machine.cancel_all()
        else:
            self.machine.cancel(bare(name))
        self._pump()

    # --- running ------------------------------------------------------------------------------------------------------

    async def run(
        self,
        plan: Plan | None = None,
        *,
        replan: Replan | None = None,
        rounds: int = 3,
        dry: bool = False,
        final: bool = False,
    ) -> Outcome:
        """Runs until every node has ended, those included that are added meanwhile.

        Args:
            plan: lines as a model writes them (`agentserve.graphs.plan`); each starts as soon as its inputs are there.
            replan: asked when everything has ended, at most `rounds` times: another plan, edits, or None to stop.
                The lines of round n have ids with the prefix `rn_`, from r2_ on.
            rounds: see `replan`.
            dry: tools that are irreversible only say what they would do (`dry_run`).
            final: no call of the program comes after the graph: its last one says so, if the plan is complete by then.

        Raises:
            PlanError: a line of the plan cannot be understood. What had started is cancelled.
            PlanRejectedError: the plan was verified, and may not begin.
            GraphError: it runs already.
        """
        if self._runner is not None:
            raise GraphError("the graph runs already")
        self._runner = Runner(self.machine, self._perform)
        self._performer.dry = dry
        try:
            await self._round(plan, "", final=final and replan is None)
            for number in range(2, rounds + 2) if replan is not None else ():
                more = await replan(self._outcome()) if replan is not None else None
                if not more:
                    break
                await self._round(more, f"r{number}_", final=False)
        finally:
            runner, self._runner = self._runner, None
            await runner.close()
            self._performer.close()
            self._started += runner.started
        return self._outcome()

    async def _round(self, plan: Plan | Sequence[Edit] | None, prefix: str, *, final: bool) -> None:
        """Follows one plan to the end of all nodes."""
        if plan is not None and not isinstance(plan, str | AsyncIterable):
            self.machine.edit(plan)
            plan = None
        assert self._runner is not None  # noqa: S101
        runner = self._runner
        planner = None if plan is None else asyncio.create_task(self._read(plan, prefix))
        if planner is not None:
            planner.add_done_callback(lambda _: runner.woken.set())
        self._final = False
        try:
            while True:
                runner.pump()
                if planner is None or planner.done():
                    if planner is not None:
                        planner.result()
                    self._final = final
                    if nodes := self.machine.unapproved:
                        await self._review(nodes)
                        continue
                    if self.machine.finished:
                        return
                runner.woken.clear()
                await runner.woken.wait()
        finally:
            if planner is not None:
                planner.cancel()
                await asyncio.wait([planner])

    async def _review(self, nodes: Sequence[Node]) -> None:
        """Verifies the plan, and approves it if nobody objects. The nodes are those that need it."""
        edits, problems = self.machine.edits, verify(self.machine, self._tools)
        if not problems and self._approve is not None:
            answer = self._approve(nodes)
            if not (await answer if inspect.isawaitable(answer) else answer):
                problems = [Problem(node.id, "was not approved") for node in nodes]
        if problems:
            raise PlanRejectedError(problems)
        if self.machine.edits == edits:  # otherwise it is another plan by now
            self.machine.approve()

    async def _perform(self, call: Call) -> object:
        value = await self._performer.perform(call)
        if self._guess is not None and call.work.kind is Kind.TOOL:
            for guess in self._guess(call.work.name, value):
                tool = self._tools[guess.tool]
                work = Work(Kind.TOOL, tool.name, tool.effect)
                self.machine.speculate(work, (guess.args, dict(guess.kwargs)), guess.likely)
        return value

    def _is_last(self) -> bool:
        return self._final and self.machine.running == 1 and not self.machine.pending

    def _outcome(self) -> Outcome:
        running = 0 if self._runner is None else self._runner.started
        return Outcome(self.machine, self._performer.answers, self._started + running)

    def _pump(self) -> None:
        if self._runner is not None:
            self._runner.pump()

    # --- plans --------------------------------------------------------------------------------------------------------

    async def _read(self, plan: Plan, prefix: str) -> None:
        """Adds each line of a plan as soon as it is there."""
        reader = PlanReader(lambda name: name in self.machine.slots, prefix)
        if isinstance(plan, str):
            self._follow(reader.feed(plan), reader)
        else:
            async for piece in plan:
                self._follow(reader.feed(piece), reader)
        self._follow(reader.end(), reader)

    def _follow(self, steps: Iterable[Step], reader: PlanReader) -> None:
        for step in steps:
            try:
                self.machine.edit([Add(self._planned(step, reader))])
            except EditError as error:
                raise PlanError(f"{error}, in the line {step.line!r}") from None
            self._pump()

    def _planned(self, step: Step, reader: PlanReader) -> Node:
        at = At(step.id)
        prompt = self._prompts.get(step.name)
        if prompt is None:
            if step.name not in self._tools:
                names = ", ".join(sorted([*self._tools, *self._prompts])) or "none"
                raise EditError(f"there is no tool or prompt {step.name!r}; there are {names}")
            tool = self._tools[step.name]
            return self._node(Work(Kind.TOOL, tool.name, tool.effect), Template.parse((step.args, step.kwargs)), at)
        if not prompt.join:
            return self._llm(Kind.PROMPT, step.name, Template.parse((step.args, step.kwargs)), at)
        earlier = {each.id: f"${{{each.id}}}" for each in reader.steps if each is not step}
        return self._llm(Kind.PROMPT, step.name, Template.parse(((earlier,), {})), At(step.id, join=Join.ANY))

    # --- nodes --------------------------------------------------------------------------------------------------------

    def _llm(self, kind: Kind, stage: str, template: Template, at: At) -> Node:
        if self._program is None:
            raise EditError("LLM nodes need a program: Graph(program, ...)")
        return self._node(Work(kind, stage, Effect.IDEMPOTENT), template, at)

    def _node(self, work: Work, template: Template, at: At) -> Node:
        when = {bare(name): condition for name, condition in at.when.items()}
        after = tuple(bare(name) for name in at.after)
        return Node(at.id or self._free(), work, template, after, when, at.join, at.policy, at.likely)

    def _free(self) -> str:
        self._count += 1
        while str(self._count) in self.machine.slots:
            self._count += 1
        return str(self._count)

    def _added(self, node: Node) -> str:
        self.edit([Add(node)])
        return f"${{{node.id}}}"
