"""Projects: linkage rounds under an agreement."""

from collections.abc import Mapping, Sequence
from typing import Any

from linkage_client._protocol import path_of
from linkage_client.models import Disclosure, Project
from linkage_client.resources._base import Listing, Resource, parsed


class Projects(Resource):
    """Linkage rounds."""

    __slots__ = ()

    def create(
        self,
        *,
        agreement_id: str,
        name: str,
        purpose: str,
        linkage_schema: Mapping[str, Any],
        kind: str = "linkage",
        providers: Sequence[str] | None = None,
        idempotency_key: str | None = None,
    ) -> Project:
        """Open a project. `purpose` is one of the agreement's purpose codes, the schema the one that it names.

        `kind` "feasibility" gives the suppressed summary and nothing else, under an agreement that allows nothing more;
        the encodings are deleted when its run has succeeded. `providers` are those of the agreement's that take part;
        None: all of them.
        """
        body = {"agreement": agreement_id, "name": name, "purpose": purpose, "linkage_schema": dict(linkage_schema)}
        if kind != "linkage":
            body["kind"] = kind
        if providers is not None:
            body["providers"] = [*providers]
        return self._post(path_of("projects"), body, Project, idempotency_key=idempotency_key)

    def list(self, *, limit: int | None = None) -> Listing[Project]:
        """The projects that the caller may see, without their linkage schemas."""
        return self._items(path_of("projects"), Project, limit=limit)

    def get(self, *, project_id: str) -> Project:
        """One project with its linkage schema."""
        return self._get(path_of("projects", project_id), Project)

    def disclosures(self, *, project_id: str, limit: int | None = None) -> Listing[Disclosure]:
        """Every retrieval of a link table of the project."""
        return self._items(path_of("projects", project_id, "disclosures"), Disclosure, limit=limit)

    def join(self, *, project_id: str, idempotency_key: str | None = None) -> Project:
        """Have the caller's organisation, a provider of the agreement, take part too. Role: analyst.

        It opens a new key epoch: all providers share a new secret and encode again.
        """
        path = path_of("projects", project_id, "providers")
        return self._post(path, {}, Project, idempotency_key=idempotency_key)

    def leave(self, *, project_id: str, organisation_id: str) -> Project:
        """Take a provider out of a project: its own analyst or signatory may, and an officer of the linkage unit.

        It opens a new key epoch: those who stay share a new secret and encode again.
        """
        path = path_of("projects", project_id, "providers", organisation_id)
        return parsed(self._transport.send("DELETE", path), Project)
