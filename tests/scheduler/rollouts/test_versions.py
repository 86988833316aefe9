from __future__ import annotations

import pytest

from scheduler.rollouts.versions import Segment, Versions, joined, oldest
from scheduler.types import EngineId

A, B = EngineId("a"), EngineId("b")


def test_tokens_of_one_engine_and_version_are_one_segment() -> None:
    segments = joined(joined((), 3, A, 5), 3, A, 2)
    assert segments == (Segment(3, A, 0, 7),)


def test_an_update_or_another_engine_begins_a_segment() -> None:
    segments = joined(joined(joined((), 3, A, 5), 4, A, 2), 4, B, 1)
    assert segments == (Segment(3, A, 0, 5), Segment(4, A, 5, 7), Segment(4, B, 7, 8))
    assert oldest(segments, 9) == 3


def test_an_attempt_without_a_token_leaves_no_segment() -> None:
    assert joined((), 3, A, 0) == ()
    assert oldest((), 9) == 9


def test_an_engine_that_begins_anew_is_behind() -> None:
    versions = Versions()
    assert not versions.behind(A)
    versions.announce(2)
    assert versions.behind(A)
    versions.loaded(A, 2)
    assert (versions.of(A), versions.behind(A), versions.behind(B)) == (2, False, True)
    versions.began(A)
    assert (versions.of(A), versions.behind(A)) == (0, True)


def test_versions_do_not_run_backwards() -> None:
    versions = Versions()
    versions.announce(2)
    versions.announce(2)
    with pytest.raises(ValueError, match="version 1 is older than 2"):
        versions.announce(1)
