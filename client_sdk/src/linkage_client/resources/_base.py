"""What every noun of the SDK does in the same way: ask, parse the answer, walk through pages."""

from collections.abc import Iterator, Mapping
from typing import Any, Generic, Self, TypeVar

from pydantic import ValidationError

from linkage_client import models
from linkage_client._protocol import Answer
from linkage_client._transport import Transport
from linkage_client.errors import ConfigurationError, UnexpectedAnswerError

Model = TypeVar("Model", bound=models.Answer)
PAGE_ROWS = 100
# A page may be empty where a service filters what it has found; so many in a row are a fault.
EMPTY_PAGES = 50


class Resource:
    """One noun of the API on one connection."""

    __slots__ = ("_transport",)

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def _get(self, path: str, model: type[Model], **parts: Any) -> Model:
        return parsed(self._transport.send("GET", path, **parts), model)

    def _post(
        self,
        path: str,
        body: Mapping[str, Any],
        model: type[Model],
        *,
        idempotency_key: str | None = None,
        **parts: Any,
    ) -> Model:
        if idempotency_key is not None:
            parts["headers"] = {**parts.get("headers", {}), "Idempotency-Key": idempotency_key}
        return parsed(self._transport.send("POST", path, json_body=dict(body), **parts), model)

    def _items(
        self, path: str, model: type[Model], *, limit: int | None = None, params: Mapping[str, Any] | None = None
    ) -> "Listing[Model]":
        return Listing(self._transport, path, Pages(model, limit=limit, params=params))


class Pages(Generic[Model]):
    """Which page of a list to ask for next, and what is in it. Sends nothing."""

    def __init__(
        self, model: type[Model], *, limit: int | None = None, params: Mapping[str, Any] | None = None
    ) -> None:
        if limit is not None and limit < 0:
            raise ConfigurationError("A limit is the number of items wanted: 0 or more.")
        self._model = model
        self._params = dict(params or {})
        self._left = limit
        self._cursor: str | None = None
        self._seen: set[str] = set()
        self._empty = 0
        self._ended = False

    def next_params(self) -> dict[str, Any] | None:
        """The query of the next page, None where there is none, or no more is wanted."""
        if self._ended or self._left == 0:
            return None
        params = {**self._params, "limit": PAGE_ROWS if self._left is None else min(PAGE_ROWS, self._left)}
        return params if self._cursor is None else {**params, "cursor": self._cursor}

    def items(self, answer: Answer) -> list[Model]:
        """What is in a page that was asked for.

        Raises:
            UnexpectedAnswerError: it is no page, or the pages do not come to an end.
        """
        page = answer.json()
        listed = page.get("items") if isinstance(page, dict) else None
        if not isinstance(listed, list):
            raise _unexpected(answer)
        self._follow(page.get("next_cursor"), answer)
        self._empty = 0 if listed else self._empty + 1
        if self._empty > EMPTY_PAGES:
            raise _unexpected(answer)
        if self._left is not None:
            listed = listed[: self._left]
            self._left -= len(listed)
        return [validated(item, self._model, answer) for item in listed]

    def _follow(self, cursor: Any, answer: Answer) -> None:
        if cursor is None:
            self._ended = True
            return
        # Without this a faulty service keeps the caller in the loop for ever.
        if not isinstance(cursor, str) or cursor in self._seen:
            raise _unexpected(answer)
        self._seen.add(cursor)
        self._cursor = cursor


class Listing(Iterator[Model]):
    """All items of a list, oldest first, each page fetched when it is needed. Can be walked through once."""

    def __init__(self, transport: Transport, path: str, pages: Pages[Model]) -> None:
        self._transport = transport
        self._path = path
        self._pages = pages
        self._waiting: list[Model] = []

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Model:
        while not self._waiting:
            params = self._pages.next_params()
            if params is None:
                raise StopIteration
            self._waiting = self._pages.items(self._transport.send("GET", self._path, params=params))[::-1]
        return self._waiting.pop()

    def first(self) -> Model | None:
        """The next item, None where there is none."""
        return next(self, None)


def parsed(answer: Answer, model: type[Model]) -> Model:
    """The answer as a model that knows its request id.

    Raises:
        UnexpectedAnswerError: it has another shape.
    """
    found = validated(answer.json(), model, answer)
    return found.came_with(request_id=answer.request_id, ledger_event=answer.ledger_event)


def validated(content: Any, model: type[Model], answer: Answer) -> Model:
    """Part of an answer as a model.

    Raises:
        UnexpectedAnswerError: it has another shape.
    """
    try:
        return model.model_validate(content)
    except ValidationError:
        raise _unexpected(answer) from None


def _unexpected(answer: Answer) -> UnexpectedAnswerError:
    return UnexpectedAnswerError(
        "The answer does not have the shape that this version of the client knows. "
        "Check the service's address and whether client and service are of matching versions.",
        status=answer.status,
        request_id=answer.request_id,
    )
