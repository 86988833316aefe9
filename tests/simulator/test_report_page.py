from __future__ import annotations

import json
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from simulator.report import write_html
from simulator.result import Simulation
from simulator.whole import write_whole
from tests.simulator.simulations import ENGINES, simulation

VOID = {"meta", "input"}


class Parts(HTMLParser):
    """What a page is made of. Fails on a tag that is closed out of turn or left open, and on a reference to anything."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not {"src", "href"} & dict(attrs).keys(), f"<{tag}> refers to something outside"
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def having(self, attribute: str) -> list[str | None]:
        """The values of an attribute, in order."""
        return [attributes[attribute] for _, attributes in self.found if attribute in attributes]

    def tags(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of each tag of a name."""
        return [attributes for name, attributes in self.found if name == tag]


def page(folder: Path, *simulations: Simulation) -> str:
    path = folder / "page.html"
    write_html(simulations, path)
    return path.read_text("utf-8")


def cells(html: str, title: str) -> list[str]:
    """The text of a line of the table."""
    (line,) = re.findall(rf'<tr><th scope="row">{re.escape(title)}</th>(.*?)</tr>', html)
    return [unescape(re.sub("<[^>]*>", " ", cell)).strip() for cell in re.findall("<td>(.*?)</td>", line)]


def test_a_page_is_whole_and_needs_nothing_else(tmp_path: Path) -> None:
    html = page(tmp_path, simulation("agentserve"), simulation("vllm", slower=2.0))
    Parts(html)
    assert not re.search(r"https?:|@import|url\(|fetch\(", html)
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]


def test_the_table_says_how_each_preset_stands_against_the_first(tmp_path: Path) -> None:
    html = page(tmp_path, simulation("agentserve"), simulation("vllm", slower=2.0))
    assert cells(html, "program completion, mean (s)") == ["18.5", "37.0 × 2.00"]
    assert "One seed was simulated" in html
    assert "slowdown" not in html, "a figure that no preset has"


def test_the_table_has_intervals_over_seeds_and_marks_those_that_leave_out_one(tmp_path: Path) -> None:
    slow = [simulation("vllm", slower=slower, seed=seed) for seed, slower in enumerate((1.9, 2.0, 2.1))]
    base = [simulation("agentserve", seed=seed) for seed in range(3)]
    html = page(tmp_path, *base, *slow)
    _, cell = cells(html, "program completion, mean (s)")
    assert re.fullmatch(r"37\.0 +× 2\.00 \(1\.\d\d to 2\.\d\d\)", cell)
    assert html.count("<b>×") > 0
    assert "Means of 3 seeds" in html


def test_every_preset_has_a_curve_of_completion_times_and_a_part_that_is_switched(tmp_path: Path) -> None:
    parts = Parts(page(tmp_path, simulation("agentserve"), simulation("vllm"), simulation("continuum")))
    plot = parts.tags("svg")[0]
    assert plot["preserveaspectratio"] == "none"
    assert parts.having("data-preset") == ["0", "1", "2"]
    assert [box["value"] for box in parts.tags("input") if box["name"] == "preset"] == ["0", "1", "2"]
    assert parts.having("data-clock") == ["START", "ARRIVAL"] * 3
    first = [attributes for _, attributes in parts.found if (attributes.get("class") or "").startswith("curve ")][:3]
    assert [path["class"] for path in first] == ["curve s0", "curve s1", "curve s2"]


def test_the_curve_ends_with_the_slowest_program_of_all_seeds(tmp_path: Path) -> None:
    runs = [simulation(programs=400, seed=1), simulation(programs=400, seed=2, slower=3.0)]
    html = page(tmp_path, *runs)
    curve = re.findall(r'class="curve s0" d="([^"]*)"', html)[0]
    assert curve.endswith("H4000V0.0"), "the axis ends there too"
    assert curve.count("V") == 500


def test_charts_of_every_engine_show_its_memory_and_its_queue(tmp_path: Path) -> None:
    html = page(tmp_path, simulation())
    for name in ENGINES:
        assert f"<title>on {name}</title>" in html
        assert f"KV tokens on {name} over time: running, retained and free" in html
        assert f"KV tokens on {name} by program" in html


def test_a_charts_rows_are_programs_in_the_order_of_arrival(tmp_path: Path) -> None:
    timeline, _, first, second = Parts(page(tmp_path, simulation(programs=4))).having("data-rows")
    assert json.loads(timeline or "") == ["program p0", "program p1", "program p2", "program p3"]
    assert json.loads(first or "") == ["program p0", "program p2"]
    assert json.loads(second or "") == ["program p1", "program p3"]


def test_what_a_program_holds_is_one_bar_as_long_as_it_does_not_change(tmp_path: Path) -> None:
    html = page(tmp_path, simulation(programs=1))
    running = [path for level in ("light", "medium", "full") for path in _drawn(html, f"decode {level}")]
    retained = [path for level in ("light", "medium", "full") for path in _drawn(html, f"retained {level}")]
    assert len(running) == 3, "three calls run"
    assert len(retained) == 1, "one of two gaps is retained"


def test_a_thousand_programs_are_sampled_and_the_page_says_so(tmp_path: Path) -> None:
    html = page(tmp_path, simulation(programs=1000))
    timeline, _, memory, _ = Parts(html).having("data-rows")
    names = json.loads(timeline or "")
    assert names[:3] == ["program p0", "program p5", "program p10"]
    assert len(names) == 200
    assert len(json.loads(memory or "")) == 80
    assert "200 of 1,000 programs, evenly chosen by arrival" in html
    assert "80 of 500 programs, evenly chosen by arrival" in html
    assert len(html) < 1_000_000


def test_a_program_that_outlasts_all_others_does_not_squeeze_them(tmp_path: Path) -> None:
    found = simulation(programs=20)
    last = replace(found.programs[0], finished=1e6)
    html = page(tmp_path, found, replace(found, policy="late", programs=(last, *found.programs[1:])))
    start, life, *_ = Parts(html).having("data-seconds")
    assert float(start or "") < 100
    assert float(life or "") < 100
    assert "is cut off" in html


def test_only_the_first_engines_of_a_large_fleet_are_shown_and_the_page_says_so(tmp_path: Path) -> None:
    found = simulation()
    fleet = tuple(replace(found.engines[0], name=f"e{number}") for number in range(100))
    html = page(tmp_path, replace(found, engines=fleet, calls=()))
    assert html.count("by program") == 8
    assert "the first 8 of 100 engines" in html


def test_without_calls_and_samples_there_are_figures_and_completion_times_only(tmp_path: Path) -> None:
    bare = simulation()
    bare = replace(bare, calls=(), engines=tuple(replace(engine, samples=()) for engine in bare.engines))
    parts = Parts(page(tmp_path, bare))
    assert len(parts.tags("svg")) == 1
    assert not parts.tags("fieldset")


def test_names_are_text_and_not_markup(tmp_path: Path) -> None:
    html = page(tmp_path, simulation("</script><b>"))
    Parts(html)
    assert "&lt;/script&gt;&lt;b&gt;" in html


def test_a_page_of_nothing_is_an_error_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no simulation"):
        page(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_completed_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("before")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, ["begun", "\ud800"])
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def _drawn(html: str, style: str) -> list[str]:
    """The stretches of a style, one by one."""
    found = re.findall(rf'<path class="{style}"[^>]* d="([^"]*)"', html)
    return [stretch for path in found for stretch in path.split("M")[1:]]
