from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from linkage_console import charts, keeping
from linkage_console.work import Terms, Work

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
ENDS = datetime(2026, 6, 1, tzinfo=UTC)
_TIMES = st.lists(
    st.tuples(
        st.sampled_from(keeping.KINDS),
        st.datetimes(min_value=datetime(2025, 1, 1), max_value=datetime(2090, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - the zone is the last argument
    ),
    min_size=1,
    max_size=30,
)


def _work(*, state: str = "active", **lists: Any) -> Work:
    terms = Terms(
        reference="ISP-1", state=state, least=10, encodings_days=30, link_tables_days=90, bodies_days=365,
        access_request_days=30, ends=ENDS, tells_overlap=True,
    )  # fmt: skip
    found: dict[str, Any] = {"uploads": [], "runs": [], "releases": [], "holds": [], **lists}
    return Work(project={"id": "prj_1", "name": "Spring"}, terms=terms, **found)


def _upload(day: str, state: str = "complete") -> dict[str, str]:
    return {"id": "upl_1", "organisation": "org_p", "state": state, "delete_by": f"{day}T00:00:00Z"}


def _run(day: str, state: str = "succeeded") -> dict[str, str]:
    return {"id": "run_1", "state": state, "finished_at": f"{day}T00:00:00Z"}


def _release(day: str) -> dict[str, str]:
    return {
        "id": "rel_1", "run": "run_1", "recipient": "org_r", "state": "released", "delete_by": f"{day}T00:00:00Z",
    }  # fmt: skip


def _hold(kind: str, thing: str, ground: str) -> dict[str, str]:
    return {"kind": kind, "object": thing, "ground": ground}


def test_kept_things_are_deleted_at_their_date_or_the_end_of_the_agreement() -> None:
    work = _work(uploads=[_upload("2026-04-01")], runs=[_run("2026-03-01")], releases=[_release("2026-07-01")])
    upload, run, release = keeping.kept(work, now=NOW)
    assert (upload.kind, upload.due, upload.ended) == ("upload", datetime(2026, 4, 1, tzinfo=UTC), False)
    assert (run.kind, run.due, run.ended) == ("run", datetime(2026, 5, 30, tzinfo=UTC), False)
    assert (release.kind, release.due, release.ended) == ("release", ENDS, True)
    assert not any(one.overdue(NOW) for one in (upload, run, release))


def test_what_is_deleted_or_has_no_result_is_not_kept() -> None:
    work = _work(
        uploads=[_upload("2026-04-01", "deleted")],
        runs=[_run("2026-03-01", "deleted"), _run("2026-03-01", "failed")],
        releases=[{**_release("2026-04-01"), "state": "deleted"}],
    )
    assert keeping.kept(work, now=NOW) == []


def test_everything_is_due_at_once_when_the_agreement_was_terminated() -> None:
    work = _work(state="terminated", uploads=[_upload("2026-04-01")], runs=[_run("2026-03-01")])
    assert all(one.overdue(NOW) and one.ended for one in keeping.kept(work, now=NOW))


def test_hold_keeps_a_run_with_its_releases_and_a_release_its_run_on_two_grounds_only() -> None:
    lists: dict[str, Any] = {"runs": [_run("2025-10-01")], "releases": [_release("2025-12-30")]}
    for hold, held in (
        (_hold("run", "run_1", "legal_claims"), ["legal_claims", "legal_claims"]),
        (_hold("release", "rel_1", "unlawful"), ["unlawful", "unlawful"]),
        (_hold("run", "run_1", "accuracy"), [None, None]),
        (_hold("release", "rel_2", "unlawful"), [None, None]),
    ):
        assert [one.held for one in keeping.kept(_work(holds=[hold], **lists), now=NOW)] == held, hold


def _things(times: list[tuple[keeping.Kind, datetime]]) -> list[keeping.Kept]:
    return [
        keeping.Kept(
            kind=kind, path="", project="", reference="", organisation="", due=due, ended=False, held=None
        )
        for kind, due in times
    ]  # fmt: skip


@given(_TIMES)
def test_spans_count_everything_once_in_its_time(times: list[tuple[keeping.Kind, datetime]]) -> None:
    step, spans = keeping.spans(_things(times), now=NOW)
    assert len(spans) <= 11
    assert spans[0].begins is None
    assert sum(spans[0].counts.values()) == sum(due <= NOW for _, due in times)
    for span in spans[1:]:
        assert span.begins is not None
        within = [due for _, due in times if due > NOW and span.begins <= due < span.begins + step]
        assert sum(span.counts.values()) == len(within)
    assert sum(sum(span.counts.values()) for span in spans) == len(times)


@given(_TIMES)
def test_deletions_chart_has_a_bar_with_its_count_for_each_kind_and_time(
    times: list[tuple[keeping.Kind, datetime]],
) -> None:
    _, spans = keeping.spans(_things(times), now=NOW)
    bars = sum(count > 0 for span in spans for count in span.counts.values())
    overdue = sum(count > 0 for count in spans[0].counts.values())
    for drawing in ET.fromstring(f"<both>{charts.deletions_chart(spans)}</both>"):  # noqa: S314 - our own
        boxes = [box for box in drawing.iter("rect") if float(box.attrib["height"]) > 0]
        assert len(boxes) == bars
        assert sum(box.attrib["class"] == "overdue" for box in boxes) == overdue
        words = [piece.text for piece in drawing.iter("text")]
        assert {"Uploads", "Results of runs", "Releases", "overdue", "today"} <= set(words)


def test_days_are_counted_by_the_calendar() -> None:
    (late,) = _things([("run", NOW - timedelta(hours=13))])
    assert late.days(NOW) == 1
