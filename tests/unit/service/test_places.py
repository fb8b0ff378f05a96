"""Places for threads that work at a request."""

import threading

import pytest

from linkage_service.places import Places
from support.service_app import in_threads


def _is_taken_by_another(places: Places) -> bool:
    """Whether another thread finds no free place."""

    def found_none(_: int) -> bool:
        free = places._free.acquire(blocking=False)
        if free:
            places._free.release()
        return not free

    return in_threads(1, found_none) == [True]


def test_so_many_work_at_a_time_and_no_more() -> None:
    places, together, here, most = Places(3), threading.Barrier(3), [], []

    def work(_: int) -> None:
        with places.taken():
            here.append(1)
            most.append(len(here))
            # Three meet here; with fewer places than that they would wait for ever.
            together.wait(timeout=30)
            here.pop()

    assert in_threads(12, work) == [None] * 12
    assert max(most) == 3


def test_who_leaves_makes_room_while_going_on() -> None:
    places = Places(1)
    with places.taken():
        assert _is_taken_by_another(places)
        places.leave()
        assert not _is_taken_by_another(places)


def test_place_is_given_back_once_whatever_happens() -> None:
    places = Places(1)

    def fail() -> None:
        with places.taken():
            places.leave()
            places.leave()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with places.taken():
        assert _is_taken_by_another(places)
