"""Generated Text-to-SQL queries against the statistics that they are made from."""

from __future__ import annotations

from collections import Counter
from statistics import fmean

import pytest

from tests.workloads.traces.corpora import corpus
from workloads.generate import generate
from workloads.program import Edge, Program, WorkloadError
from workloads.staged import TEXT2SQL_NATURAL, TEXT2SQL_UNIFORM, Workflow
from workloads.traces import load

BOTH = pytest.mark.parametrize("mix", [TEXT2SQL_NATURAL, TEXT2SQL_UNIFORM], ids=lambda mix: mix.name)


def revisions(programs: list[Program]) -> list[int]:
    return [sum(call.stage == "revise" for call in program.calls) for program in programs]


def prompts(programs: list[Program]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for program in programs:
        lengths = program.prompt_tokens()
        for call in program.calls:
            found.setdefault(call.stage, []).append(lengths[call.id])
    return found


def test_the_natural_mix_needs_as_few_revisions_as_published() -> None:
    counts = revisions(generate(TEXT2SQL_NATURAL, 3000, seed=1))

    assert 0.62 < counts.count(0) / len(counts) < 0.73
    assert counts.count(1) > counts.count(2) > counts.count(3), "most of those that revise do it once"
    assert max(counts) == 10


def test_in_the_uniform_mix_every_number_of_revisions_is_as_likely() -> None:
    counts = Counter(revisions(generate(TEXT2SQL_UNIFORM, 5000, seed=1)))

    assert set(counts) == set(range(10))
    assert all(count == pytest.approx(500, rel=0.2) for count in counts.values())


@BOTH
def test_a_query_makes_ten_to_twenty_eight_calls(mix: Workflow) -> None:
    lengths = [len(program.calls) for program in generate(mix, 1000, seed=2)]
    assert min(lengths) >= 9, "eight calls that every query makes, and a keyword call or unit tests more"
    assert max(lengths) <= 29


@BOTH
def test_candidates_and_evaluations_run_side_by_side_and_the_rest_in_turn(mix: Workflow) -> None:
    for program in generate(mix, 100, seed=3):
        waits = {call.id: call.after for call in program.calls}
        first, second = (call for call in program.calls if call.stage.startswith("generate_candidate"))
        assert waits[first.id] == waits[second.id] != ()
        after = program.calls[int(second.id) + 1]
        assert after.after == (Edge(first.id), Edge(second.id)), "what follows waits for both candidates"
        evaluations = {waits[call.id] for call in program.calls if call.stage == "evaluate"}
        assert len(evaluations) <= 1
        assert len(program.calls[-1].after) == max(1, sum(call.stage == "evaluate" for call in program.calls))


@BOTH
def test_queries_without_unit_tests_evaluate_nothing(mix: Workflow) -> None:
    stages = [{call.stage for call in program.calls} for program in generate(mix, 500, seed=4)]
    tested = ["generate_unit_test" in found for found in stages]
    assert tested == ["evaluate" in found for found in stages]
    assert sum(tested) / len(tested) == pytest.approx(0.94, abs=0.03)


@BOTH
@pytest.mark.parametrize("share", [0.25, 0.5])
def test_templates_are_that_share_of_the_prompts_and_leave_their_lengths_alone(mix: Workflow, share: float) -> None:
    plain = generate(mix, 300, seed=5)
    shared = generate(mix.with_templates(share), 300, seed=5)

    assert prompts(shared) == prompts(plain)
    templates = {text for program in shared for call in program.calls for text in call.prefix}
    assert len(templates) == len({text.id for text in templates}) == len(prompts(plain)), "one length a stage"
    tokens = sum(text.tokens for program in shared for call in program.calls for text in call.prefix)
    assert tokens / sum(map(sum, prompts(plain).values())) == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_template_is_no_more_than_the_whole_prompt(share: float) -> None:
    with pytest.raises(WorkloadError, match="share of a prompt is from 0 to 1"):
        TEXT2SQL_NATURAL.with_templates(share)


def test_stages_are_as_long_as_in_the_public_traces() -> None:
    recorded, made = list(load(corpus("text2sql"))), generate(TEXT2SQL_UNIFORM, 2000, seed=6)

    assert prompts(made).keys() == prompts(recorded).keys()
    for stage, lengths in prompts(recorded).items():
        assert fmean(prompts(made)[stage]) == pytest.approx(fmean(lengths), rel=0.02), stage
        answers = [[c.output_tokens for p in found for c in p.calls if c.stage == stage] for found in (made, recorded)]
        assert fmean(answers[0]) == pytest.approx(fmean(answers[1]), rel=0.12), stage


@pytest.mark.parametrize(("mix", "name"), [(TEXT2SQL_NATURAL, "financial"), (TEXT2SQL_UNIFORM, "trace1")])
def test_each_mix_makes_about_as_many_calls_as_its_trace(mix: Workflow, name: str) -> None:
    recorded = list(load(corpus("text2sql") / f"input_file_{name}.json"))
    made = generate(mix, 2000, seed=7)
    assert fmean(len(p.calls) for p in made) == pytest.approx(fmean(len(p.calls) for p in recorded), rel=0.05)
