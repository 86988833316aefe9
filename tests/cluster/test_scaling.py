from agentserve.cluster.scaling import IDLE, Bounds, Scale, rescale

BOUNDS = Bounds(least=1, most=4, kv_tokens=10_000, cold_start=60.0)


def played(scale: Scale, *looks: tuple[float, int]) -> list[int]:
    """The counts that follow from looks: when, and the working set then."""
    counts = []
    for now, tokens in looks:
        scale = rescale(scale, tokens, now, BOUNDS)
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
