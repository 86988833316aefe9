import pytest

import agentserve.gateway.tenants.names as names
from agentserve.gateway.errors import ApiError
from agentserve.gateway.tenants.buckets import Bucket, Budget
from agentserve.gateway.tenants.line import WaitingLine
from agentserve.gateway.tenants.section import TenantSection
from agentserve.gateway.tenants.tenant import Passage, Tenant
from scheduler.types import CallId

DAY = 86_400.0


def tenant(**limits: object) -> Tenant:
    return Tenant(TenantSection.model_validate({"name": "t", **limits}), Passage())


def refused(who: Tenant, now: float = 0.0, date: float = 0.0) -> ApiError:
    with pytest.raises(ApiError) as caught, who.request(now, date):
        pass
    assert caught.value.status == 429
    return caught.value


def serve(who: Tenant, now: float = 0.0, date: float = 0.0) -> None:
    with who.request(now, date):
        pass


def test_a_bucket_gives_a_minutes_worth_at_once_and_is_refilled_steadily() -> None:
    bucket = Bucket(60)
    assert bucket.wait(5.0, 60) == 0.0
    bucket.take(5.0, 60)
    assert bucket.wait(5.0) == 1.0
    assert bucket.wait(5.5) == 0.5
    assert bucket.wait(1000.0, 61) == 1.0, "it never holds more than a minute's worth"


def test_requests_over_the_rate_are_told_when_to_come_again() -> None:
    who = tenant(requests_per_minute=2)
    serve(who)
    serve(who)
    error = refused(who)
    assert (error.code, error.retry_after) == ("rate_limit_exceeded", 30)
    serve(who, now=30.0)


def test_tokens_are_taken_when_they_are_known_and_refuse_what_comes_next() -> None:
    who = tenant(tokens_per_minute=600)
    serve(who)
    who.used(0.0, 0.0, 1200)
    assert refused(who).retry_after == 61
    serve(who, now=61.0)


def test_no_more_requests_at_a_time_than_the_concurrency() -> None:
    who = tenant(concurrency=1)
    with who.request(0.0, 0.0):
        assert refused(who).retry_after == 1
    serve(who)


def test_a_request_that_breaks_gives_its_place_back() -> None:
    who = tenant(concurrency=1)
    with pytest.raises(ValueError, match="broken"), who.request(0.0, 0.0):
        raise ValueError("broken")
    serve(who)


def test_a_budget_ends_with_its_period() -> None:
    who = tenant(budget={"tokens": 100, "every": DAY})
    who.used(0.0, 2.25 * DAY, 99)
    serve(who, date=2.5 * DAY)
    who.used(0.0, 2.5 * DAY, 1)
    error = refused(who, date=2.75 * DAY)
    assert (error.code, error.retry_after) == ("insufficient_quota", DAY / 4)
    serve(who, date=3 * DAY)


def test_a_clock_that_is_set_back_gives_no_second_budget() -> None:
    budget = Budget(100, DAY)
    budget.spend(5 * DAY, 100)
    assert budget.wait(4 * DAY) > 0


def test_the_expected_wait_is_the_calls_ahead_times_the_interval_between_departures() -> None:
    line = WaitingLine()
    assert line.expected(0.0) == 0.0
    for number in range(4):
        line.join(CallId(str(number)), 0.0)
    line.depart(CallId("0"), 2.0)
    assert line.expected(2.0) == 3 * 2.0
    assert line.expected(7.0) == 3 * 5.0, "the present interval lasts longer already"
    line.leave(CallId("1"))
    line.depart(CallId("2"), 4.0)
    line.depart(CallId("3"), 6.0)
    assert (len(line), line.expected(100.0)) == (0, 0.0)


def test_a_call_that_goes_at_once_tells_nothing_of_waits() -> None:
    line = WaitingLine()
    line.join(CallId("a"), 1.0)
    line.depart(CallId("a"), 1.0)
    line.join(CallId("b"), 50.0)
    assert line.expected(50.0) == 0.0


def test_a_tenant_may_name_so_many_workflows_and_stages(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(names, "MOST", 5)
    who, other = tenant(), tenant()
    assert who.names.known("swe", "plan") == ("swe", "plan")
    for number in range(9):
        who.names.known(f"run-{number}", "")
    assert who.names.known("swe", "plan") == ("swe", "plan")
    assert who.names.known("swe", "edit") == ("swe", "")
    assert who.names.known("run-8", "plan") == ("", "")
    assert other.names.known("run-8", "plan") == ("run-8", "plan")
    assert caplog.text.count("further ones count as none") == 1


def test_a_full_line_refuses_and_so_does_one_that_is_too_slow() -> None:
    who = tenant(queue=2, longest_wait=10.0)
    who.check_wait(0.0)
    who.line.join(CallId("0"), 0.0)
    who.check_wait(10.0)
    with pytest.raises(ApiError, match="would wait for about 11 s") as caught:
        who.check_wait(11.0)
    assert (caught.value.status, caught.value.code, caught.value.retry_after) == (429, "queue_full", 1)
    who.line.join(CallId("1"), 11.0)
    with pytest.raises(ApiError, match="2 calls of tenant 't' wait already"):
        who.check_wait(11.0)
