import random

from agentserve.gateway.faults.retries import BURST, Retries


def spend(retries: Retries, now: float = 0.0) -> int:
    count = 0
    while retries.take(now):
        count += 1
    return count


def test_after_a_burst_only_a_share_of_the_calls_is_tried_again() -> None:
    retries = Retries(0.25, 0.1, random.Random(1))
    assert spend(retries) == BURST
    for _ in range(40):
        retries.call()
    assert spend(retries) == 10


def test_a_quiet_gateway_gets_its_retries_back_with_time() -> None:
    retries = Retries(0.0, 0.1, random.Random(1))
    spend(retries)
    assert spend(retries, now=7.0) == 7
    assert spend(retries, now=1e6) == BURST


def test_pauses_are_random_below_a_bound_that_doubles() -> None:
    retries = Retries(0.2, 0.1, random.Random(1))
    for failures, bound in ((1, 0.1), (2, 0.2), (3, 0.4)):
        pauses = [retries.pause(failures) for _ in range(200)]
        assert 0 <= min(pauses) < 0.1 * bound
        assert 0.9 * bound < max(pauses) <= bound
