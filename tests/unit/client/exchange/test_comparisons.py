"""What people have compared is remembered card by card, and what cannot be read counts as not compared."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linkage_client.config import Profile
from linkage_client.errors import ConfigurationError
from linkage_client.exchange.cards import KeyCard
from linkage_client.exchange.comparisons import Comparisons, Differences
from linkage_client.exchange.keyset import Keyset
from linkage_client.exchange.private_keys import ExchangeKeys
from linkage_client.exchange.suites import Suite
from support.exchange_documents import PROJECT, spoilt

AT = datetime(2026, 11, 28, 12, 34, 56, tzinfo=UTC)


@pytest.fixture
def comparisons(tmp_path: Path) -> Comparisons:
    return Comparisons(
        Profile(path=tmp_path / "profile.toml", service_url="https://a", organisation_id="org_1", client_id="cli_1")
    )


def _keyset(*cards: KeyCard, epoch: int = 3, project: str = PROJECT, suite: Suite = Suite.X25519) -> Keyset:
    return Keyset(project_id=project, epoch=epoch, suite=suite, cards=cards)


def test_nothing_is_confirmed_before_it_was_compared(comparisons: Comparisons, keyset: Keyset) -> None:
    assert not comparisons.confirmed(keyset)
    assert comparisons.compared_at(keyset) is None
    assert comparisons.changes(keyset) == []


def test_what_was_compared_is_confirmed_in_a_later_process(comparisons: Comparisons, keyset: Keyset) -> None:
    comparisons.add(keyset, AT)
    later = Comparisons(comparisons.profile)
    assert later.confirmed(keyset)
    assert later.compared_at(keyset) == AT
    assert later.changes(keyset) == []


def test_comparison_counts_for_its_project_epoch_and_suite_only(
    comparisons: Comparisons, cards: dict[str, KeyCard]
) -> None:
    shown = list(cards.values())
    comparisons.add(_keyset(*shown), AT)
    for other in (
        _keyset(*shown, epoch=4),
        _keyset(*shown, epoch=2),
        _keyset(*shown, project="prj_2"),
        _keyset(*shown, suite=Suite.MLKEM768_X25519),
    ):
        assert not comparisons.confirmed(other)


def test_changes_name_whose_card_differs_was_added_or_is_gone(
    comparisons: Comparisons, cards: dict[str, KeyCard]
) -> None:
    north, south, west = cards.values()
    comparisons.add(_keyset(north, south, west), AT)
    now = _keyset(north, ExchangeKeys.generate().card("org_south"), ExchangeKeys.generate().card("org_east"))
    assert not comparisons.confirmed(now)
    assert comparisons.differences(now) == Differences(changed=("org_south",), added=("org_east",), gone=("org_west",))
    assert comparisons.changes(now) == ["org_east", "org_south", "org_west"]


def test_changes_in_a_new_epoch_are_those_since_the_latest_one_before(
    comparisons: Comparisons, cards: dict[str, KeyCard]
) -> None:
    north, south, west = cards.values()
    comparisons.add(_keyset(north, epoch=1), AT)
    comparisons.add(_keyset(north, south, epoch=10), AT)
    comparisons.add(_keyset(west, epoch=12), AT)
    comparisons.add(_keyset(west, epoch=11, project="prj_10"), AT)
    assert comparisons.changes(_keyset(north, south, epoch=11)) == []
    assert comparisons.changes(_keyset(north, south, epoch=9)) == ["org_south"]
    assert not comparisons.confirmed(_keyset(north, south, epoch=11))


def test_newer_comparison_of_an_epoch_replaces_the_older(comparisons: Comparisons, cards: dict[str, KeyCard]) -> None:
    older, newer = _keyset(*cards.values()), _keyset(*list(cards.values())[:2])
    comparisons.add(older, AT)
    comparisons.add(newer, AT)
    assert comparisons.confirmed(newer)
    assert not comparisons.confirmed(older)


def test_file_with_any_member_changed_confirms_nothing_wrong(
    comparisons: Comparisons, cards: dict[str, KeyCard]
) -> None:
    keyset = _keyset(*cards.values())
    comparisons.add(keyset, AT)
    (file,) = comparisons.folder.iterdir()
    kept = json.loads(file.read_text())
    for how, document in spoilt(kept):
        try:
            file.write_text(json.dumps(document))
        except TypeError:
            continue
        # Other cards beside the right digest are no other keyset; a time is no part of it either.
        if how.split(" ")[0] not in {"cards", "at"}:
            assert not comparisons.confirmed(keyset), how
        comparisons.changes(keyset)


@pytest.mark.parametrize(
    "raw", [b"", b"\xff", b"[]", b"{", b"[" * 9999], ids=["empty", "no text", "list", "cut", "deep"]
)
def test_damaged_file_counts_as_not_compared_and_is_replaced(
    comparisons: Comparisons, keyset: Keyset, raw: bytes
) -> None:
    comparisons.add(keyset, AT)
    (file,) = comparisons.folder.iterdir()
    file.write_bytes(raw)
    assert not comparisons.confirmed(keyset)
    assert comparisons.changes(keyset) == []
    comparisons.add(keyset, AT)
    assert comparisons.confirmed(keyset)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_parser_of_comparisons_takes_no_other_bytes(
    comparisons: Comparisons, cards: dict[str, KeyCard], raw: bytes
) -> None:
    keyset = _keyset(*cards.values())
    comparisons.folder.mkdir(exist_ok=True)
    (comparisons.folder / f"{PROJECT}.3.json").write_bytes(raw)
    assert not comparisons.confirmed(keyset)
    assert comparisons.changes(keyset) == []


def test_comparison_that_breaks_while_it_is_written_leaves_the_older(
    comparisons: Comparisons, cards: dict[str, KeyCard], monkeypatch: pytest.MonkeyPatch
) -> None:
    older = _keyset(*cards.values())
    comparisons.add(older, AT)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(ConfigurationError, match="cannot be written: No space left"):
        comparisons.add(_keyset(*list(cards.values())[:1]), AT)
    assert comparisons.confirmed(older)


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_files_can_be_read_by_their_owner_only(comparisons: Comparisons, keyset: Keyset) -> None:
    comparisons.add(keyset, AT)
    assert comparisons.folder.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in comparisons.folder.iterdir())
