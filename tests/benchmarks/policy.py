"""What a decision of the access policy costs with many agreements stored: ``python tests/benchmarks/policy.py --json``.

The peer is the same engine used the plain way: policy text, schema and the entities of all agreements in every call.
Decisions go round all agreements, so that nothing is decided twice in a row under the same one: `first` on facts never
seen, `again` on the same facts at the same hour, `another_day` on the same facts when the engine has to be asked anew.
`day` is a whole day from midnight to midnight with one decision a second, each under an agreement drawn by lot: what a
service decides in that median time, the questions that a new hour makes necessary included. The command fails if that
misses its target.
"""

import argparse
import json
import logging
import random
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cedarpy
import structlog
from sqlmodel import Session

from linkage_service.access.actions import Action
from linkage_service.access.decide import Circumstance, Resource
from linkage_service.access.entities import Attribute, Entity
from linkage_service.agreements import tables as agreements
from linkage_service.agreements.service import in_force
from linkage_service.organisations.service import load_client
from linkage_service.projects.service import Governed
from linkage_service.projects.tables import Project
from linkage_service.runs import service as runs
from support.service_app import ISSUER, ServiceApp, data_sets

TARGET_MS = 0.3
_DAY_S = 86_400
_CONTEXT: Mapping[str, Attribute] = {"purpose": "planning", "output": "link_table_blind", "columns": frozenset[str]()}


def median_ms(act: Callable[[int], object], *, rounds: int) -> dict[str, float]:
    """Medians over the rounds, by the clock on the wall and by that of the thread."""
    wall, own = [], []
    for number in range(rounds):
        began, began_own = time.perf_counter(), time.thread_time()
        act(number)
        wall.append(time.perf_counter() - began)
        own.append(time.thread_time() - began_own)
    return {"wall_ms": round(statistics.median(wall) * 1000, 4), "cpu_ms": round(statistics.median(own) * 1000, 4)}


def copies(service: ServiceApp, agreement: str, count: int) -> None:
    """Stores the same agreement under other ids, so that a thousand need no thousand signing ceremonies."""
    with service.runtime.database.writing() as session:
        row = session.get(agreements.Agreement, agreement)
        version = session.get(agreements.AgreementVersion, (agreement, 1))
        assert row is not None
        assert version is not None
        for number in range(count):
            made = f"agr_{number:026d}"
            session.add(agreements.Agreement(**{**row.model_dump(), "id": made, "reference": f"COPY-{number}"}))
            session.flush()
            changes = {"agreement": made, "digest": secrets.token_hex(32)}
            session.add(agreements.AgreementVersion(**{**version.model_dump(), **changes}))
            for signature in agreements.signatures(session, agreement, 1):
                session.add(agreements.AgreementSignature(**{**signature.model_dump(), "agreement": made}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--agreements", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3000)
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory() as folder:
        service = ServiceApp(Path(folder))
        linked = service.uploaded(*data_sets(12, 12, shared=6))
        run_id = service.run(linked)["id"]
        copies(service, linked.agreement["id"], arguments.agreements)
        with service.runtime.database.reading() as session:
            run, project = runs.existing(session, run_id)
            recipient = linked.recipients[0]
            door = service.runtime.door
            token = door.tokens.check(recipient.token, issuer=ISSUER, now=service.clock())
            holder, _ = load_client(service.runtime.database, token, None)
            assert holder is not None
            caller = holder.caller
            resources = [
                runs.resource_of(run, under(session, project, f"agr_{number:026d}"))
                for number in range(arguments.agreements)
            ]
        policy = service.runtime.door.policy
        at = Circumstance(now=service.clock(), newest=None, source="127.0.0.1")

        def decide(number: int) -> None:
            resource = resources[number % len(resources)]
            assert policy.decide(
                action=Action.REQUEST_RELEASE, caller=caller, resource=resource, at=at, context=_CONTEXT
            ).allowed

        everything = plain_entities(resources, caller.entities())
        request = json.loads(
            policy.decide(
                action=Action.REQUEST_RELEASE, caller=caller, resource=resources[0], at=at, context=_CONTEXT
            ).facts
        )["request"]

        def on_another_day(number: int) -> None:
            later = at.now + timedelta(days=1 + number // len(resources))
            assert policy.decide(
                action=Action.REQUEST_RELEASE,
                caller=caller,
                resource=resources[number % len(resources)],
                at=replace(at, now=later),
                context=_CONTEXT,
            ).allowed

        midnight = at.now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(
            days=2 + arguments.rounds // len(resources)
        )
        drawn = random.Random(1).choices(resources, k=_DAY_S)

        def each_second(number: int) -> None:
            now = midnight + timedelta(seconds=number)
            assert policy.decide(
                action=Action.REQUEST_RELEASE,
                caller=caller,
                resource=drawn[number],
                at=replace(at, now=now),
                context=_CONTEXT,
            ).allowed

        def plain(_: int) -> None:
            found = cedarpy.is_authorized(request, policy.text.policies, everything, policy.text.schema)
            assert found.decision is cedarpy.Decision.Allow

        first, again, another_day, day, peer = (
            median_ms(decide, rounds=len(resources)),
            median_ms(decide, rounds=arguments.rounds),
            median_ms(on_another_day, rounds=arguments.rounds),
            median_ms(each_second, rounds=_DAY_S),
            median_ms(plain, rounds=20),
        )
        figures = {
            "agreements": arguments.agreements,
            "first": first,
            "again": again,
            "another_day": another_day,
            "day": day,
            "peer": peer,
            "ratio": round(peer["cpu_ms"] / again["cpu_ms"], 1),
            "ratio_another_day": round(peer["cpu_ms"] / another_day["cpu_ms"], 1),
        }
        service.close()
    print(json.dumps(figures) if arguments.json else "\n".join(f"{name}: {value}" for name, value in figures.items()))
    if day["wall_ms"] >= TARGET_MS:
        sys.exit(f"the median of a day is {day['wall_ms']} ms, and should be below {TARGET_MS}")


def under(session: Session, project: Governed, agreement: str) -> Governed:
    """The project as if it had been opened under this agreement."""
    row = Project(**{**project.row.model_dump(), "agreement": agreement})
    present = in_force(session, agreement)
    return Governed(row=row, agreement=present, providers=tuple(present.document.organisations("provider")))


def plain_entities(resources: list[Resource], caller: tuple[Entity, ...]) -> str:
    """All entities of all agreements, as one text."""
    known = {}
    for resource in resources:
        assert resource.under
        for entity in (resource.under.entity, *resource.related, resource.entity, *caller):
            known[entity.reference] = json.loads(entity.text)
    return json.dumps(list(known.values()))


if __name__ == "__main__":
    main()
