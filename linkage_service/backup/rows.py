"""Rows of every table as lines of JSON, the same from SQLite and PostgreSQL: what one gave, the other takes.

A copy by the database's own tools would be faster, and would tie a backup to one database, its version and its
programs. This is read with nothing but Python, and takes a service from SQLite to PostgreSQL.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Table, select
from sqlmodel import Session, SQLModel

_ROWS_AT_ONCE = 1_000
_BYTES, _TIME, _JSON = "bytes", "time", "json"
# What is worthless after minutes, and what migrations write.
_LEFT_OUT = frozenset({"seen_once", "serving_revision"})


def tables() -> list[Table]:
    """Every table of this release that a backup holds, each after those that it refers to."""
    return [table for table in SQLModel.metadata.sorted_tables if table.name not in _LEFT_OUT]


def write(session: Session, table: Table, file: Path) -> tuple[int, str]:
    """Writes the rows of a table as this transaction sees them; gives how many there are, and the file's SHA-256."""
    digest, count = hashlib.sha256(), 0
    query = select(table).order_by(*table.primary_key.columns).execution_options(yield_per=_ROWS_AT_ONCE)
    with file.open("wb") as out:
        for row in session.execute(query):
            line = json.dumps([_plain(value) for value in row], separators=(",", ":")).encode() + b"\n"
            digest.update(line)
            out.write(line)
            count += 1
    return count, digest.hexdigest()


def load(session: Session, table: Table, file: Path) -> int:
    """Puts rows back, into a table that holds nothing but what migrations made; gives how many."""
    keys = [column.name for column in table.primary_key.columns]
    made = {tuple(row) for row in session.execute(select(*table.primary_key.columns))}
    count = 0
    for rows in _batches(table, file):
        new = []
        for row in rows:
            if tuple(row[name] for name in keys) in made:
                same = [table.c[name] == row[name] for name in keys]
                session.execute(table.update().where(*same).values(**row))
            else:
                new.append(row)
        if new:
            session.execute(table.insert(), new)
        count += len(rows)
    return count


def read(table: Table, file: Path) -> Iterator[dict[str, Any]]:
    """The rows that a file holds, by the names of the table's columns."""
    for rows in _batches(table, file):
        yield from rows


def _batches(table: Table, file: Path) -> Iterator[list[dict[str, Any]]]:
    names = [column.name for column in table.columns]
    batch: list[dict[str, Any]] = []
    with file.open("rb") as lines:
        for line in lines:
            values = [_value(value) for value in json.loads(line)]
            batch.append(dict(zip(names, values, strict=True)))
            if len(batch) == _ROWS_AT_ONCE:
                yield batch
                batch = []
    if batch:
        yield batch


def _plain(value: Any) -> Any:
    match value:
        case bytes():
            return {_BYTES: base64.b64encode(value).decode()}
        case datetime():
            return {_TIME: value.isoformat()}
        case dict() | list():
            return {_JSON: value}
        case _:
            return value


def _value(plain: Any) -> Any:
    match plain:
        case {"bytes": str(text)}:
            return base64.b64decode(text)
        case {"time": str(text)}:
            return datetime.fromisoformat(text)
        case {"json": value}:
            return value
        case _:
            return plain
