"""What ends a sample or a whole virtual call before its time: answers, doubts, failures and clocks."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from scheduler.procedures.conformal import Calibration
from tests.gateway.virtual import ANSWERED, Said, Writer, virtual
from tests.gateway.world import eventually, within

GOING_ON = "length"


def calibration(scores: Calibration) -> list[object]:
    shelves = scores.to_json()["shelves"]
    assert isinstance(shelves, list)
    return shelves


# --- early stopping ---------------------------------------------------------------------------------------------------


async def test_a_decided_vote_aborts_the_other_samples_frees_their_kv_and_counts_what_they_would_have_written() -> None:
    draft, now, never = Writer("small"), asyncio.Event(), asyncio.Event()
    draft.first.extend(Said(ANSWERED, after=after) for after in (now, now, never))
    async with virtual(draft, takeover=0.0) as w:
        asking = asyncio.create_task(w.ask())
        await eventually(lambda: len(draft.sent) == 3, "the dispatch of all samples")
        now.set()
        answer = (await asking).json()
        await within(draft.left)
        await w.until_clean()
        assert not w.brain.programs
        assert all(engine.account.occupied == 0 for engine in w.brain.engines.values())
        metrics = (await w.client.get("/metrics")).text
    assert answer["agentserve"] == {
        "answer": "42", "verdict": "decided", "votes": 2, "voters": 2, "degraded": False, "saved_tokens": 5,
    }  # fmt: skip
    assert 'agentserve_virtual_saved_tokens_total{model="reasoner"} 5.0' in metrics


async def test_a_sample_that_shows_one_answer_again_and_again_is_certain() -> None:
    draft = Writer("small", r"\boxed{42} but wait, ", finish=GOING_ON)
    async with virtual(draft, takeover=0.0, turns=9, samples=2, certain=2, decided=None) as w:
        answer = (await w.ask()).json()
        await w.until_clean()
    assert len(draft.sent) == 2 * 2
    assert answer["agentserve"]["voters"] == 2


@pytest.mark.parametrize(("warm_up", "steps", "voters"), [(2, 3, 2), (None, 4, 3)])
async def test_a_sample_less_confident_than_those_of_the_warm_up_is_dropped(
    warm_up: int | None, steps: int, voters: int
) -> None:
    draft, warm = Writer("small"), asyncio.Event()
    unsure = Said(r"\boxed{7} or ", GOING_ON, sure=-3.0, after=warm)
    draft.first.extend([Said(ANSWERED, sure=-1.0), Said(ANSWERED, sure=-2.0), unsure])
    async with virtual(draft, kind="self_consistency", warm_up=warm_up, discard=0.0, decided=None) as w:
        asking = asyncio.create_task(w.ask())
        await eventually(lambda: len(w.brain.calls) == 1, "the end of the warm-up")
        warm.set()
        answer = (await asking).json()
        await w.until_clean()
    assert (len(draft.sent), answer["agentserve"]["voters"]) == (steps, voters)


# --- failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (Writer("large", word=None), "reports no log-probabilities"),
        (Writer("large", tail=[]), "reports no log-probabilities"),
    ],
)
async def test_a_target_that_cannot_score_is_an_error_that_says_so_where_the_client_is_strict(
    target: Writer, why: str
) -> None:
    async with virtual(target=target, strict=True) as w:
        response = await w.ask()
        lenient = await w.ask(agentserve={"strict": False})
        await w.until_clean()
    assert response.status_code == 503
    assert why in response.json()["error"]["message"]
    assert lenient.json()["agentserve"]["degraded"]


async def test_a_target_that_scores_and_cannot_write_is_an_error_where_the_client_is_strict() -> None:
    target = Writer("large")
    target.writes = False
    async with virtual(target=target, strict=True, takeover=1.0) as w:
        response = await w.ask()
        await w.until_clean()
    assert response.status_code == 503
    assert "connection refused" in response.json()["error"]["message"]


async def test_a_target_that_does_all_it_should_is_no_matter_of_strictness() -> None:
    async with virtual(strict=True, takeover=1.0) as w:
        response = await w.ask()
        await w.until_clean()
    assert response.status_code == 200
    assert "x-agentserve-warning" not in response.headers


async def test_a_draft_that_goes_down_midway_is_an_error_and_no_half_answer() -> None:
    draft = Writer("small", "Well, ", finish=GOING_ON)
    go_on = asyncio.Event()
    draft.first.extend([Said("Well, ", GOING_ON), Said("Well, ", GOING_ON, after=go_on)])
    async with virtual(draft, samples=1, takeover=0.0) as w:
        asking = asyncio.create_task(w.ask())
        await eventually(lambda: len(draft.sent) == 2, "the second draft")
        draft.down = True
        go_on.set()
        response = await asking
        await w.until_clean()
    assert response.status_code == 503
    assert "connection refused" in response.json()["error"]["message"]


async def test_what_the_engines_refuse_is_the_clients_mistake_and_not_a_failure_to_try_again() -> None:
    draft = Writer("small")
    draft.refuses = True
    async with virtual(draft) as w:
        response = await w.ask()
        await w.until_clean()
    assert response.status_code == 400
    assert "too long" in response.json()["error"]["message"]


async def test_a_call_that_takes_too_long_ends_and_its_steps_with_it() -> None:
    draft = Writer("small")
    draft.hold = asyncio.Event()
    async with virtual(draft, limits={"total": 0.3}) as w:
        response = await w.ask()
        await within(draft.left)
        await w.until_clean()
    assert (response.status_code, response.json()["error"]["code"]) == (504, "timeout")


# --- a restart --------------------------------------------------------------------------------------------------------


async def test_the_calibration_outlives_a_restart_of_the_gateway(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    async with virtual(state=state, takeover=0.5) as w:
        await w.ask()
        await w.until_clean()
        before = w.brain.learned.calibration.to_json()
    assert calibration(w.brain.learned.calibration), "scores should have been learned"
    async with virtual(state=state, takeover=0.5) as w:
        assert w.brain.learned.calibration.to_json() == before
        await w.ask()
        await w.until_clean()
        after = w.brain.learned.calibration.to_json()
    assert len(str(after)) > len(str(before)), "it should go on learning where it was"
