"""What a process does at the moment when it begins to serve."""

import gc

from linkage_service.server import _leave_alone_what_is_there


def test_objects_from_before_serving_are_not_walked_again_and_later_ones_are() -> None:
    try:
        before: list[object] = [[]]
        _leave_alone_what_is_there()
        after: list[object] = [[]]
        walked = {id(one) for one in gc.get_objects()}
        assert id(before) not in walked
        assert id(after) in walked
    finally:
        gc.unfreeze()
