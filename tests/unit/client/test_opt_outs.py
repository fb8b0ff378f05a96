import datetime as dt
from types import SimpleNamespace

import click
import pytest

from linkage_client.cli._opt_outs import opt_outs_day
from linkage_client.errors import ConfigurationError, PackageError
from linkage_client.opt_outs import check_day, day_of, parse_day, written

TODAY = dt.date(2026, 3, 1)


def test_day_is_read_as_it_is_written() -> None:
    assert parse_day("2026-02-28", today=TODAY) == dt.date(2026, 2, 28)
    assert parse_day(" Today ", today=TODAY) == TODAY
    assert day_of({"opt_outs_applied_at": written(TODAY)}) == TODAY
    assert day_of({"opt_outs_applied_at": dt.datetime(2026, 3, 1, 0, 30, tzinfo=dt.UTC)}) == TODAY


@pytest.mark.parametrize("text", ["2026-03-02", "1 March", ""])
def test_day_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_day(text, today=TODAY)


@pytest.mark.parametrize("manifest", [{}, {"opt_outs_applied_at": None}, {"opt_outs_applied_at": "soon"}])
def test_manifest_without_a_day_has_none(manifest: dict[str, str | None]) -> None:
    assert day_of(manifest) is None


@pytest.mark.parametrize(("days_ago", "allowed"), [(0, True), (29, True), (30, False)])
def test_day_is_allowed_until_opt_outs_must_be_applied_again(days_ago: int, *, allowed: bool) -> None:
    day = TODAY - dt.timedelta(days=days_ago)
    if allowed:
        check_day(day, reapply_days=30, today=TODAY)
        return
    with pytest.raises(PackageError, match="Nothing was sent"):
        check_day(day, reapply_days=30, today=TODAY)


def test_no_day_is_needed_where_the_agreement_asks_for_none() -> None:
    check_day(None, reapply_days=None, today=TODAY)
    with pytest.raises(PackageError):
        check_day(None, reapply_days=30, today=TODAY)


def test_script_without_a_day_that_the_agreement_needs_is_told_how_to_say_it() -> None:
    session = SimpleNamespace(as_json=True, quiet=False)
    with pytest.raises(click.UsageError, match="--opt-outs-applied today"):
        opt_outs_day(session, None, reapply_days=30)  # type: ignore[arg-type]  # what it looks at
    assert opt_outs_day(session, None, reapply_days=None) is None  # type: ignore[arg-type]  # as above
    with pytest.raises(ConfigurationError, match="Nothing was encoded"):
        opt_outs_day(session, "2020-01-01", reapply_days=30)  # type: ignore[arg-type]  # as above
