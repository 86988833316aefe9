from agentserve.cluster.scaling import IDLE, Bounds, Demand, Scale, rescale

BOUNDS = Bounds(least=1, most=4, kv_tokens=10_000, cold_start=60.0)


def played(scale: Scale, *looks: tuple[float, int]) -> list[int]:
    """The counts that follow from looks: when, and the working set then."""
    counts = []
    for now, tokens in looks:
        scale = rescale(scale, Demand(tokens), now, BOUNDS)
        counts.append(scale.count)
    return counts


def test_the_working_set_and_not_the_number_of_requests_says_how_many_there_are() -> None:
    assert played(Scale(1), (0.0, 8000)) == [1]
    assert played(Scale(1), (0.0, 8001)) == [2], "the first is full, though no request may wait"


def test_growth_is_met_before_it_is_there_because_a_start_takes_its_time() -> None:
    assert played(Scale(1), (0.0, 4000), (10.0, 5000)) == [1, 2], "by the growth it is 11,000 when the next one serves"


def test_there_are_never_more_than_the_most_nor_fewer_than_the_least() -> None:
    assert played(Scale(1), (0.0, 1_000_000)) == [4]
    assert played(Scale(1), (0.0, 0), (IDLE * 60, 0), (2 * IDLE * 60, 0)) == [1, 1, 1]


def test_one_that_is_not_needed_is_kept_for_some_cold_starts_and_then_they_go_one_by_one() -> None:
    idle = IDLE * BOUNDS.cold_start
    looks = ((0.0, 0), (idle - 1, 0), (idle, 0), (idle + 1, 0), (2 * idle, 0))
    assert played(Scale(3), *looks) == [3, 3, 2, 2, 1]


def test_a_wave_in_between_begins_the_wait_anew() -> None:
    idle = IDLE * BOUNDS.cold_start
    assert played(Scale(2), (0.0, 0), (idle - 1, 16_000), (idle + 100, 0), (idle + 101, 0)) == [2, 3, 3, 3]


TO_ZERO = Bounds(least=0, most=2, kv_tokens=10_000, cold_start=60.0, idle=300.0)


def counts(scale: Scale, *looks: tuple[float, Demand]) -> list[int]:
    found = []
    for now, demand in looks:
        scale = rescale(scale, demand, now, TO_ZERO)
        found.append(scale.count)
    return found


def test_the_last_one_goes_when_nobody_has_needed_it_for_the_idle_time() -> None:
    assert counts(Scale(1), (0.0, Demand(0)), (299.0, Demand(0)), (300.0, Demand(0))) == [1, 1, 0]


def test_the_last_one_stays_while_calls_run_however_few_tokens_they_have() -> None:
    busy = Demand(1, calls=True)
    assert counts(Scale(1), (0.0, busy), (1000.0, busy), (2000.0, Demand(0)), (2299.0, Demand(0))) == [1, 1, 1, 1]


def test_the_last_one_stays_for_a_program_that_is_back_before_another_would_have_started() -> None:
    soon, late = Demand(5000, returns_in=60.0), Demand(5000, returns_in=61.0)
    assert counts(Scale(1), (0.0, soon), (1000.0, soon)) == [1, 1]
    assert counts(Scale(1), (0.0, late), (300.0, late)) == [1, 0]


def test_a_program_whose_return_is_not_likely_keeps_none() -> None:
    assert counts(Scale(1), (0.0, Demand(9000)), (300.0, Demand(9000))) == [1, 0]


def test_from_none_a_call_has_one_started_and_an_expectation_does_not() -> None:
    assert counts(Scale(0), (0.0, Demand(5000, returns_in=10.0))) == [0], "its KV is gone, and it may not come"
    assert counts(Scale(0), (0.0, Demand(0, calls=True))) == [1]
