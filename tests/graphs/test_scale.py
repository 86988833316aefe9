"""Ten thousand nodes with failures, edits and cancellations."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from agentserve.graphs import At, Graph, Hold, State
from agentserve.graphs.integrity import check_integrity
from tests.graphs.random_dag import Saboteur, random_graph, work

COUNT = 10_000


@given(st.integers(0, 2**32))
@settings(max_examples=3)
def test_the_books_of_ten_thousand_nodes_agree_after_failures_edits_and_cancellations(seed: int) -> None:
    async def play() -> None:
        graph = random_graph(COUNT, seed, failing=0.05)
        saboteur = Saboteur(graph, COUNT, seed)
        _, outcome = await asyncio.gather(saboteur.run(), graph.run())
        check_integrity(graph.machine)
        assert graph.machine.finished
        assert all(state.ended for state in outcome.states.values())
        assert saboteur.applied, "edits found nodes that had not started"
        for name, value in outcome.values.items():
            slot = graph.machine.slots[name]
            made_good = name in outcome.errors
            assert value == (None if made_good else slot.node.args.value[0][0]), name  # type: ignore[index]
        assert State.CANCELLED in outcome.states.values()
        assert State.FAILED in outcome.states.values()

    asyncio.run(play())


async def test_a_chain_of_ten_thousand_nodes_that_is_skipped_needs_no_deep_stack() -> None:
    graph = Graph(hold=Hold.NOTHING)
    last = graph.tool(work, 0, [], True)
    for number in range(1, COUNT):
        last = graph.tool(work, number, [last], False)
    assert graph.machine.chain("1") == 0
    outcome = await graph.run()
    assert list(outcome.states.values()).count(State.SKIPPED) == COUNT - 1


async def test_a_chain_may_grow_at_its_end_while_it_runs() -> None:
    graph = Graph(hold=Hold.NOTHING)
    graph.tool(work, 0, [], False, at=At("n0"))
    running = asyncio.create_task(graph.run())
    for number in range(1, COUNT):
        graph.tool(work, number, [f"$n{number - 1}"], False, at=At(f"n{number}"))
        if number % 100 == 0:
            await asyncio.sleep(0)
    assert (await running)[f"n{COUNT - 1}"] == COUNT - 1
