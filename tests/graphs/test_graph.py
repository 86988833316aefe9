"""Graphs that run: tools, time, errors, edits and plans, without a gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from agentserve import tool
from agentserve.graphs import (
    Add,
    At,
    Budget,
    Edit,
    EditError,
    Graph,
    GraphError,
    Guess,
    Hold,
    Node,
    NodeError,
    OnError,
    Outcome,
    PlanError,
    PlanRejectedError,
    Policy,
    Replace,
    State,
)
from agentserve.graphs.integrity import check_integrity
from tests.gateway.world import within


class Bench:
    """Tools that keep what was asked of them."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.forever = asyncio.Event()
        self.looked = asyncio.Event()
        self.waits = asyncio.Event()
        """`hang` was called."""

        @tool(effect="pure")
        async def look(what: str) -> str:
            self.log.append(f"look {what}")
            self.looked.set()
            return f"[{what}]"

        @tool(effect="pure")
        def add(left: int, right: int) -> int:
            self.log.append(f"add {left} {right}")
            return left + right

        @tool(effect="idempotent")
        async def hang() -> str:
            self.waits.set()
            await self.forever.wait()
            return "at last"

        @tool(effect="idempotent")
        async def fail(times: int) -> str:
            self.log.append("fail")
            if self.log.count("fail") <= times:
                raise OSError("no route to host")
            return "fine"

        def would_delete(path: str) -> str:
            if path == "/":
                raise PermissionError("not the root")
            return f"would delete {path}"

        @tool(effect="irreversible", dry_run=would_delete)
        async def delete(path: str) -> str:
            self.log.append(f"delete {path}")
            return f"deleted {path}"

        self.look, self.add, self.hang, self.fail, self.delete = look, add, hang, fail, delete
        self.tools = (look, add, hang, fail, delete)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def never(value: object) -> bool:
    return False


async def test_values_flow_along_placeholders_through_async_and_blocking_tools(bench: Bench) -> None:
    graph = Graph()
    three = graph.tool(bench.add, 1, right=2)
    seven = graph.tool(bench.add, three, 4)
    text = graph.tool(bench.look, f"sum {seven}")
    outcome = await graph.run()
    assert (outcome[seven], outcome[text], outcome["1"]) == (7, "[sum 7]", 3)
    assert outcome.check().counts.calls == 3
    check_integrity(graph.machine)


async def test_independent_nodes_run_at_the_same_time(bench: Bench) -> None:
    everybody = asyncio.Barrier(3)

    @tool(effect="idempotent")
    async def meet() -> None:
        await everybody.wait()

    graph = Graph()
    for _ in range(3):
        graph.tool(meet)
    async with asyncio.timeout(5):
        assert len((await graph.run()).values) == 3


async def test_a_timeout_fails_the_node_and_never_hangs_the_graph(bench: Bench) -> None:
    graph = Graph()
    slow = graph.tool(bench.hang, at=At(policy=Policy(timeout=0.01)))
    behind = graph.tool(bench.look, slow)
    outcome = await graph.run()
    with pytest.raises(NodeError, match=r"node 1 failed: hang took longer than 0\.01 s"):
        outcome[slow]
    with pytest.raises(NodeError, match="node 2 skipped"):
        outcome[behind]
    with pytest.raises(NodeError, match="hang took longer"):
        outcome.check()


async def test_a_tool_that_fails_is_tried_again(bench: Bench) -> None:
    graph = Graph()
    node = graph.tool(bench.fail, 2, at=At(policy=Policy(retries=2)))
    assert (await graph.run())[node] == "fine"


async def test_a_failure_may_end_everything_that_runs(bench: Bench) -> None:
    graph = Graph()
    graph.tool(bench.hang)
    graph.tool(bench.fail, 9, at=At(policy=Policy(on_error=OnError.CANCEL)))
    outcome = await graph.run()
    assert list(outcome.states.values()) == [State.CANCELLED, State.FAILED]
    assert isinstance(outcome.errors["2"], OSError)


async def test_cancelling_one_node_lets_the_others_go_on(bench: Bench) -> None:
    graph = Graph()
    slow = graph.tool(bench.hang)
    graph.tool(bench.look, "x")
    running = asyncio.create_task(graph.run())
    await within(bench.waits)
    with pytest.raises(GraphError, match="runs already"):
        await graph.run()
    graph.cancel(slow)
    outcome = await running
    assert outcome.states == {"1": State.CANCELLED, "2": State.DONE}


async def test_cancelling_the_run_leaves_nothing_behind(bench: Bench) -> None:
    graph = Graph()
    graph.tool(bench.hang)
    running = asyncio.create_task(graph.run())
    await within(bench.waits)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert len(asyncio.all_tasks()) == 1
    assert graph.machine.finished


async def test_a_tool_may_change_what_has_not_started(bench: Bench) -> None:
    graph = Graph(tools=bench.tools)

    @tool(effect="idempotent")
    async def rethink() -> str:
        graph.edit([Replace(graph.tool_node("look", "b", at=At("2", after=["1"])))])
        with pytest.raises(EditError, match="node 1 is running"):
            graph.edit([Replace(graph.tool_node("look", "c", at=At("1")))])
        return "done"

    graph.tool(rethink)
    second = graph.tool(bench.look, "a", at=At(after=["1"]))
    assert (await graph.run())[second] == "[b]"
    assert bench.log == ["look b"]


async def test_what_cannot_be_taken_back_runs_only_after_its_dry_run(bench: Bench) -> None:
    graph = Graph()
    graph.tool(bench.delete, "/tmp/x")
    graph.tool(bench.delete, "/")
    with pytest.raises(PlanRejectedError, match="2: delete: not the root"):
        await graph.run()
    assert bench.log == []


async def test_arguments_that_are_known_late_meet_the_dry_run_late(bench: Bench) -> None:
    @tool(effect="pure")
    async def root() -> str:
        return "/"

    graph = Graph()
    graph.tool(bench.delete, graph.tool(root))
    outcome = await graph.run()
    assert isinstance(outcome.errors["2"], PermissionError)
    assert bench.log == []


async def test_a_plan_can_be_verified_before_anything_is_run(bench: Bench) -> None:
    graph = Graph(tools=bench.tools, hold=Hold.EVERYTHING)
    with pytest.raises(PlanRejectedError, match=r"2: look: look\(.*unexpected keyword argument 'where'"):
        await graph.run('1. look("a")\n2. look($1, where="b")\n')
    assert bench.log == []


async def test_somebody_may_be_asked(bench: Bench) -> None:
    asked: list[Sequence[Node]] = []

    async def approve(nodes: Sequence[Node]) -> bool:
        asked.append(nodes)
        return False

    graph = Graph(approve=approve)
    graph.tool(bench.delete, "x")
    with pytest.raises(PlanRejectedError, match="1: was not approved"):
        await graph.run()
    assert [node.id for node in asked[0]] == ["1"]


async def test_a_dry_run_of_a_graph_runs_what_is_harmless(bench: Bench) -> None:
    graph = Graph()
    found = graph.tool(bench.look, "x")
    gone = graph.tool(bench.delete, found)
    assert (await graph.run(dry=True))[gone] == "would delete [x]"
    assert bench.log == ["look x"]


async def test_lines_of_a_plan_run_while_it_is_still_written(bench: Bench) -> None:
    async def planner() -> AsyncIterator[str]:
        yield '1. look("a")\n2. add(1, '
        await bench.looked.wait()
        yield '2)\n3. look("$1 $2")\n4. delete("x")'
        bench.log.append("planned")

    async with asyncio.timeout(5):
        outcome = await Graph(tools=bench.tools).run(planner())
    assert (outcome["3"], outcome["4"]) == ("[[a] 3]", "deleted x")
    assert bench.log.index("look a") < bench.log.index("planned") < bench.log.index("delete x")


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        ("1. find()", r"no tool or prompt 'find'; there are add, delete, fail, hang, look, in the line '1\. find\(\)'"),
        ("1. look(x)", "arguments must be"),
    ],
)
async def test_a_plan_that_cannot_be_followed_ends_the_run(bench: Bench, plan: str, why: str) -> None:
    graph = Graph(tools=bench.tools)
    graph.tool(bench.hang, at=At("h"))
    with pytest.raises(PlanError, match=why):
        await graph.run(plan)
    assert graph.machine.slots["h"].state is State.CANCELLED


async def test_replanning_sees_what_failed_and_goes_on_with_plans_or_edits(bench: Bench) -> None:
    graph = Graph(tools=bench.tools)

    async def replan(outcome: Outcome) -> str | Sequence[Edit] | None:
        if outcome.states["1"] is State.FAILED and "r2_1" not in outcome.states:
            return '1. look("b")\n2. look($1)'
        if "extra" not in outcome.states:
            return [Add(graph.tool_node("look", "$r2_2", at=At("extra")))]
        return None

    outcome = await graph.run("1. fail(9)", replan=replan)
    assert outcome["extra"] == "[[[b]]]"


async def test_a_run_can_be_followed_by_another(bench: Bench) -> None:
    graph = Graph()
    first = graph.tool(bench.look, "a")
    await graph.run()
    second = graph.tool(bench.look, first)
    outcome = await graph.run()
    assert (outcome[second], outcome.counts.calls) == ("[[a]]", 2)


async def test_guesses_run_early_and_are_taken_up(bench: Bench) -> None:
    def guess(name: str, value: object) -> list[Guess]:
        return [Guess("look", ("b",))] if value == "[a]" else []

    graph = Graph(tools=bench.tools, budget=Budget(running=2), guess=guess)
    graph.tool(bench.look, "a")
    graph.tool(bench.look, "b", at=At(after=["1"]))
    outcome = await graph.run()
    assert (outcome["2"], bench.log) == ("[b]", ["look a", "look b"])
    assert (outcome.counts.begun_early, outcome.counts.taken_up) == (1, 1)


async def test_an_early_call_that_nobody_needs_is_stopped_at_the_end(bench: Bench) -> None:
    @tool(effect="pure")
    async def wait() -> None:
        await bench.forever.wait()

    graph = Graph(budget=Budget(running=1))
    graph.tool(bench.look, "a")
    graph.tool(wait, at=At(when={"1": never}))
    assert (await graph.run()).states["2"] is State.SKIPPED
    assert len(asyncio.all_tasks()) == 1


def test_nodes_that_make_no_sense_are_refused(bench: Bench) -> None:
    @tool(effect="pure", name="look")
    def other() -> None: ...

    graph = Graph(tools=bench.tools)
    with pytest.raises(EditError, match="no tool 'find'; there are add, delete"):
        graph.tool("find")
    with pytest.raises(EditError, match="another tool 'look'"):
        graph.tool(other)
    with pytest.raises(EditError, match="LLM nodes need a program"):
        graph.llm("hello")
    with pytest.raises(ValueError, match="letters, digits and underscores only, not 'a b'"):
        graph.tool(bench.look, "x", at=At("a b"))
    with pytest.raises(ValueError, match="timeout must be above 0"):
        Policy(timeout=0)
