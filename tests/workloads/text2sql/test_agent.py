"""The agent with a model that says what a test wants: which stages it goes through, and what it makes of the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from agentserve.client import AgentserveError
from tests.workloads.text2sql.models import ENGINE, Model
from workloads.text2sql.agent import WORKFLOW, Settings, Solution, Task, solve
from workloads.text2sql.databases import digest, prepare
from workloads.text2sql.domains import SHOP
from workloads.text2sql.prompts import GENERATORS, TEMPLATES, Stage
from workloads.text2sql.sandbox import Sandbox
from workloads.text2sql.schema import Schema

QUESTION = "How many orders from Viena were cancelled?"
RIGHT = (
    "SELECT COUNT(*) FROM orders o JOIN customers c ON o.customer_id = c.id "
    "WHERE c.city = 'Vienna' AND o.status = 'cancelled'"
)
WRONG = "SELECT COUNT(*) FROM orders WHERE status = 'cancelled'"
PLAIN = {
    Stage.SCHEMA: ["orders, customers"],
    Stage.KEYWORDS: ["Viena, cancelled"],
    Stage.RETRIEVE: ["1", "1"],
    Stage.CANDIDATE: [RIGHT, WRONG],
    Stage.UNIT_TESTS: ["- The query joins customers.\n- The result is one number."],
    Stage.EVALUATE: ["1", "1, 2"],
    Stage.SELECT: ["1"],
}
BEGINNING = ["retrieve_schema", "extract_keywords", "retrieve", "retrieve", "generate_candidate", "generate_candidate"]
ENDING = ["generate_unit_tests", "evaluate", "evaluate", "select"]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(SHOP, tmp_path_factory.mktemp("databases"))


async def answer(database: Path, model: Model, text: str = QUESTION, settings: Settings | None = None) -> Solution:
    task = Task(text, Schema.read(database), Sandbox(database, seconds=0.5), SHOP.examples)
    async with model.client() as client, client.program(workflow=WORKFLOW, deadline=60) as program:
        return await solve(task, program, settings or Settings("m", max_revise=3))


def saying(**changes: Sequence[str]) -> Model:
    answers: Mapping[str, Sequence[str]] = {str(stage): said for stage, said in PLAIN.items()}
    return Model({**answers, **changes})


async def test_a_question_that_needs_no_revision_goes_through_all_other_stages_once(database: Path) -> None:
    model = saying()
    solution = await answer(database, model)
    assert model.stages == BEGINNING + ENDING
    assert (solution.chosen.sql, solution.revisions) == (RIGHT, 0)
    assert list(solution.chosen.rows) == Sandbox(database).run(RIGHT)
    assert solution.sql_seconds > 0


async def test_calls_carry_stage_workflow_and_deadline_and_the_last_one_is_marked(database: Path) -> None:
    model = saying()
    await answer(database, model)
    assert {asked.headers["x-agentserve-workflow"] for asked in model.asked} == {"text2sql"}
    assert len({asked.headers["x-agentserve-program"] for asked in model.asked}) == 1
    assert all(0 < int(asked.headers["x-agentserve-deadline-ms"]) <= 60_000 for asked in model.asked)
    assert [asked.headers.get("x-agentserve-final") for asked in model.asked] == [None] * 9 + ["true"]
    assert model.ended == 1


async def test_what_a_call_took_is_kept(database: Path) -> None:
    solution = await answer(database, saying())
    for call in solution.calls:
        assert (call.prompt, call.cached, call.output, call.engine) == (100, 60, 7, ENGINE)
        assert call.ended >= call.began
        assert 0 < call.template_share < 1


async def test_templates_are_common_to_all_questions_and_about_half_of_what_is_asked(database: Path) -> None:
    models = [saying(**{Stage.CANDIDATE: ["nothing", "never"], Stage.REVISE: [RIGHT]}) for _ in range(2)]
    texts = (QUESTION, "Which products from Vienna were returned?")
    solutions = [await answer(database, model, text) for model, text in zip(models, texts, strict=True)]
    templates = [{(asked.stage, asked.template) for asked in model.asked} for model in models]
    assert templates[0] == templates[1]
    assert len(templates[0]) == len(TEMPLATES) + len(GENERATORS) - 1
    asked, calls = models[0].asked, solutions[0].calls
    sizes = [len(each.prompt) for each in asked]
    share = sum(call.template_share * size for call, size in zip(calls, sizes, strict=True)) / sum(sizes)
    assert 0.46 < share < 0.64
    assert max(sizes) < 5_000, "no prompt has more than about 1,500 tokens"


async def test_a_failure_is_revised_with_what_the_database_said_until_one_runs(database: Path) -> None:
    model = saying(
        **{
            Stage.CANDIDATE: ["SELECT nope FROM orders", "DELETE FROM orders"],
            Stage.REVISE: ["SELECT city FROM customers WHERE city = 'Atlantis'", RIGHT],
        }
    )
    before = digest(database)
    solution = await answer(database, model)
    assert model.stages.count("revise") == solution.revisions == 2
    first, second = (asked.prompt for asked in model.of("revise"))
    assert "DELETE FROM orders -> failed: only reading is allowed, not DELETE orders" in first
    assert "SELECT city FROM customers WHERE city = 'Atlantis' -> no rows" in second
    assert solution.chosen.sql == RIGHT
    assert digest(database) == before


@pytest.mark.parametrize("most", [0, 1, 10])
async def test_there_are_no_more_revisions_than_allowed(database: Path, most: int) -> None:
    model = saying(**{Stage.CANDIDATE: ["no", "never"], Stage.REVISE: [f"wrong {turn}" for turn in range(20)]})
    solution = await answer(database, model, settings=Settings("m", max_revise=most))
    assert model.stages.count("revise") == solution.revisions == most
    assert solution.chosen.error


async def test_candidates_that_are_the_same_need_no_tests(database: Path) -> None:
    model = saying(**{Stage.CANDIDATE: [RIGHT, RIGHT]})
    assert (await answer(database, model)).chosen.sql == RIGHT
    assert model.stages == [*BEGINNING, "select"]


async def test_tests_passed_count_more_than_what_the_model_would_choose(database: Path) -> None:
    model = saying(**{Stage.EVALUATE: ["2"], Stage.SELECT: ["1"]})
    assert (await answer(database, model)).chosen.sql == WRONG


async def test_among_equals_the_model_chooses_but_nothing_that_did_not_run(database: Path) -> None:
    equal = saying(**{Stage.EVALUATE: ["1, 2"], Stage.SELECT: ["2"]})
    assert (await answer(database, equal)).chosen.sql == WRONG
    broken = saying(**{Stage.CANDIDATE: ["SELECT nope", RIGHT], Stage.EVALUATE: ["1"], Stage.SELECT: ["1"]})
    assert (await answer(database, broken)).chosen.sql == RIGHT


async def test_stored_values_that_words_mean_go_into_the_prompt(database: Path) -> None:
    model = saying()
    await answer(database, model)
    assert [asked.prompt.splitlines()[-1] for asked in model.of("retrieve")] == [
        "Word: Viena. Column: customers.city. 1: Vienna",
        "Word: cancelled. Column: orders.status. 1: cancelled",
    ]
    prompt = model.of("generate_candidate")[0].prompt
    assert "Stored values: customers.city = 'Vienna', orders.status = 'cancelled'" in prompt
    assert "reviews(" not in prompt, "tables that were not chosen are left out"
    assert prompt.endswith(f"Question: {QUESTION}")


async def test_nonsense_for_answers_is_no_error(database: Path) -> None:
    model = Model({str(stage): ["the dog and the cat\nare 999 out; see?"] for stage in Stage})
    solution = await answer(database, model, settings=Settings("m", max_revise=1))
    assert solution.chosen.error
    assert model.stages[-1] == "select"


async def test_sampling_is_the_same_again_and_differs_from_step_to_step(database: Path) -> None:
    models = [saying(**{Stage.CANDIDATE: ["no", "never"], Stage.REVISE: ["a", "b", "c"]}) for _ in range(3)]
    for seed, model in zip((1, 1, 2), models, strict=True):
        await answer(database, model, settings=Settings("m", max_revise=3, seed=seed))
    seeds = [[asked.body["seed"] for asked in model.of("revise")] for model in models]
    assert seeds[0] == seeds[1] != seeds[2]
    assert len(set(seeds[0])) == 3


async def test_a_call_that_fails_ends_the_question_and_its_program(database: Path) -> None:
    model = saying(**{Stage.CANDIDATE: ["FAIL"]})
    with pytest.raises(AgentserveError, match="no engine is left"):
        await answer(database, model)
    assert model.ended == 1
