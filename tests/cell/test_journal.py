"""The brain that a store gives again."""

from __future__ import annotations

from dataclasses import replace

from agentserve.cell.journal import revive
from agentserve.state.base import Saved
from scheduler.policy import PRESETS
from tests.cell.world import cell
from tests.gateway.world import eventually


async def test_a_brain_of_other_code_keeps_what_was_learned_of_tools_workflows_engines_and_takeovers() -> None:
    async with cell(2) as world:
        leader = await world.settle()
        for part in world.parts:
            await part.ask("p")
        log = world.store._log
        await eventually(lambda: b"".join(log).count(b"CallFinished") == 2, "the end of both calls in the log")
        learned, before = leader.driver.brain.learned.to_json(), world.store._snapshot
        leader.cable.cut = True
        await world.settle(*world.others(leader))
        await eventually(lambda: world.store._snapshot is not before, "the next term's snapshot")
        saved = await world.store.restore()
        assert saved is not None
        other = Saved(replace(saved.snapshot, code="of another release", brain=b"not to be read"), ())
        brain = revive(other, PRESETS["agentserve"], 900.0)
        assert brain.learned.to_json() == learned
        assert learned["workflows"]
        assert {"gaps", "workflows", "stages", "prefill_rates", "paces", "calibration"} <= learned.keys()
        assert not brain.programs, "programs in gaps are met again as new ones"
