"""A network that resets connections and delivers requests twice: a round through it ends as any other."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from linkage_client import LinkageClient
from linkage_client.config import load_profile
from linkage_client.demo import flow
from linkage_client.errors import IncompleteDownloadError
from linkage_client.keystore import client_key_of
from linkage_client.testing.rounds import Round, open_round
from linkage_client.testing.service import RunningService
from support.meddling_proxy import Meddling, MeddlingProxy

ROWS = 300
ONCE = {"upload.declared": 2, "upload.completed": 2, "run.requested": 1, "run.succeeded": 1, "release.granted": 1}


@contextmanager
def through(proxy: MeddlingProxy, round_: Round) -> Iterator[Round]:
    """The same round, with every party's requests through the proxy."""
    with ExitStack() as stack:

        def moved(member: flow.Member) -> flow.Member:
            profile = load_profile(member.profile)
            client = LinkageClient(
                service_url=proxy.url,
                client_id=profile.client_id,
                client_key=client_key_of(profile),
                ledgers_folder=None,
            )
            return replace(member, client=stack.enter_context(client))

        yield replace(round_, providers=[*map(moved, round_.providers)], recipient=moved(round_.recipient))


def retrieve(provider: flow.Member, *, release_id: str) -> int:
    """A table that was cut off is fetched anew, as a person would who is told so."""
    for _ in range(9):
        try:
            return flow.retrieve(provider, release_id=release_id)
        except IncompleteDownloadError:
            continue
    raise AssertionError("no table ever came to its end")


def test_round_over_a_network_that_resets_and_repeats_does_everything_once(tmp_path: Path) -> None:
    with (
        RunningService(tmp_path) as service,
        open_round(service, rows=ROWS) as undisturbed,
        MeddlingProxy(service.url, never_twice="/v1/oauth/token") as proxy,
        through(proxy, undisturbed) as round_,
    ):
        round_.upload_all()
        run = round_.match()
        granted = round_.release(run)
        assert [retrieve(member, release_id=granted.id) for member in round_.providers] == [ROWS, ROWS]

        assert all(proxy.done[meddling] > 1 for meddling in Meddling)
        # A proof counts once, so a copy is not let in, whichever of the two came first.
        assert set(proxy.copies) <= {200, 201, 202, 204, 401}
        assert proxy.copies[401]
        events = list(service.unit.officer.client.audit.events(project_id=round_.project.id))
        happened = Counter(event.header["type"] for event in events)
        assert {name: happened[name] for name in ONCE} == ONCE
        _, kept = flow.keep_checkpoint(service.unit, undisturbed.recipient)
        report = service.verify_ledger(against=kept)
        assert report["verified"], report["findings"]
