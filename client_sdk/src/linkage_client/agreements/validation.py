"""Whether a document can be an agreement: the published JSON Schema, and what it cannot say.

The service checks the same again, in the same words (`linkage_service.agreements.document`); a test holds the two
together. Here it can be done offline, before anybody is asked to sign.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from ipaddress import ip_network
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from linkage_client.agreements.json_schema import Finding, findings_of, joined
from linkage_client.errors import AgreementInvalidError

_FIRST_YEAR, _LAST_YEAR = 1900, 2200
_PROVIDERS: Final = 2


def findings(document: Any) -> tuple[Finding, ...]:
    """Everything that is wrong with a document, in its order; empty where it can be signed."""
    by_schema = tuple(findings_of(document))
    # Rules relate fields to each other, so they say something only of parts that are what they should be.
    return (*by_schema, *_by_rules(document)) if isinstance(document, Mapping) else by_schema


def check(document: Any) -> None:
    """Refuse a document that cannot be an agreement.

    Raises:
        AgreementInvalidError: with everything that is wrong, each with its place.
    """
    found = findings(document)
    if found:
        places = "".join(f"\n  {item.pointer or 'the document'}: {item.message}" for item in found)
        raise AgreementInvalidError(f"This document cannot be an agreement. Mend it in these places:{places}")


def _by_rules(document: Mapping[str, Any]) -> Iterator[Finding]:
    yield from _unprintable(document, "")
    for rule in (_purposes, _parties, _joint_controllers, _data, _dates):
        yield from rule(document)


def _unprintable(value: Any, pointer: str) -> Iterator[Finding]:
    """What a terminal or a page would not show would be signed unseen."""
    if isinstance(value, str) and not value.replace("\n", "").replace("\t", "").isprintable():
        yield Finding(pointer, "must not hold control characters but line breaks and tabs")
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            if not str(name).isprintable():
                yield Finding(pointer, "must not hold control characters")
            yield from _unprintable(inner, joined(pointer, name))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _unprintable(inner, joined(pointer, place))


def _purposes(document: Mapping[str, Any]) -> Iterator[Finding]:
    codes = [purpose.get("code") for purpose in _objects(_at(document, "purpose", "purposes"))]
    if _repeats(codes):
        yield Finding("/purpose/purposes", "two purposes have the same code")
    article9 = _at(document, "purpose", "lawful_basis", "article9")
    if _at(document, "data", "special_category") is True and article9 is None:
        yield Finding(
            "/purpose/lawful_basis/article9",
            "special category data need a condition of Article 9: say it in article9",
        )


def _parties(document: Mapping[str, Any]) -> Iterator[Finding]:
    where = "/recipients/parties"
    listed = _at(document, "recipients", "parties")
    if not isinstance(listed, list):
        return
    parties = _objects(listed)
    if _repeats([party.get("organisation") for party in parties]):
        yield Finding(where, "an organisation is named twice among the parties")
    roles = [party["roles"] if isinstance(party.get("roles"), list) else [] for party in parties]
    if sum("provider" in given for given in roles) < _PROVIDERS:
        yield Finding(where, "at least two parties must be providers")
    if not any("recipient" in given for given in roles):
        yield Finding(where, "at least one party must be a recipient")
    for place, (party, given) in enumerate(zip(parties, roles, strict=True)):
        if party.get("may_hold_duplicates") is True and "provider" not in given:
            yield Finding(
                f"{where}/{place}/may_hold_duplicates",
                "may_hold_duplicates says something of a provider's records; this party is no provider",
            )
        yield from _circumstances(party.get("circumstances"), f"{where}/{place}/circumstances")


def _circumstances(given: Any, where: str) -> Iterator[Finding]:
    if not isinstance(given, Mapping):
        return
    networks, hours = given.get("networks"), given.get("hours")
    for place, network in enumerate(networks if isinstance(networks, list) else []):
        if isinstance(network, str) and not _is_network(network):
            yield Finding(f"{where}/networks/{place}", "must be a network such as 192.0.2.0/24 or 2001:db8::/32")
    if not isinstance(hours, Mapping):
        return
    opens, closes, zone = hours.get("opens"), hours.get("closes"), hours.get("timezone")
    if isinstance(opens, str) and isinstance(closes, str) and not opens < closes:
        yield Finding(f"{where}/hours", "opens must be before closes")
    if isinstance(zone, str) and not _is_zone(zone):
        yield Finding(f"{where}/hours/timezone", "must be a time zone of the IANA database, such as Europe/London")


def _joint_controllers(document: Mapping[str, Any]) -> Iterator[Finding]:
    joint = _at(document, "recipients", "joint_controllers")
    joint = joint if isinstance(joint, list) else []
    parties = [party.get("organisation") for party in _objects(_at(document, "recipients", "parties"))]
    where = "/recipients/joint_controllers"
    if any(organisation not in parties for organisation in joint):
        yield Finding(where, "joint_controllers names an organisation that is not a party")
    if len(joint) == 1:
        yield Finding(where, "joint_controllers needs at least two parties, or none")
    if bool(joint) != (_at(document, "recipients", "joint_arrangement") is not None):
        yield Finding(where, "joint_controllers and joint_arrangement belong together: say both or neither")


def _data(document: Mapping[str, Any]) -> Iterator[Finding]:
    least, fields = _at(document, "quality", "min_completeness"), _at(document, "data", "identifier_fields")
    if isinstance(least, Mapping) and isinstance(fields, list) and any(name not in fields for name in least):
        yield Finding(
            "/quality/min_completeness", "min_completeness names a field that is not among the identifier fields"
        )
    columns, outputs = _at(document, "data", "columns"), _at(document, "data", "outputs")
    parties = _objects(_at(document, "recipients", "parties"))
    duplicates = any(party.get("may_hold_duplicates") is True for party in parties)
    if duplicates and isinstance(outputs, list) and "link_table_blind" in outputs:
        yield Finding(
            "/data/outputs",
            "blind tables cannot be given where a provider may hold several records of one person: which of them "
            "share a link id would tell it whom others know",
        )
    if columns and isinstance(outputs, list) and "link_table_matched" not in outputs:
        yield Finding(
            "/data/columns",
            "columns belong to matched link tables, and the agreement does not list these as an output",
        )


def _dates(document: Mapping[str, Any]) -> Iterator[Finding]:
    dates = {name: _moment(_at(document, "review", name)) for name in ("starts", "ends", "review_by")}
    for name, moment in dates.items():
        if moment is not None and not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
            yield Finding(f"/review/{name}", f"must lie in the years {_FIRST_YEAR} to {_LAST_YEAR}")
    starts, ends, review_by = dates.values()
    if starts and ends and not starts < ends:
        yield Finding("/review/ends", "starts must be before ends")
    elif starts and ends and review_by and not starts < review_by <= ends:
        yield Finding("/review/review_by", "review_by must be after starts and not after ends")


def _at(document: Any, *names: str) -> Any:
    found = document
    for name in names:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [item if isinstance(item, Mapping) else {} for item in value] if isinstance(value, list) else []


def _repeats(items: Sequence[Any]) -> bool:
    given = [item for item in items if isinstance(item, str)]
    return len(set(given)) != len(given)


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _moment(text: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else None
