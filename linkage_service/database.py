"""One engine, two kinds of transaction, and times that are always UTC."""

import select
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, ClauseElement, DateTime, Engine, Executable, Integer, Row, create_engine, event
from sqlalchemy.engine import Connection, Dialect, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection
from sqlalchemy.types import TypeDecorator
from sqlmodel import Session, SQLModel

# Sizes and counts pass 2^31; SQLite's INTEGER holds them, PostgreSQL's does not.
BigInt = BigInteger().with_variant(Integer(), "sqlite")
_LOCK_WAIT_MS, _BUSY_REWRITING_MS, _IDLE_WRITER_MS = 30_000, 250, 300_000
# The number of the advisory lock: the ASCII of "linkage", which nothing else in the database should use.
_WRITERS = 0x6C696E6B616765
_BEGINS, _READS_FIRST = "linkage_begins_with", "linkage_reads_first"
# A statement alone is a transaction by itself: to begin and to end one are two more ways to the server and back.
_ALONE = ""


@dataclass(frozen=True, slots=True)
class _Begins:
    """What each kind of transaction begins with: one text, so one way to the server and back.

    Attributes:
        writing: takes its turn, until it ends.
        reading: sees one snapshot.
        noting: does not wait for the disk.
    """

    writing: str
    reading: str
    noting: str


_SQLITE = _Begins(writing="BEGIN IMMEDIATE", reading="BEGIN", noting="BEGIN IMMEDIATE")
# A server's usual transaction sees what others commit between its statements. A writing one must, since it waits for
# its turn first; a reading one would see the head of one log and the leaves of a longer one. Writers wait for each
# other at the beginning: each of them appends to the one ledger at its end, and so would wait there anyway.
_SERVER = _Begins(
    writing=f"BEGIN; SELECT pg_advisory_xact_lock({_WRITERS})",
    reading="BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    noting="BEGIN; SET LOCAL synchronous_commit TO OFF",
)

# Names of constraints and indexes are part of the migrations, the same on every database.
SQLModel.metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcDateTime(TypeDecorator[datetime]):
    """A time zone aware UTC time in Python, kept without zone on databases that have none.

    Raises:
        ValueError: for a naive time, which would be ambiguous.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(
        self,
        value: datetime | None,
        dialect: Dialect,  # noqa: ARG002 - interface
    ) -> datetime | None:
        """To the database."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        return value.astimezone(UTC)

    def process_result_value(
        self,
        value: datetime | None,
        dialect: Dialect,  # noqa: ARG002 - interface
    ) -> datetime | None:
        """From the database."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Database:
    """The engine and its transactions.

    A writing transaction takes a lock at its start, SQLite's own (`BEGIN IMMEDIATE`) or an advisory one of a server, so
    what it read is still true when it commits: use cases look first and then act, and need no lock of a row. A reading
    one never blocks. A noting one is a writing one of a single statement that a power cut may undo.
    """

    def __init__(
        self,
        url: str,
        *,
        pool: int = 40,
        overflow: int = 10,
        reads_first: str | None = None,
        before_turn: Callable[[], None] = lambda: None,
    ) -> None:
        """Open nothing yet: connections are made when they are needed.

        Args:
            url: SQLAlchemy's address of it.
            pool: how many connections are kept open. The thread pool of the web server has 40 threads; each may hold
                one for a short while.
            overflow: how many more there may be for a short while.
            reads_first: a query, of which `first_row` gives the first row in each reading or writing transaction: a
                server answers it together with the beginning.
            before_turn: called before a writing transaction waits for its turn, in the same thread.
        """
        self._before_turn = before_turn
        self._sqlite = make_url(url).get_backend_name() == "sqlite"
        self.connections_max = pool + overflow
        begins = _SQLITE if self._sqlite else _SERVER
        self.engine = (_sqlite_engine if self._sqlite else _server_engine)(url, pool=pool, overflow=overflow)
        # A connection that does not wait for the disk is another one on SQLite, on a server a transaction of the same.
        self._hasty = (
            _sqlite_engine(url, pool=pool, overflow=overflow, synchronous="NORMAL") if self._sqlite else self.engine
        )
        with_query = self.engine.execution_options(**({_READS_FIRST: reads_first} if reads_first else {}))
        self._writer = taking_turns(with_query)
        self._reader = with_query.execution_options(**{_BEGINS: begins.reading})
        self._noter = self._hasty.execution_options(**{_BEGINS: begins.noting})
        self._looker = self.engine.execution_options(**{_BEGINS: _ALONE})
        self._jotter = self._hasty.execution_options(**{_BEGINS: _ALONE})

    @property
    def is_server(self) -> bool:
        """Whether each statement is a way to another process and back."""
        return not self._sqlite

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """One transaction, committed at the end of the block and rolled back on any error."""
        self._before_turn()
        with Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """One snapshot; nothing is written."""
        with Session(self._reader, expire_on_commit=False) as session:
            yield session
            # Closing gives the connection back and ends the snapshot; a rollback would expire the rows that were read.
            if not self._sqlite and session.in_transaction():
                # After a rollback, of which closing is one, the driver forgets the statements that it prepared.
                session.connection().exec_driver_sql("COMMIT")

    @contextmanager
    def noting(self) -> Iterator[Session]:
        """One small transaction that does not wait for the disk: for notes that are worthless after a power cut."""
        self._may_wait_to_note()
        with Session(self._noter, expire_on_commit=False) as session, session.begin():
            yield session

    def look(self, query: Executable, values: Mapping[str, Any]) -> Row[Any] | None:
        """The first row that a query gives; it sees one snapshot by itself."""
        with self._looker.connect() as connection:
            return connection.execute(query, values).first()

    def look_straight(self, query: str, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """The same of a query in the driver's own words, which gives values as the driver reads them."""
        # Not `connect`: what that does before and after the query takes longer than the query.
        dialect = self.engine.dialect
        with _errors_as_usual(dialect, None, lambda _: None):
            made = self.engine.raw_connection()
        with closing(made) as connection:
            driver: Any = connection.driver_connection
            with _errors_as_usual(dialect, driver, connection.invalidate):
                row: tuple[Any, ...] | None = driver.execute(query, values).fetchone()
                return row

    def jot(self, statement: Mapping[str, Executable], values: Mapping[str, Any]) -> int:
        """A note of a single statement, which does not wait for the disk; gives the number of rows.

        Args:
            statement: by the name of the dialect. PostgreSQL's has to call `set_config('synchronous_commit', 'off',
                true)` itself, SQLite's is sent over a connection that does not wait.
            values: of its parameters.
        """
        self._may_wait_to_note()
        with self._jotter.connect() as connection:
            return connection.execute(statement[connection.dialect.name], values).rowcount

    def _may_wait_to_note(self) -> None:
        # SQLite has one writer, whatever is written.
        if self._sqlite:
            self._before_turn()

    def leave_no_trace(self) -> bool:
        """Rewrites SQLite's file and empties its write-ahead log; False while another connection is in the way.

        `secure_delete` writes over what is deleted where it lies. It does not reach copies that were left behind in the
        free space of pages when rows moved between pages, nor pages as they were in the log: this does. A server's
        database does the like in its own time; see the operator's guide.
        """
        if not self._sqlite:
            return True
        connection = self.engine.raw_connection()
        try:
            cursor = connection.cursor()
            # Both hold up every writer while they wait for a reader to finish.
            cursor.execute(f"PRAGMA busy_timeout={_BUSY_REWRITING_MS}")
            try:
                cursor.execute("VACUUM")
                busy, _, _ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                cursor.execute(f"PRAGMA busy_timeout={_LOCK_WAIT_MS}")
        except sqlite3.OperationalError:
            return False
        finally:
            connection.close()
        return not busy

    def close(self) -> None:
        """Closes every connection."""
        self.engine.dispose()
        self._hasty.dispose()


def taking_turns(engine: Engine) -> Engine:
    """The same engine, each of whose transactions waits for its turn among the writers, and has it until it ends."""
    begins = _SQLITE if engine.dialect.name == "sqlite" else _SERVER
    return engine.execution_options(**{_BEGINS: begins.writing})


def _server_engine(url: str, *, pool: int, overflow: int) -> Engine:
    # The connection that was used last is used next: its process of the server has the statements prepared, and its
    # memory at hand. A failing statement must not carry its parameters into a log.
    engine = create_engine(url, pool_size=pool, max_overflow=overflow, pool_use_lifo=True, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _configure(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        connection.autocommit = True  # the driver must not begin transactions of its own
        with closing(connection.cursor()) as cursor:
            cursor.execute(f"SET lock_timeout = {_LOCK_WAIT_MS}")
            # A process that hangs, or that the network lost, must not keep the writers' turn for good.
            cursor.execute(f"SET idle_in_transaction_session_timeout = {_IDLE_WRITER_MS}")

    @event.listens_for(engine, "checkout")
    def _look(connection: DBAPIConnection, _entry: ConnectionPoolEntry, _proxy: PoolProxiedConnection) -> None:
        # The server says nothing to an idle connection but that it ends it, when it is started anew or told to. To look
        # costs nothing, and asking whether it lives a way to the server and back before every transaction.
        if _has_something_to_read(connection.fileno()):
            raise InvalidatePoolError

    _begin_with(engine, "BEGIN")
    return engine


def _has_something_to_read(socket: int) -> bool:
    waiting = select.poll()
    waiting.register(socket, select.POLLIN)
    return bool(waiting.poll(0))


def _sqlite_engine(url: str, *, pool: int, overflow: int, synchronous: str = "FULL") -> Engine:
    engine = create_engine(
        url,
        connect_args={"timeout": _LOCK_WAIT_MS / 1000, "check_same_thread": False},
        pool_size=pool,
        max_overflow=overflow,
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # the driver must not begin transactions of its own
        for pragma in (
            "journal_mode=WAL",
            f"synchronous={synchronous}",
            "foreign_keys=ON",
            f"busy_timeout={_LOCK_WAIT_MS}",
            # What is deleted or written over leaves no bytes in the file.
            "secure_delete=ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    _begin_with(engine, _SQLITE.writing)
    return engine


def _begin_with(engine: Engine, otherwise: str) -> None:
    """Has transactions of an engine begin with what its options say, or with something else where they say nothing."""

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        begins: str = options.get(_BEGINS, otherwise)
        query: str | None = options.get(_READS_FIRST)
        # The next transaction of a connection must not find what this one has read.
        connection.info.pop(_READS_FIRST, None)
        if begins != _ALONE:
            with straight_to_driver(connection) as driver:
                if query is None:
                    driver.execute(begins)
                else:
                    connection.info[_READS_FIRST] = [_begun(driver, begins, query)]


def _begun(driver: Any, begins: str, query: str) -> tuple[Any, ...] | None:
    """Begins a transaction and gives the first row that a query has in it."""
    row: tuple[Any, ...] | None
    if isinstance(driver, sqlite3.Connection):
        driver.execute(begins)
        row = driver.execute(query).fetchone()
        return row
    with driver.execute(f"{begins}; {query}") as cursor:
        while cursor.nextset():
            pass
        row = cursor.fetchone()
        return row


def first_row(session: Session, query: str) -> tuple[Any, ...] | None:
    """The first row of the query that the database of this transaction reads first; if it reads none, it is asked."""
    connection = session.connection()
    read: list[tuple[Any, ...] | None] | None = connection.info.get(_READS_FIRST)
    if read is None:
        return connection.exec_driver_sql(query).first()
    return read[0]


def in_words_of_server(statement: ClauseElement) -> str:
    """A statement as PostgreSQL's driver takes it."""
    return str(statement.compile(dialect=make_url("postgresql+psycopg://").get_dialect()()))


@contextmanager
def straight_to_driver(connection: Connection) -> Iterator[Any]:
    """The driver's connection, which executes a statement in a third of the time that it takes to hand it down.

    For what other writers wait for. An error is the one that it would have been: a `DBAPIError`.
    """
    driver = connection.connection.driver_connection
    with _errors_as_usual(connection.dialect, driver, connection.invalidate):
        yield driver


@contextmanager
def _errors_as_usual(
    dialect: Dialect, driver: Any, invalidate: Callable[[BaseException | None], None]
) -> Iterator[None]:
    try:
        yield
    except dialect.loaded_dbapi.Error as error:
        if dialect.is_disconnect(error, driver, None):
            invalidate(error)
        raise DBAPIError.instance(
            None, None, error, dialect.loaded_dbapi.Error, hide_parameters=True, dialect=dialect
        ) from error
