from __future__ import annotations

import json
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools import prior
from tools.gaps import MAX_TOOLS, WINDOW, GapModel

seconds = st.floats(0, 1e5)
names = st.sampled_from(["", "ls", "pytest"])
tool_sets = st.lists(names, max_size=3).map(tuple)
histories = st.lists(st.tuples(st.sampled_from(["a", "b"]), tool_sets, seconds), max_size=40)


def model_of(history: list[tuple[str, tuple[str, ...], float]]) -> GapModel:
    model = GapModel()
    for tenant, tools, gap in history:
        model.observe(tenant, tools, gap)
    return model


def repeated(tool: str, gap: float, times: int) -> GapModel:
    return model_of([("t", (tool,), gap)] * times)


def test_an_unseen_tool_has_the_published_quantiles() -> None:
    model = GapModel()
    published = [(0.5, 0.3), (0.9, 13.6), (0.99, 216.0)]
    assert [model.quantile("t", ("ls",), share) for share, _ in published] == pytest.approx([x for _, x in published])
    assert [model.cdf("t", ("ls",), gap) for _, gap in published] == pytest.approx([share for share, _ in published])


def test_the_prior_s_mean_is_the_area_under_its_survival() -> None:
    shares = [(i + 0.5) / 1_000_000 for i in range(1_000_000)]
    assert math.fsum(map(prior.quantile, shares)) / len(shares) == pytest.approx(prior.MEAN, rel=0.01)
    assert GapModel().mean("t", ()) == pytest.approx(prior.MEAN)


def test_a_new_tool_is_judged_by_the_tenants_other_tools() -> None:
    model = repeated("pytest", 40.0, 100)
    assert model.cdf("t", ("new",), 39.0) < 0.05 < 0.95 < model.cdf("t", ("new",), 40.0)
    assert model.cdf("other tenant", ("new",), 40.0) == GapModel().cdf("t", ("new",), 40.0)


def test_a_well_known_tool_has_its_own_distribution() -> None:
    model = repeated("ls", 0.1, 400)
    for gap in range(1, 101):
        model.observe("t", ("pytest",), float(gap))
    assert model.quantile("t", ("pytest",), 0.5) == pytest.approx(50, abs=3)
    assert model.quantile("t", ("ls",), 0.9) == 0.1
    assert model.mean("t", ("pytest",)) == pytest.approx(50.5, abs=3)


def test_the_odds_of_a_return_fall_once_a_short_tool_has_lasted_long() -> None:
    model = model_of([("t", ("ask",), gap) for gap in [0.2] * 90 + [300.0] * 10])
    assert model.returns_within("t", ("ask",), 1.0) > 0.85
    assert model.returns_within("t", ("ask",), 1.0, lasted=5.0) < 0.1
    assert model.returns_within("t", ("ask",), 100.0, lasted=250.0) > 0.8


def test_a_gap_longer_than_any_number_is_not_waited_for() -> None:
    assert GapModel().returns_within("t", ("ls",), 1.0, lasted=1e300) == 0.0


def test_parallel_tools_count_as_their_slowest() -> None:
    model = GapModel()
    for _ in range(100):
        model.observe("t", ("ls",), 0.1)
        model.observe("t", ("pytest",), 20.0)
    both = ("ls", "pytest")
    assert model.slowest("t", both) == "pytest"
    assert model.quantile("t", both, 0.5) == model.quantile("t", ("pytest",), 0.5) == 20.0
    assert model.cdf("t", both, 1.0) == model.cdf("t", ("pytest",), 1.0)
    assert model.mean("t", both) == model.mean("t", ("pytest",))


def test_a_set_s_gap_is_credited_to_the_tool_that_explains_it() -> None:
    model = GapModel()
    for _ in range(20):
        model.observe("t", ("ls",), 0.1)
        model.observe("t", ("pytest",), 20.0)
    model.observe("t", ("ls", "pytest"), 21.0)
    assert (model.count("t", "ls"), model.count("t", "pytest")) == (20, 21)


def test_the_window_keeps_the_latest_samples_and_counts_them_all() -> None:
    model = model_of([("t", ("ls",), float(gap)) for gap in range(WINDOW + 10)])
    assert model.samples("t", "ls") == model.all_samples("t") == tuple(map(float, range(10, WINDOW + 10)))
    assert model.count("t", "ls") == model.total("t") == WINDOW + 10
    assert model.samples("t", "other") == ()
    assert model.total("nobody") == 0


def test_the_tool_not_seen_for_longest_is_forgotten() -> None:
    model = GapModel()
    for index in range(MAX_TOOLS):
        model.observe("t", (f"tool {index}",), 1.0)
    model.observe("t", ("tool 0",), 1.0)
    model.observe("t", ("one more",), 1.0)
    assert [model.count("t", name) for name in ("tool 0", "tool 1", "tool 2", "one more")] == [2, 0, 1, 1]


def test_long_names_are_one_tool() -> None:
    model = repeated("é" * 500, 3.0, 2)
    assert model.count("t", "é" * 500) == model.count("t", "é" * 128) == 2


@pytest.mark.parametrize("gap", [-1.0, math.nan, math.inf])
def test_what_is_no_duration_is_refused(gap: float) -> None:
    with pytest.raises(ValueError, match="finite number of seconds"):
        GapModel().observe("t", ("ls",), gap)


@pytest.mark.parametrize("share", [0.0, 1.0, math.nan])
def test_what_is_no_share_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        GapModel().quantile("t", ("ls",), share)


@given(histories, tool_sets, st.lists(seconds, min_size=2, max_size=8))
def test_a_cdf_rises_and_stays_below_one(
    history: list[tuple[str, tuple[str, ...], float]], tools: tuple[str, ...], times: list[float]
) -> None:
    model = model_of(history)
    shares = [model.cdf("a", tools, at) for at in sorted(times)]
    assert shares == sorted(shares)
    assert all(0 <= share < 1 for share in shares)
    assert 0 <= model.returns_within("a", tools, times[0], times[1]) <= 1


@settings(max_examples=300)
@given(histories, tool_sets, st.floats(0.001, 0.999))
def test_a_quantile_is_the_first_time_that_reaches_its_share(
    history: list[tuple[str, tuple[str, ...], float]], tools: tuple[str, ...], share: float
) -> None:
    model = model_of(history)
    at = model.quantile("a", tools, share)
    assert model.cdf("a", tools, at * (1 + 1e-9) + 1e-9) >= share - 1e-9
    assert model.cdf("a", tools, at * (1 - 1e-9) - 1e-9) <= share + 1e-9


@given(histories)
def test_a_saved_model_answers_as_before_to_the_last_bit(history: list[tuple[str, tuple[str, ...], float]]) -> None:
    model = model_of(history)
    loaded = GapModel.from_json(json.loads(json.dumps(model.to_json())))
    for step in range(3):
        for tenant in ("a", "b"):
            for tools in ((), ("ls",), ("ls", "pytest")):
                assert loaded.mean(tenant, tools) == model.mean(tenant, tools)
                assert loaded.quantile(tenant, tools, 0.7) == model.quantile(tenant, tools, 0.7)
                assert loaded.cdf(tenant, tools, 1.5) == model.cdf(tenant, tools, 1.5)
        model.observe("a", ("ls",), float(step))
        loaded.observe("a", ("ls",), float(step))
    assert loaded.to_json() == model.to_json()


def test_a_full_window_is_the_same_as_a_loaded_one_after_many_more_samples() -> None:
    rng = random.Random(1)
    model = model_of([("t", ("ls",), rng.expovariate(0.1)) for _ in range(WINDOW + 100)])
    loaded = GapModel.from_json(json.loads(json.dumps(model.to_json())))
    for _ in range(200):
        gap = rng.expovariate(0.1)
        model.observe("t", ("ls",), gap)
        loaded.observe("t", ("ls",), gap)
    assert loaded.to_json() == model.to_json()
    assert loaded.samples("t", "ls") == model.samples("t", "ls") == tuple(sorted(model.samples("t", "ls")))
