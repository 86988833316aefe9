from __future__ import annotations

from agentserve.engines import logbook

ENGINE = "(EngineCore pid=12407) ERROR 11-22 13:31:36 [core.py:1510] "


def test_the_root_cause_comes_first_and_once() -> None:
    lines = [
        "(APIServer pid=1) INFO 11-22 13:30:58 [api.py:1] no Error: here",
        f"{ENGINE}EngineCore failed to start.",
        f"{ENGINE}ValueError: not enough KV cache",
        "Traceback (most recent call last):",
        "    raise ValueError(",
        "ValueError: not enough KV cache",
        "    raise RuntimeError(",
        "RuntimeError: Engine core initialization failed. See root cause above.",
    ]
    assert logbook.ending(lines) == [
        "ValueError: not enough KV cache",
        "RuntimeError: Engine core initialization failed. See root cause above.",
    ]


def test_an_error_that_goes_on_is_shown_with_what_follows() -> None:
    lines = ["pydantic_core._pydantic_core.ValidationError: 1 error", "  max_model_len is too large", "  see there"]
    assert logbook.ending(lines) == lines


def test_a_usage_message_is_cut_to_what_was_wrong() -> None:
    usage = [f"   [--option-{number}]" for number in range(50)]
    assert logbook.ending([*usage, "api_server.py: error: unrecognized arguments: --x"]) == [
        "api_server.py: error: unrecognized arguments: --x"
    ]


def test_without_an_error_the_last_lines_are_shown() -> None:
    assert logbook.ending([f"line {number}" for number in range(20)]) == [f"line {number}" for number in range(10, 20)]
    assert logbook.ending([]) == []


def test_the_latest_line_is_short_and_without_its_origin() -> None:
    assert logbook.latest(["x", f"{ENGINE}Loading weights " + "." * 500]) == ("Loading weights " + "." * 500)[:100]
    assert logbook.latest([]) == ""
