"""How much one caller, one address and one organisation may ask of this process at once.

Token buckets in memory, and not in the database: a limit that costs a write for every request is the load that it is
to prevent. Where several processes share the requests, each takes its share of a rate (`api_processes`). What guards
passwords and codes is counted in the database, see `people.signing_in`.
"""

import math
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Any

from linkage_service.errors import Limited
from linkage_service.metrics import Limit, Metrics
from linkage_service.settings import Settings

# As many seconds' worth may come at once: a client that wakes up does several things.
_BURST_S = 4
_PAGE = "linkage.page"
_KEYS_MAX = 50_000
# The least of IPv6 that one subscriber is given (RFC 6177); one machine may have all the addresses in it.
_SUBSCRIBER_BITS = 64


class Buckets:
    """One bucket of requests for each key, refilled at a rate; keys that were not seen for longest are forgotten."""

    def __init__(self, rate: float, *, now: Callable[[], float] = time.monotonic) -> None:
        """Allow so many requests a second for each key; 0 allows all."""
        self._rate = rate
        self._full = max(rate * _BURST_S, 1)
        self._now = now
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, key: str) -> float:
        """Takes one request out; gives 0, or the seconds to wait where there is none."""
        if self._rate == 0:
            return 0
        now = self._now()
        with self._lock:
            left, at = self._left.pop(key, (self._full, now))
            left = min(self._full, left + max(now - at, 0) * self._rate)
            wait_s = 0.0 if left >= 1 else (1 - left) / self._rate
            self._left[key] = (left if wait_s else left - 1, now)
            while len(self._left) > _KEYS_MAX:
                self._left.popitem(last=False)
        return wait_s


@dataclass(frozen=True, slots=True)
class _Rate:
    limit: Limit
    buckets: Buckets

    def check(self, key: str, metrics: Metrics) -> None:
        wait_s = self.buckets.take(key)
        if wait_s:
            metrics.limited(self.limit)
            raise Limited(
                "Too many requests in a short time. Nothing was done. Wait as long as Retry-After says, then send it "
                "again; whoever needs more asks the operator.",
                retry_after_s=math.ceil(wait_s),
            )


class Throttle:
    """The limits of one process."""

    def __init__(self, settings: Settings, metrics: Metrics, *, now: Callable[[], float] = time.monotonic) -> None:
        share = 1 / settings.api_processes
        self._metrics = metrics
        self._caller = _Rate("caller", Buckets(settings.rate_per_caller * share, now=now))
        self._address = _Rate("address", Buckets(settings.rate_per_address * share, now=now))
        self._public = _Rate("public", Buckets(settings.rate_public * share, now=now))
        self._parts_max, self._parts_of_one_max = settings.parts_at_once, settings.parts_at_once_per_organisation
        self._parts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def caller(self, caller: str, *, counted: set[str] | None = None) -> None:
        """Counts a request of a client or a person.

        Args:
            caller: who it is.
            counted: who was counted for the page that it is made for, see `counted_for_page`.

        Raises:
            Limited: they have asked for too much.
        """
        if counted is not None:
            if caller in counted:
                return
            counted.add(caller)
        self._caller.check(caller, self._metrics)

    def address(self, address: str) -> None:
        """Counts a request of an address, whoever it is from; of IPv6, all addresses of a /64 are one.

        Raises:
            Limited: too much came from there.
        """
        self._address.check(_subscriber(address), self._metrics)

    def public(self, address: str) -> None:
        """Counts a request of somebody who has not said who they are and wants something done: a token, a session.

        Addresses count as in `address`.

        Raises:
            Limited: too much came from there.
        """
        self._public.check(_subscriber(address), self._metrics)

    @contextmanager
    def part_of(self, organisation: str) -> Iterator[None]:
        """Holds one of the places for parts of uploads, each of which is kept in memory as a whole.

        Raises:
            Limited: all of them are taken, or all that one organisation may have.
        """
        with self._lock:
            full = self._parts.total() >= self._parts_max or self._parts[organisation] >= self._parts_of_one_max
            if not full:
                self._parts[organisation] += 1
        if full:
            self._metrics.limited("parts")
            raise Limited(
                "Too many parts of uploads are on their way at once. Nothing was stored of this one. Send it again "
                "in a moment, and fewer at the same time.",
                retry_after_s=1,
            )
        try:
            yield
        finally:
            with self._lock:
                self._parts[organisation] -= 1
                if not self._parts[organisation]:
                    del self._parts[organisation]


def counted_for_page(scope: Mapping[str, Any]) -> set[str] | None:
    """Who was counted for the page that a request of this process is made for; None for a request from outside.

    A page makes many requests and is one: its own request was counted for the address, and whoever looks at it is
    counted once. Only code of this process puts anything into a scope.
    """
    found = scope.get(_PAGE)
    return found if isinstance(found, set) else None


def _subscriber(address: str) -> str:
    """The network of whoever has an address, as `source_of` gives it: a whole IPv4 address, the /64 of an IPv6 one."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    return f"{int(parsed) >> _SUBSCRIBER_BITS:x}/{_SUBSCRIBER_BITS}"
