from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from workloads.arrivals import poisson
from workloads.generate import SMALL, SWE_AGENT, Profile, generate
from workloads.program import Call, CallRef, Edge, Program, Said, WorkloadError
from workloads.traces import load
from workloads.traces.recording import RECORDING, CallStatus, RecordedCall

BYTES = 4
EPOCH = 1_700_000_000.0


class Player:
    """Plays programs with given durations, and records them as a gateway would."""

    def __init__(self, programs: Sequence[Program], durations: dict[CallRef, float]) -> None:
        self.programs = {program.id: program for program in programs}
        self.durations = durations
        self.times: dict[CallRef, tuple[float, float]] = {}
        for program in programs:
            for call in program.calls:
                self.play(CallRef(program.id, call.id))

    def call(self, ref: CallRef) -> Call:
        return next(call for call in self.programs[ref.program].calls if call.id == ref.call)

    def play(self, ref: CallRef) -> float:
        """When the call ends."""
        if ref not in self.times:
            program, call = self.programs[ref.program], self.call(ref)
            ends = [
                self.play(name) + edge.gap_s for edge, name in zip(call.after, program.dependencies(call), strict=True)
            ]
            begin = max([program.arrival_s, *ends])
            self.times[ref] = begin, begin + self.durations[ref]
        return self.times[ref][1]

    def pieces(self, program: Program, call: Call) -> list[tuple[str, int]]:
        """The prompt's messages: what each holds, and its tokens."""
        own = [(f"{program.id}/{call.id}", call.new_tokens)]
        if call.context is None:
            return [(shared.id, shared.tokens) for shared in call.prefix] + own
        before = self.call(CallRef(program.id, call.context))
        return [*self.pieces(program, before), (f"{program.id}/{before.id}/answer", before.output_tokens), *own]

    def recorded(self, ref: CallRef, tool: str) -> RecordedCall:
        program, call = self.programs[ref.program], self.call(ref)
        begin, end = self.times[ref]
        pieces = self.pieces(program, call)
        marks = tuple(marks_of(pieces))
        return RecordedCall(
            program=program.id,
            arrived_s=EPOCH + begin,
            ended_s=EPOCH + end,
            model="m",
            prompt_bytes=marks[-1][1],
            marks=marks,
            parent=program.parent,
            prompt_tokens=sum(tokens for _, tokens in pieces),
            output_tokens=call.output_tokens,
            tools=(tool,) if tool else (),
        )

    def recording(self) -> list[RecordedCall]:
        """All calls as they ended."""
        tools = {
            name: edge.tool
            for program in self.programs.values()
            for call in program.calls
            for edge, name in zip(call.after, program.dependencies(call), strict=True)
            if name.program == program.id
        }
        return [
            self.recorded(ref, tools.get(ref, "")) for ref in sorted(self.times, key=lambda ref: self.times[ref][1])
        ]


def marks_of(pieces: Iterable[tuple[str, int]]) -> Iterator[tuple[int, int]]:
    chain, size = b"", 0
    for content, tokens in pieces:
        size += BYTES * tokens
        chain = blake2b(chain + f"{content}/{tokens}".encode(), digest_size=8).digest()
        yield int.from_bytes(chain), size


def play(programs: Sequence[Program], seed: int = 0) -> Player:
    rng = Random(seed)
    refs = [CallRef(program.id, call.id) for program in programs for call in program.calls]
    return Player(programs, {ref: rng.uniform(0.1, 5.0) for ref in refs})


def record(path: Path, calls: Iterable[RecordedCall]) -> Path:
    RECORDING.write(path, calls)
    return path


def spans(player: Player) -> dict[str, list[tuple[float, float, int, int]]]:
    """What each program's calls were like, in the order of their beginnings."""
    by_program: dict[str, list[tuple[float, float, int, int]]] = {}
    for ref, (begin, end) in player.times.items():
        prompt = player.programs[ref.program].prompt_tokens()[ref.call]
        row = (begin, end, prompt, player.call(ref).output_tokens)
        by_program.setdefault(ref.program, []).append(row)
    return {name: sorted(rows, key=_by_begin) for name, rows in by_program.items()}


def _by_begin(row: tuple[float, float, int, int]) -> tuple[float, float]:
    """Calls that begin at the same time do so only nearly after a recording; the one that ends first is the first."""
    begin, end, *_ = row
    return round(begin, 3), end


def check_reproduces(player: Player, path: Path) -> list[Program]:
    """Plays the recording's programs with the durations recorded, and compares all times and lengths."""
    programs = list(load(record(path, player.recording())))
    expected = spans(player)
    durations = {
        CallRef(program.id, str(index)): end - begin
        for program in programs
        for index, (begin, end, _, _) in enumerate(expected[program.id])
    }
    start = min(begin for rows in expected.values() for begin, _, _, _ in rows)
    replayed = spans(Player(programs, durations))
    assert replayed.keys() == expected.keys()
    for name, rows in expected.items():
        moved = [(begin - start, end - start, prompt, output) for begin, end, prompt, output in rows]
        assert [value for row in replayed[name] for value in row] == pytest.approx(
            [value for row in moved for value in row], abs=1e-5
        ), f"program {name} went otherwise"
    return programs


@pytest.mark.parametrize("profile", [SMALL, SWE_AGENT], ids=["small", "swe_agent"])
def test_what_was_recorded_goes_the_same_way_again(profile: Profile, tmp_path: Path) -> None:
    programs = poisson(generate(profile, 30, seed=1), 0.5, seed=1)
    loaded = check_reproduces(play(programs), tmp_path / "r.jsonl")

    assert [program.id for program in loaded] == [program.id for program in programs]
    for program, original in zip(loaded, programs, strict=True):
        assert [call.context for call in program.calls] == [call.context for call in original.calls]
        assert [[edge.tool for edge in call.after] for call in program.calls] == [
            [edge.tool for edge in call.after] for call in original.calls
        ]


def test_shared_prefixes_of_generated_programs_are_found_again(tmp_path: Path) -> None:
    loaded = check_reproduces(play(generate(SWE_AGENT, 5, seed=1)), tmp_path / "r.jsonl")
    heads = [program.calls[0].prefix[0] for program in loaded]

    assert heads == heads[:1] * 5
    assert heads[0].tokens == 2500


def fan(arms: int) -> Program:
    first = Call("plan", 100, 10)
    middle = [Call(f"arm{arm}", 50, 10, (Edge("plan", 0.5, "split"),)) for arm in range(arms)]
    join = Call("join", 70, 10, tuple(Edge(call.id) for call in middle))
    return Program("fan", 0.0, (first, *middle, join))


def test_a_fan_out_and_its_join_are_found(tmp_path: Path) -> None:
    (program,) = check_reproduces(play([fan(3)]), tmp_path / "r.jsonl")

    assert program.turns() == {"0": 0, "1": 1, "2": 1, "3": 1, "4": 2}


def test_a_sub_agent_is_tied_to_its_parent(tmp_path: Path) -> None:
    kid = Program("kid", 0.0, (Call("0", 50, 5, (Edge("0", 1.0, "subagent", "boss"),)),), parent="boss")
    after = (Edge("0", 0.0, "task"), Edge("0", 0.25, "subagent", "kid"))
    boss = Program("boss", 0.0, (Call("0", 100, 10), Call("1", 20, 10, after, context="0")))
    parent, child = check_reproduces(play([boss, kid]), tmp_path / "r.jsonl")

    assert (child.parent, parent.parent) == ("boss", None)
    assert [edge.program for edge in child.calls[0].after] == ["boss"]
    assert [(edge.program, round(edge.gap_s, 3)) for edge in parent.calls[1].after] == [("", 0.0), ("kid", 0.25)]


@st.composite
def graphs(draw: st.DrawFn) -> Program:
    """A program that begins with one call; further ones wait for any calls before them, and extend one or none."""
    calls = [Call("0", draw(st.integers(1, 500)), draw(st.integers(1, 50)))]
    for index in range(1, draw(st.integers(1, 8))):
        before = draw(st.lists(st.integers(0, index - 1), min_size=1, max_size=3, unique=True))
        edges = tuple(Edge(str(number), draw(st.floats(0.01, 3.0)), "bash") for number in before)
        context = draw(st.sampled_from([None, str(before[0])]))
        calls.append(Call(str(index), draw(st.integers(1, 500)), draw(st.integers(1, 50)), edges, context))
    return Program("p", draw(st.floats(0, 10)), tuple(calls))


@given(graphs(), st.integers(0, 1000))
def test_any_graph_of_calls_goes_the_same_way_again(program: Program, seed: int) -> None:
    player = play([program], seed)
    begins = sorted(begin for begin, _ in player.times.values())
    assume(not any(0.0 < later - earlier < 1e-5 for earlier, later in pairwise(begins)))  # nearer than clocks tell
    with tempfile.TemporaryDirectory() as folder:
        check_reproduces(player, Path(folder) / "r.jsonl")


def plain(program: str, arrived: float, ended: float, **fields: object) -> dict[str, object]:
    known: dict[str, object] = {"model": "m", "prompt_bytes": 400, "prompt_tokens": 100, "output_tokens": 5}
    return {"program": program, "arrived_s": arrived, "ended_s": ended} | known | fields


def write(path: Path, *rows: object) -> Path:
    lines = (row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows)
    path.write_text(RECORDING.header.decode() + "".join(lines))
    return path


def test_programs_come_by_arrival_although_lines_come_by_end(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", plain("late", 50, 60), plain("early", 10, 70), plain("late", 65, 80))

    assert [(program.id, program.arrival_s, len(program.calls)) for program in load(path)] == [
        ("early", 0.0, 1),
        ("late", 40.0, 2),
    ]


@pytest.mark.parametrize("status", [CallStatus.FAILED, CallStatus.CANCELLED, CallStatus.REJECTED])
def test_calls_that_did_not_finish_are_left_out(status: CallStatus, tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", plain("p", 1, 2), plain("p", 3, 4, status=status))

    assert [len(program.calls) for program in load(path)] == [1]


def test_a_history_that_dropped_its_reasoning_is_not_extended(tmp_path: Path) -> None:
    first = plain("p", 1, 2, output_tokens=500, marks=[[7, 400]])
    second = plain("p", 3, 4, prompt_tokens=200, prompt_bytes=800, marks=[[7, 400], [8, 500], [9, 800]])
    (program,) = load(write(tmp_path / "r.jsonl", first, second))

    assert program.prompt_tokens() == {"0": 100, "1": 200}
    assert program.calls[1].context is None
    assert program.calls[1].prefix[0].id == program.calls[0].prefix[0].id


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (plain("p", 5, 4), "ended_s: the call ended at 4.0, before it arrived at 5.0"),
        (plain("p", -5, 4), "arrived_s: Input should be greater than or equal to 0"),
        (plain("p", 1, 1e11), "ended_s: Input should be less than or equal to 10000000000"),
        (plain("p", 1, 4, prompt_tokens=-1), "prompt_tokens: "),
        (plain("p", 1, 4, output_tokens=20_000_000), "output_tokens: "),
        (plain("p", 1, 4, marks=[[1, 500]]), "marks: the last is at byte 500 of 400"),
        (plain("p", 1, 4, text="secret"), "text: Unexpected keyword argument"),
        ("{\n", "line: Invalid JSON"),
    ],
)
def test_a_damaged_line_is_named_by_file_line_and_field(damaged: object, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", plain("p", 1, 2), damaged, plain("p", 7, 8))

    with pytest.raises(WorkloadError) as caught:
        list(load(path))
    assert f"{path}:3: " in str(caught.value)
    assert message in str(caught.value)
    trace = load(path, skip_damaged=True)
    assert [len(program.calls) for program in trace] == [2]
    assert trace.skipped == 1


def test_what_clients_said_comes_with_their_calls(tmp_path: Path) -> None:
    told = plain("p", 3, 4, final=True, max_output=50, deadline_s=13.0)
    (program,) = load(write(tmp_path / "r.jsonl", plain("p", 1, 2), told))

    assert [call.said for call in program.calls] == [Said(), Said(final=True, max_output=50, deadline_s=10.0)]


def test_calls_that_ask_for_the_same_time_belong_to_a_program_that_is_to_end_by_then(tmp_path: Path) -> None:
    early = [plain("p", 1, 2, deadline_s=6.0), plain("p", 3, 4, deadline_s=6.02)]
    (program,) = load(write(tmp_path / "same.jsonl", *early, plain("p", 8, 9, deadline_s=8.001)))
    assert program.objective_s == pytest.approx(5.0), "a call that comes too late asks for its answer at once"

    apart = [plain("p", 1, 2, deadline_s=6.0), plain("p", 3, 4, deadline_s=10.0)]
    untold = [plain("p", 1, 2, deadline_s=6.0), plain("p", 3, 4)]
    for name, calls in (("apart", apart), ("untold", untold)):
        (program,) = load(write(tmp_path / f"{name}.jsonl", *calls))
        assert program.objective_s is None


def test_a_limit_that_was_named_shrinks_with_its_answer(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", plain("p", 1, 2, prompt_tokens=900, output_tokens=100, max_output=400))
    (program,) = load(path, context_tokens=500)

    assert program.calls[0].said == Said(max_output=200)


def test_calls_of_several_models_are_told_and_one_can_be_chosen(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", plain("p", 1, 2, model="a"), plain("q", 3, 4, model="b"))

    with pytest.raises(WorkloadError, match=r"r\.jsonl: model: there are calls of a, b.*--model"):
        list(load(path))
    assert [program.id for program in load(path, model="b")] == ["q"]
    one = write(tmp_path / "one.jsonl", plain("p", 1, 2, model="a"))
    assert [program.id for program in load(one, model="another")] == ["p"], "it is replayed as another model's"


def test_a_program_that_was_told_to_be_over_says_so_with_its_last_call(tmp_path: Path) -> None:
    over = {"program": "p", "arrived_s": 9.0, "ended_s": 9.0, "model": "", "prompt_bytes": 0, "status": "ended"}
    rows = plain("p", 1, 2), plain("p", 3, 4), over, plain("q", 5, 6), over | {"program": "q", "ended_s": 9.0}
    first, second = load(write(tmp_path / "r.jsonl", *rows, plain("q", 20, 21)))

    assert [call.said for call in first.calls] == [Said(), Said(final=True)]
    assert [call.said for call in second.calls] == [Said(), Said()], "it went on under the same name"
