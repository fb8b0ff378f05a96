"""A whole linkage as steps of its parties, each done through the SDK over HTTP as the party itself would do it.

The demo plays these steps in order; tests use them to get to the state that they need. Every party has a folder of its
own with its keys, its profile file, its secret and its files, so nothing is shared here that parties would not share.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from linkage_client.agreed import agreed_terms
from linkage_client.client import LinkageClient
from linkage_client.config import Profile, load_profile, save_profile
from linkage_client.demo.agreement import PURPOSE, AgreedData, Signatory, draft
from linkage_client.demo.inputs import LINKAGE_UNIT, slug
from linkage_client.demo.service import LocalService
from linkage_client.encoding.normalise import DEFAULT_NORMALISATION, normalisation
from linkage_client.encoding.package import ENCODINGS_FILE, ROWS_FILE, encode_file
from linkage_client.encoding.package_files import WITHHELD_FILE
from linkage_client.encoding.schema import LinkageSchema
from linkage_client.errors import LocalServiceError, PolicyRefusalError, UnexpectedAnswerError
from linkage_client.exchange.ceremony import Ceremony
from linkage_client.joining import (
    Columns,
    ExtractFormat,
    identifier_columns,
    join_extract,
    telling_columns,
    write_links,
)
from linkage_client.keys import SigningKey
from linkage_client.keystore import SECRETS_FOLDER, Secrets
from linkage_client.merging import Duplicates, How, Payload, merge_payloads
from linkage_client.models import Agreement, Project, Release, Run, Upload
from linkage_client.provenance import Provenance, note_path
from linkage_ledger.checkpoints import Checkpoint, verify_checkpoint
from linkage_ledger.errors import LedgerError
from linkage_ledger.notes import VerifierKey

PROVIDER: Final = "provider"
RECIPIENT: Final = "recipient"
CLIENT_ROLES: Final[Mapping[str, tuple[str, ...]]] = {
    PROVIDER: ("analyst", "signatory"),
    RECIPIENT: ("recipient", "signatory"),
}
PROFILE_FILE: Final = "profile.toml"
ENCODED_FOLDER: Final = "encoded"
LINKS_FILE: Final = "links.csv"
JOINED_FILE: Final = "for-recipient.csv"
RECEIVED_FOLDER: Final = "received"


@dataclass(frozen=True, slots=True)
class Member:
    """One machine of one organisation: its folder and its connection to the service."""

    name: str
    role: str
    organisation_id: str
    folder: Path
    profile: Path
    client: LinkageClient
    signing_key: SigningKey | None = None
    """Only where the machine is a signatory's."""

    def close(self) -> None:
        """Close the connection."""
        self.client.close()


@dataclass(frozen=True, slots=True)
class Unit:
    """The linkage unit: its two machines, and the key of its log, to be published."""

    administrator: Member
    officer: Member
    verifier_key: str

    def close(self) -> None:
        """Close the connections."""
        self.administrator.close()
        self.officer.close()


def start_unit(service: LocalService, folder: Path, *, outlives_caller: bool = False) -> Unit:
    """Make the data directory, start the service, and connect as its administrator and as its officer."""
    folders = {name: folder / name for name in ("administrator", "officer")}
    keys = {}
    for name, place in folders.items():
        place.mkdir(parents=True)
        keys[name] = SigningKey.generate()
        keys[name].save(place / "client-key.jwk")
        (place / "client-key.public.jwk").write_text(json.dumps(keys[name].public_jwk), encoding="utf-8")
    made = service.initialise(
        organisation=LINKAGE_UNIT,
        administrator_jwk=folders["administrator"] / "client-key.public.jwk",
        officer_jwk=folders["officer"] / "client-key.public.jwk",
    )
    service.start(outlives_caller=outlives_caller)
    try:
        organisation, clients = str(made["organisation"]), dict(made["clients"])
        members = {
            name: _member(
                name=LINKAGE_UNIT,
                role=name,
                folder=place,
                service_url=service.url,
                organisation_id=organisation,
                client_id=str(clients[name]),
            )
            for name, place in folders.items()
        }
        verifier_key = str(made["log_verifier_key"])
    except (KeyError, TypeError, ValueError):
        raise LocalServiceError(
            "`linkage-service init` answered in another form. Check that client and service are of matching versions."
        ) from None
    return Unit(administrator=members["administrator"], officer=members["officer"], verifier_key=verifier_key)


def register(unit: Unit, *, name: str, role: str, folder: Path, service_url: str) -> Member:
    """Have the administrator invite an organisation, and register it: `role` is "provider" or "recipient"."""
    organisation = unit.administrator.client.organisations.create(name=name)
    invitation = unit.administrator.client.organisations.invite(organisation_id=organisation.id)
    folder.mkdir(parents=True)
    client_key, signing_key = SigningKey.generate(), SigningKey.generate()
    client_key.save(folder / "client-key.jwk")
    signing_key.save(folder / "signing-key.jwk")
    with LinkageClient(service_url=service_url) as public:
        registration = public.organisations.register(
            invitation=invitation.token,
            signing_key=signing_key,
            client_key=client_key,
            client_name=f"{slug(name)}-1",
            roles=CLIENT_ROLES[role],
        )
    return _member(
        name=name,
        role=role,
        folder=folder,
        service_url=service_url,
        organisation_id=registration.organisation.id,
        client_id=registration.client.id,
        signing_key=signing_key,
    )


def agree(
    parties: Sequence[Member],
    *,
    schema: LinkageSchema,
    completeness: Mapping[str, float],
    encoding_profile: str | None = None,
    reference: str | None = None,
    feasibility: bool = False,
    now: datetime | None = None,
) -> Agreement:
    """Draft (the last party does), propose, and sign for every party; the agreement is then active.

    A service takes each reference once; without one the agreement gets that of the demo. For `feasibility` it allows
    the summary alone.
    """
    document = draft(
        [Signatory(organisation_id=party.organisation_id, name=party.name, roles=(party.role,)) for party in parties],
        data=AgreedData(
            linkage_schema_sha256=schema.digest,
            identifier_fields=schema.hashed_fields,
            completeness=completeness,
            encoding_profile=encoding_profile,
            outputs=("summary",) if feasibility else ("link_table_blind", "summary"),
        ),
        now=now or datetime.now(UTC),
    )
    if reference is not None:
        document["reference"] = reference
    drafted = parties[-1].client.agreements.create(document=document)
    parties[-1].client.agreements.propose(agreement_id=drafted.id, version=drafted.version)
    signed = drafted
    for party in parties:
        if party.signing_key is None:
            raise ValueError(party.name)
        signed = party.client.agreements.sign(
            agreement_id=drafted.id, version=drafted.version, signing_key=party.signing_key
        )
    return signed


def open_project(
    member: Member, *, agreement: Agreement, schema: LinkageSchema, name: str, feasibility: bool = False
) -> Project:
    """Open a linkage round under the agreement, or a round that only finds out how far registers overlap."""
    return member.client.projects.create(
        agreement_id=agreement.id,
        name=name,
        purpose=PURPOSE,
        linkage_schema=schema.document,
        kind="feasibility" if feasibility else "linkage",
    )


def make_exchange_keys(provider: Member) -> None:
    """Make the provider's exchange keys and publish their card; keys that it has already are used."""
    ceremony = ceremony_of(provider)
    if ceremony.own_keys() is None:
        ceremony.renew()
    else:
        ceremony.publish()


def compare_code(providers: Sequence[Member], *, project_id: str) -> str:
    """Have each provider hear the code that the one before it sees; returns it.

    Raises:
        KeyExchangeError: two see different codes.
    """
    ceremonies = [ceremony_of(provider) for provider in providers]
    codes = [ceremony.look(project_id).code or "" for ceremony in ceremonies]
    for place, ceremony in enumerate(ceremonies):
        ceremony.confirm_code(project_id, said=codes[place - 1])
    return codes[0]


def hand_over(providers: Sequence[Member], *, project_id: str) -> None:
    """The first provider draws the secret and seals it for all others of the project; the others of these accept it."""
    first, *others = providers
    ceremony_of(first).share(project_id)
    for provider in others:
        ceremony_of(provider).accept(project_id)


def share_secret(providers: Sequence[Member], *, project_id: str) -> str:
    """All that providers do to hold one secret, with keys that are made for it; returns the code that they compared."""
    for provider in providers:
        make_exchange_keys(provider)
    code = compare_code(providers, project_id=project_id)
    hand_over(providers, project_id=project_id)
    return code


def ceremony_of(provider: Member) -> Ceremony:
    """What the provider does to share secrets, with what its folder holds."""
    return Ceremony(provider.client, load_profile(provider.profile))


def secret_file(provider: Member, *, project_id: str, epoch: int = 1) -> Path:
    """Where the provider keeps the secret of a project."""
    return provider.folder / SECRETS_FOLDER / f"{project_id}.{epoch}.secret"


def encode(
    provider: Member,
    *,
    project_id: str,
    extract: Path,
    encoding: str | None = None,
    renamed: Mapping[str, str] | None = None,
    methods: Mapping[str, str] | None = None,
    workers: int = 1,
) -> dict[str, Any]:
    """Encode an extract into the provider's folder as the project's agreement says; returns the manifest."""
    terms = agreed_terms(provider.client, project_id=project_id)
    encoded = encode_file(
        extract,
        provider.folder / ENCODED_FOLDER,
        schema=terms.schema,
        secret=Secrets(load_profile(provider.profile)).read(project_id, terms.epoch),
        normalise=normalisation(DEFAULT_NORMALISATION, methods=methods),
        encoding=encoding,
        renamed=renamed,
        project_id=project_id,
        epoch=terms.epoch,
        encoding_profile=terms.encoding_profile,
        opt_outs_applied=datetime.now(UTC).date(),
        workers=workers,
    )
    return encoded.manifest


def upload(provider: Member, *, project_id: str, manifest: Mapping[str, Any]) -> Upload:
    """Send the encodings and their manifest; the file of rows stays."""
    return provider.client.uploads.send(
        project_id=project_id,
        manifest=manifest,
        encodings=provider.folder / ENCODED_FOLDER / ENCODINGS_FILE,
    )


def match(member: Member, *, project_id: str, progress: Callable[[Run], None] | None = None) -> Run:
    """Start a run and wait for it."""
    started = member.client.runs.start(project_id=project_id)
    return member.client.runs.wait(run_id=started.id, progress=progress)


def release(recipient: Member, *, run_id: str) -> Release:
    """Ask for link tables in which every record has a link id, matched or not."""
    return recipient.client.releases.create(run_id=run_id, purpose=PURPOSE, mode="blind")


def ask_for_more(recipient: Member, *, run_id: str) -> PolicyRefusalError | None:
    """Ask for what the agreement does not list, tables of matched records only; returns the refusal."""
    try:
        recipient.client.releases.create(run_id=run_id, purpose=PURPOSE, mode="matched")
    except PolicyRefusalError as refusal:
        return refusal
    return None


def retrieve(provider: Member, *, release_id: str) -> int:
    """Fetch the provider's own link table, with its record ids put back; returns the number of records."""
    granted = provider.client.releases.get(release_id=release_id)
    sha256 = provider.client.releases.own_upload(release_id=release_id).manifest.sha256
    return write_links(
        provider.client.releases.link_table(release_id=release_id),
        out=provider.folder / LINKS_FILE,
        encodings_sha256=sha256,
        rows=provider.folder / ENCODED_FOLDER / ROWS_FILE,
        provenance=Provenance(run=granted.run, recipient=granted.recipient, release=granted.id),
    )


@dataclass(frozen=True, slots=True)
class Joined:
    """What a provider's delivery holds besides link ids, and what it left out of its own accord."""

    columns: tuple[str, ...]
    held_back: tuple[str, ...]
    """Columns that are no identifiers of the schema and look like identifiers all the same."""


def join(
    provider: Member,
    *,
    extract: Path,
    schema: LinkageSchema,
    encoding: str | None = None,
    renamed: Mapping[str, str] | None = None,
) -> Joined:
    """Put link ids into the extract; take identifiers, record ids and whatever else looks like an identifier out."""
    extract_format = ExtractFormat(text_encoding=encoding)
    columns = Columns(identifiers=identifier_columns(schema.document), renamed=renamed or {})
    held_back = tuple(telling_columns(extract=extract, columns=columns, extract_format=extract_format))
    report = join_extract(
        extract=extract,
        links=provider.folder / LINKS_FILE,
        rows=None,
        out=provider.folder / JOINED_FILE,
        columns=replace(columns, also_dropped=held_back),
        # Every encoded row of a blind table has a link id; only records that were withheld have none.
        drop_unlinked=(provider.folder / ENCODED_FOLDER / WITHHELD_FILE).exists(),
        extract_format=extract_format,
    )
    return Joined(columns=report.columns_kept, held_back=held_back)


def deliver(provider: Member, recipient: Member) -> Path:
    """Hand the joined extract and its note on the release to the recipient, past the linkage unit."""
    received = recipient.folder / RECEIVED_FOLDER
    received.mkdir(exist_ok=True)
    joined, place = provider.folder / JOINED_FILE, received / f"{provider.folder.name}.csv"
    shutil.copyfile(joined, place)
    shutil.copyfile(note_path(joined), note_path(place))
    return place


def merge(deliveries: Mapping[str, Path], *, out: Path) -> None:
    """Put all that was delivered together by link id; labels to files."""
    merge_payloads(
        [Payload(label, path) for label, path in deliveries.items()],
        out=out,
        how=How.OUTER,
        duplicates=Duplicates.KEEP,
    )


def keep_checkpoint(unit: Unit, member: Member) -> tuple[Checkpoint, Path]:
    """Fetch the log's signed state over HTTP, check the signature with the published key, and keep it.

    Raises:
        UnexpectedAnswerError: it is not signed with that key.
    """
    note = member.client.audit.checkpoint()
    try:
        checkpoint = verify_checkpoint(note, [VerifierKey.parse(unit.verifier_key)])
    except LedgerError:
        raise UnexpectedAnswerError(
            "The checkpoint that the service hands out is not signed with the key of its log. Tell the linkage unit."
        ) from None
    path = member.folder / "checkpoint.txt"
    path.write_text(note, encoding="utf-8")
    return checkpoint, path


def _member(
    *,
    name: str,
    role: str,
    folder: Path,
    service_url: str,
    organisation_id: str,
    client_id: str,
    signing_key: SigningKey | None = None,
) -> Member:
    profile = Profile(
        path=folder / PROFILE_FILE,
        service_url=service_url,
        organisation_id=organisation_id,
        client_id=client_id,
        client_key_file=folder / "client-key.jwk",
        signing_key_file=folder / "signing-key.jwk" if signing_key else None,
    )
    save_profile(profile)
    return Member(
        name=name,
        role=role,
        organisation_id=organisation_id,
        folder=folder,
        profile=profile.path,
        client=LinkageClient.from_profile(profile, ledgers_folder=folder / "ledgers"),
        signing_key=signing_key,
    )
