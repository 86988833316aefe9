from __future__ import annotations

from pathlib import Path

import pytest

from tests.workloads.traces.corpora import corpus
from tests.workloads.traces.files import document
from workloads.program import Edge, WorkloadError
from workloads.traces import load

STEPS = ("find", "generate_candidate_x", "generate_candidate_x", "revise", "revise", "evaluate", "evaluate", "select")


def query(*steps: str) -> dict[str, object]:
    return {"Text2SQLRequest": [{"step": step, "input_length": 100, "output_length": 5} for step in steps]}


def test_candidates_and_evaluations_run_in_parallel_and_the_rest_in_turn(tmp_path: Path) -> None:
    (program,) = load(document(tmp_path / "q.json", [query(*STEPS)]))

    assert [call.stage for call in program.calls] == list(STEPS)
    assert program.turns() == {"0": 0, "1": 1, "2": 1, "3": 2, "4": 3, "5": 4, "6": 4, "7": 5}
    assert program.calls[3].after == (Edge("1"), Edge("2"))
    assert (program.id, program.workflow) == ("q-0", "text2sql")


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        ({"Text2SQLRequest": []}, "Text2SQLRequest: "),
        ({"Text2SQLRequest": [{"step": "x", "input_length": 0, "output_length": 1}]}, "Text2SQLRequest.0.input_length"),
        ({"Text2SQLRequest": [{"input_length": 1, "output_length": 1}]}, "Text2SQLRequest.0.step: Field required"),
        (3, "line: "),
    ],
)
def test_a_damaged_query_is_named_by_its_place_and_field(damaged: object, message: str, tmp_path: Path) -> None:
    path = document(tmp_path / "q.json", [query("find"), damaged, query("find")])

    with pytest.raises(WorkloadError) as caught:
        list(load(path))
    assert str(caught.value).startswith(f"{path}: [1]: {message}")
    assert [program.id for program in load(path, skip_damaged=True)] == ["q-0", "q-2"]


def test_a_file_that_breaks_off_is_an_error(tmp_path: Path) -> None:
    path = document(tmp_path / "q.json", [query("find"), query("find")])
    path.write_text(path.read_text()[:-20])

    with pytest.raises(WorkloadError, match=r"q\.json: invalid JSON: .* line "):
        list(load(path))


def test_the_public_workflows_are_read_whole() -> None:
    programs = list(load(corpus("text2sql")))

    assert len(programs) == 94 + 90
    assert max(len(program.calls) for program in programs) > 20
