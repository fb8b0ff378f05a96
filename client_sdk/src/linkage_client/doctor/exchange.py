"""Whether secrets can be shared from this machine: its exchange keys, and whether the service shows their card."""

from collections.abc import Iterator

from linkage_client.client import LinkageClient
from linkage_client.config import Profile
from linkage_client.doctor.findings import Finding, Verdict
from linkage_client.errors import NotFoundError
from linkage_client.exchange.storage import exchange_keys_of, is_behind_passphrase, place_of, unfinished
from linkage_client.models import PublishedKeyCard

_CHECK = "exchange keys"
_ANALYST = "analyst"


def exchange_findings(client: LinkageClient, profile: Profile) -> Iterator[Finding]:
    """What an analyst's machine needs to share and accept secrets."""
    if unfinished(profile):
        yield Finding(
            _CHECK,
            Verdict.LOOK,
            "A change of exchange keys was begun and not ended.",
            "`linkage keys init` ends it.",
        )
        return
    if place_of(profile) is None:
        if _ANALYST in client.me().client.roles:
            yield Finding(
                _CHECK,
                Verdict.LOOK,
                "None are kept here, so this machine cannot share or accept a linkage secret.",
                "`linkage keys init` makes them, once for all projects, on the machine that encodes; `linkage keys "
                "import` brings those of a colleague's machine.",
            )
        return
    shown = _shown(client, profile)
    if shown is None:
        yield Finding(
            _CHECK,
            Verdict.LOOK,
            "Exchange keys are kept here, and the service shows no card of your organisation.",
            "`linkage keys init` publishes it.",
        )
    elif is_behind_passphrase(profile):
        yield Finding(
            _CHECK,
            Verdict.OK,
            "Exchange keys are kept here, sealed with a passphrase. `linkage keys show` says whether the service shows "
            "their card.",
        )
    else:
        yield _compared(profile, shown)


def _compared(profile: Profile, shown: PublishedKeyCard) -> Finding:
    keys = exchange_keys_of(profile)
    if keys is not None and keys.card(profile.organisation_id).digest == shown.digest:
        return Finding(_CHECK, Verdict.OK, f"The service shows the card of the exchange keys here, {keys.thumbprint}.")
    return Finding(
        _CHECK,
        Verdict.FAILED,
        "The service shows a key card of your organisation that is not of the exchange keys here.",
        "If a colleague made keys on another machine, use one set: `linkage keys export` there, `linkage keys import "
        "--replace` here. If nobody did, share nothing, and tell the linkage unit and your officer.",
    )


def _shown(client: LinkageClient, profile: Profile) -> PublishedKeyCard | None:
    try:
        return client.keys.card(organisation_id=profile.organisation_id)
    except NotFoundError:
        return None
