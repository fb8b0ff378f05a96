"""What this client remembers of ledgers, and how an officer lets it begin anew."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from linkage_client.cli._session import Session, common_options
from linkage_client.errors import ConfigurationError

if TYPE_CHECKING:
    from linkage_client.watching import SeenLog


@click.command()
@click.option("--forget", "origin", metavar="LOG", help="Begin anew with the log of this name.")
@click.option("--yes", is_flag=True, help="Forget without asking; say so only if your officer did.")
@common_options
def witness(session: Session, *, origin: str | None, yes: bool) -> None:
    """Show the last state of each ledger that this client has seen, which it holds the service to.

    After an alarm this does not change until you forget it: give the folder that the alarm names to your information
    governance officer first. What is forgotten cannot be held against the service any more.
    """
    from linkage_client.watching import default_folder, read_memory  # noqa: PLC0415 - keeps `--help` quick

    folder = default_folder()
    if origin is not None:
        _forget(session, folder, origin, sure=yes)
        return
    memory = read_memory(folder)
    found = [_document(name, seen, memory.services) for name, seen in sorted(memory.logs.items())]
    alarms = sorted(str(path) for path in (folder / "alarms").glob("*"))
    lines = [
        f"{log['log']}: {log['size']} events, seen {log['seen_at']} at {', '.join(log['services']) or 'this machine'}"
        for log in found
    ] + [f"alarm: {path}" for path in alarms]
    session.show({"folder": str(folder), "logs": found, "alarms": alarms}, lines or ["No ledger was seen yet."])


def _forget(session: Session, folder: Path, origin: str, *, sure: bool) -> None:
    from linkage_client.watching import forget, read_memory  # noqa: PLC0415 - keeps `--help` quick

    seen = read_memory(folder).logs.get(origin)
    if seen is None:
        raise ConfigurationError("No log of this name was seen. `linkage audit witness` lists those that were.")
    if not sure:
        click.confirm(
            f"Forget that {origin} had {seen.state.size} events? Whatever is shown next will be believed.",
            abort=True,
            err=True,
        )
    forget(folder, origin)
    session.show({"forgotten": origin}, [f"{origin} is forgotten. The next command believes what it is shown."])


def _document(origin: str, seen: "SeenLog", services: Any) -> dict[str, Any]:
    return {
        "log": origin,
        "size": seen.state.size,
        "root": seen.state.root.hex(),
        "key": seen.key,
        "handovers": len(seen.handovers),
        "seen_at": datetime.fromtimestamp(seen.seen_at, UTC).isoformat(timespec="seconds"),
        "services": [url for url, name in services.items() if name == origin],
        "checkpoint": seen.checkpoint,
    }
