from __future__ import annotations

import re

import pytest

from simulator.report.axis import Axis, spread_axis, time_axis
from simulator.report.chart import COLUMNS, Area, Bar, BarRow, Curve, Point, areas, bars, curve_styles, curves

STYLES = {"below": "under", "above": "over"}


def drawn(html: str, style: str) -> list[str]:
    """What the paths of a style draw."""
    return re.findall(rf'<path class="{style}"[^>]* d="([^"]*)"', html)


def chart(*found: Bar, end: float = 10.0) -> str:
    return bars([BarRow("a program", "1", found)], STYLES, time_axis(end), 600, "a label", "")


@pytest.mark.parametrize("high", [0.02, 1.0, 7.0, 340.0, 86_400.0])
def test_an_axis_has_a_few_round_ticks_within_its_ends(high: float) -> None:
    ticks = Axis(0.0, high, " s").ticks()
    assert 3 <= len(ticks) <= 9
    assert all(0.0 <= tick.place <= 1.0 for tick in ticks)
    assert ticks[0].text == "0 s"


def test_a_logarithmic_axis_has_ticks_at_powers_of_ten() -> None:
    axis = Axis(1.0, 10_000.0, " s", logarithmic=True)
    assert [tick.text for tick in axis.ticks()] == ["1 s", "10 s", "100 s", "1,000 s", "10,000 s"]
    assert axis.place(100.0) == pytest.approx(0.5)


def test_what_is_beyond_an_axis_stands_at_its_end() -> None:
    assert [Axis(2.0, 4.0).place(value) for value in (1.0, 3.0, 5.0)] == [0.0, 0.5, 1.0]


def test_nothing_happened_on_an_axis_of_a_second() -> None:
    assert time_axis(0.0).high == 1.0


def test_a_sample_is_spread_by_powers_of_ten_only_if_it_is_wide() -> None:
    assert spread_axis(1.0, 100.0).logarithmic
    assert not spread_axis(10.0, 100.0).logarithmic
    assert not spread_axis(0.0, 100.0).logarithmic


def test_bars_that_look_and_say_the_same_share_a_path() -> None:
    html = chart(Bar(0.0, 1.0, "below"), Bar(2.0, 3.0, "below"), Bar(4.0, 5.0, "below", "by itself"))
    shared, alone = drawn(html, "below")
    assert shared == f"M0 9H{COLUMNS // 10}M{COLUMNS // 5} 9H{COLUMNS * 3 // 10}"
    assert alone == f"M{COLUMNS * 2 // 5} 9H{COLUMNS // 2}"
    assert "<title>by itself</title>" in html


def test_a_later_style_is_painted_over_an_earlier_one() -> None:
    html = chart(Bar(0.0, 5.0, "above"), Bar(1.0, 9.0, "below"))
    assert html.index('class="below"') < html.index('class="above"')


def test_a_bar_of_less_than_half_a_column_is_left_out() -> None:
    assert drawn(chart(Bar(1.0, 1.0 + 4.0 / COLUMNS, "below")), "below") == []


def test_only_as_many_rows_are_labelled_as_there_is_room_for() -> None:
    rows = [BarRow(f"program {number}", f"{number}", []) for number in range(200)]
    html = bars(rows, STYLES, time_axis(1.0), 600, "a label", "")
    labels = re.findall(r'<span style="top:[\d.]+%">(\d+)</span>', html)
    assert labels == [str(number) for number in range(0, 200, 5)]
    assert 'height="600"' in html


def test_names_are_text_and_not_markup() -> None:
    html = bars([BarRow("<b>", "<i>", [Bar(0.0, 1.0, "below", "<u>")])], STYLES, time_axis(1.0), 600, '"', "<s>")
    assert not re.findall("<[bius]>", html)
    assert "&lt;b&gt;" in html


def test_a_curve_goes_in_steps() -> None:
    html = curves([Curve("c", [Point(0.0, 0.0), Point(5.0, 1.0)])], time_axis(10.0), Axis(0, 2), 100, "a label", "")
    assert drawn(html, "curve s0") == [f"M0 100.0H{COLUMNS // 2}V50.0"]


def test_a_curve_ends_with_its_axis() -> None:
    found = [Curve("c", [Point(0.0, 0.0), Point(5.0, 1.0), Point(11.0, 2.0)])]
    assert drawn(curves(found, time_axis(10.0), Axis(0, 2), 100, "a label", ""), "curve s0") == [
        f"M0 100.0H{COLUMNS // 2}V50.0"
    ]


def test_curves_are_dashed_when_the_colours_come_round_again() -> None:
    styles = list(curve_styles(str(number) for number in range(16)))
    assert len(set(styles)) == 16
    assert [style.endswith(" dashed") for style in styles] == [False] * 8 + [True] * 8


def test_areas_reach_down_to_nothing() -> None:
    found = [Area("lower", "below", [Point(0.0, 1.0), Point(5.0, 0.0)]), Area("both", "above", [Point(0.0, 2.0)])]
    html = areas(found, time_axis(10.0), Axis(0, 2), 100, "a label", "")
    assert drawn(html, "area below") == [f"M0 50.0H{COLUMNS // 2}V100.0V100H0Z"]
    assert html.index("area above") < html.index("area below"), "the larger one must not hide the smaller"
