"""What is granted of a client's preferences (RFC 7240), and the places of those who wait."""

from __future__ import annotations

import pytest

from asyncjobs.web.answering.places import Places
from asyncjobs.web.answering.preferred import Granted, granted_to_poll, granted_to_submission
from asyncjobs.web.http.preferences import Preferences

MAX_WAIT = 30.0


@pytest.mark.parametrize(
    ("wait", "max_wait", "seconds", "applied"),
    [
        (None, MAX_WAIT, 0, None),
        (0, MAX_WAIT, 0, "wait=0"),
        (20, MAX_WAIT, 20, "wait=20"),
        (3600, MAX_WAIT, 30, "wait=30"),
        (3600, 0.2, 0.2, "wait=1"),
        (3600, 0, 0, "wait=0"),
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
def test_a_poll_waits_as_long_as_it_may(
    wait: int | None, max_wait: float, seconds: float, applied: str | None, is_async: bool
) -> None:
    """For as long as its client prefers, and no longer than `max_wait`, said in whole seconds;
    `respond-async` changes nothing, and is not said to be applied."""
    granted = granted_to_poll(Preferences(wait, is_async), max_wait)
    assert granted == Granted(seconds, True, applied)
    assert granted.at_once() == Granted(0, True, None)


#: By the wait, `respond-async` and whether the route waits by itself: seconds, whether it may be
#: the result, and what is applied; with a place, and without.
SUBMISSIONS = {
    (None, False, False): ((0, False, None), (0, False, None)),
    (None, False, True): ((30, True, None), (0, True, None)),
    (None, True, False): ((0, False, "respond-async"), None),
    (None, True, True): ((0, False, "respond-async"), None),
    (20, False, False): ((20, True, "wait=20"), (0, True, None)),
    (20, False, True): ((20, True, "wait=20"), (0, True, None)),
    (3600, False, True): ((30, True, "wait=30"), (0, True, None)),
    (0, False, False): ((0, True, "wait=0"), None),
    (20, True, False): ((20, True, "respond-async, wait=20"), (0, True, "respond-async")),
    (20, True, True): ((20, True, "respond-async, wait=20"), (0, True, "respond-async")),
}


@pytest.mark.parametrize("said", SUBMISSIONS, ids=str)
def test_a_submission_waits_if_its_client_or_its_route_would(
    said: tuple[int | None, bool, bool],
) -> None:
    """The table of the contract; and what is still obeyed where no more requests can wait."""
    wait, is_async, is_held = said
    with_place, without = SUBMISSIONS[said]
    granted = granted_to_submission(Preferences(wait, is_async), MAX_WAIT, is_held=is_held)
    assert granted[:3] == with_place
    if without is not None:
        assert granted.at_once()[:3] == without


def test_who_has_a_place_has_one() -> None:
    """However often it asks, also where all are taken; and it is given back at once."""
    places = Places()
    assert places.take("ada", 2)
    assert places.take("bob", 2)
    assert not places.take("eve", 2)
    assert places.take("ada", 2)
    assert places.taken == 2
    places.give_back("ada")
    places.give_back("ada")
    places.give_back("eve")
    assert places.taken == 1
    assert places.take("eve", 2)
    assert not places.take("ada", 0)
