"""What a service that others can reach must not be started with. The operator can accept a risk by its name.

A service that listens on this machine alone, under an address of this machine, is somebody trying it out: the demo, the
tutorial and the tests need no setting. Everything else is meant to be used.
"""

import stat
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import assert_never
from urllib.parse import urlsplit
from urllib.request import url2pathname

import structlog
from sqlalchemy.engine import make_url

from linkage_service.errors import NotReady
from linkage_service.settings import Risk, Settings, is_here

_log = structlog.get_logger(__name__)
_SSL_MODES = frozenset({"require", "verify-ca", "verify-full"})


def must_be_safe(settings: Settings, *, host: str | None) -> None:
    """Refuses to start with a risk that was not accepted, and notes those that were.

    Args:
        settings: of the service.
        host: address that it is to listen on; None for a worker, which listens on none.

    Raises:
        NotReady: names each risk, what it means and what to do.
    """
    found = risks(settings, host=host)
    taken = found if settings.development else [risk for risk in found if risk in settings.accepted_risks]
    for risk in taken:
        _log.warning("risk_accepted", kind=risk)
    refused = [risk for risk in found if risk not in taken]
    if refused:
        raise NotReady(
            "The service does not start, because others can reach it and it is not safe as it is set up.\n"
            + "\n".join(f"- {risk}: {_words(risk)}" for risk in refused)
            + "\nTo try it out: --development, or LINKAGE_DEVELOPMENT=true. To take a risk knowingly, name it: "
            f"LINKAGE_ACCEPTED_RISKS='[\"{refused[0]}\"]'."
        )


def risks(settings: Settings, *, host: str | None) -> list[Risk]:
    """The risks of a service that others can reach; none for one that only this machine can."""
    exposed = (host is not None and not is_here(f"//{f'[{host}]' if ':' in host else host}")) or (
        settings.issuer is not None and not is_here(settings.issuer)
    )
    if not exposed:
        return []
    checks: dict[Risk, Callable[[Settings], bool]] = {
        "plain_http": _plain_http,
        # A worker that stands alone is asked nothing.
        "unknown_proxy": lambda given: host is not None and _unknown_proxy(given),
        "unbound_tokens": lambda given: not given.require_dpop,
        "keys_beside_blobs": _keys_beside_blobs,
        "readable_keys": _readable_keys,
        "sqlite_shared": lambda given: given.api_processes > 1 and is_sqlite(given),
        "database_in_clear": _database_in_clear,
    }
    return [risk for risk, applies in checks.items() if applies(settings)]


def _words(risk: Risk) -> str:  # noqa: PLR0911 - one for each risk
    match risk:
        case "plain_http":
            return (
                "LINKAGE_ISSUER is not an https address. Put a reverse proxy with TLS in front and set LINKAGE_ISSUER "
                "to the public https address."
            )
        case "unknown_proxy":
            return (
                "LINKAGE_ISSUER is https, which a reverse proxy answers, and LINKAGE_TRUSTED_PROXIES names none. Every "
                "request would come from the proxy's address: for limits, for agreements that name networks, and in "
                "the log. Name the proxy's address there, as a JSON list."
            )
        case "unbound_tokens":
            return (
                "LINKAGE_REQUIRE_DPOP is off, so whoever finds an access token can use it. Leave it on, and let "
                "clients send proofs."
            )
        case "keys_beside_blobs":
            return (
                "the key that opens the blobs lies beside them, so one copied disk gives both away. Set "
                "LINKAGE_KEYS_DIR to a folder on another volume and move the files of the keys folder there, or give "
                "the key in LINKAGE_KEY_ENCRYPTION_KEY."
            )
        case "readable_keys":
            return (
                "files in the keys folder can be read or changed by other users of this machine. Run chmod 600 on "
                "them, and chmod 700 on the folder."
            )
        case "sqlite_shared":
            return (
                "LINKAGE_API_PROCESSES says that several processes serve requests, and SQLite is for one machine "
                "and few of them. Set LINKAGE_DATABASE_URL to a PostgreSQL."
            )
        case "database_in_clear":
            return (
                "the connection to the database goes over the network without TLS. Add sslmode=verify-full to "
                "LINKAGE_DATABASE_URL."
            )
        case other:
            assert_never(other)


def _plain_http(settings: Settings) -> bool:
    return settings.issuer is None or not (settings.issuer.startswith("https://") or is_here(settings.issuer))


def _unknown_proxy(settings: Settings) -> bool:
    # `serve` has no TLS, so what answers at an https address stands before it.
    issuer = settings.issuer or ""
    return issuer.startswith("https://") and not is_here(issuer) and not settings.trusted_proxies


def _keys_beside_blobs(settings: Settings) -> bool:
    parts = urlsplit(settings.resolved_blob_url)
    if settings.key_encryption_key is not None or parts.scheme != "file":
        return False
    blobs, keys = Path(url2pathname(parts.path)).resolve(), settings.resolved_keys_dir.resolve()
    if keys.is_relative_to(blobs) or blobs.is_relative_to(keys):
        return True
    # What lies in one folder of data is copied together. Above it there may be one volume or several.
    data = settings.data_dir.resolve()
    return keys.is_relative_to(data) and blobs.is_relative_to(data)


def _readable_keys(settings: Settings) -> bool:
    # A group may read: that is how a secret is mounted into a container that is not root.
    try:
        files = [path for path in settings.resolved_keys_dir.iterdir() if path.is_file()]
        return any(path.stat().st_mode & (stat.S_IRWXO | stat.S_IWGRP) for path in files)
    except OSError:
        # Not there or not ours to list: what reads the keys says so, and what to do.
        return False


def is_sqlite(settings: Settings) -> bool:
    """Whether the database is a file, which processes of this machine share and others cannot."""
    return make_url(settings.resolved_database_url).get_backend_name() == "sqlite"


def _database_in_clear(settings: Settings) -> bool:
    url = make_url(settings.resolved_database_url)
    if is_sqlite(settings) or url.query.get("sslmode") in _SSL_MODES:
        return False
    # The driver connects to `hostaddr` where it is given; each may list several, which are tried in turn.
    hosts = _listed(url.query.get("hostaddr")) or _listed(url.host) or _listed(url.query.get("host"))
    return not all(host.startswith("/") or _is_loopback(host) for host in hosts)


def _listed(hosts: str | tuple[str, ...] | None) -> list[str]:
    texts = (hosts,) if isinstance(hosts, str) else hosts or ()
    return [host for text in texts for host in text.split(",") if host]


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
