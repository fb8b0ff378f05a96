"""Uploads: send encodings in parts, over a connection that may drop, without sending anything twice."""

import base64
import hashlib
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from linkage_client._protocol import path_of
from linkage_client.errors import NotFoundError, PackageError, StateConflictError, StillWaitingError, StoppedError
from linkage_client.journal import Entry, Journal, Warn, no_warning, open_journal
from linkage_client.models import Manifest, Me, Project, Upload, UploadSummary
from linkage_client.resources._base import Listing, Resource
from linkage_client.resources._sending import EncodingsFile, Part, UploadProgress, in_threads, parts_of

# A dropped connection costs at most this much; at 128 bytes a record, 32,768 records.
PART_SIZE_BYTES = 4 * 1024 * 1024
PARALLEL_PARTS = 3
# Nothing at the service tells when a partner has uploaded, and nobody waits for it in front of a screen.
WAIT_FOR_PARTNERS_S = 30.0
ASKED_EVERY_S = 2.0
LIVE_STATES = frozenset({"receiving", "complete"})


class Uploads(Resource):
    """Encodings at the service. Nothing but a manifest and bit vectors is ever sent."""

    __slots__ = ()

    def send(
        self,
        *,
        project_id: str,
        manifest: Manifest | Mapping[str, Any],
        encodings: Path,
        part_size_bytes: int = PART_SIZE_BYTES,
        parallel_parts: int = PARALLEL_PARTS,
        journals: Path | None = None,
        checking: UploadProgress | None = None,
        progress: UploadProgress | None = None,
        say: Warn = no_warning,
        stopped: Callable[[], bool] | None = None,
    ) -> Upload:
        """Declare, send and complete an upload; go on with an interrupted one of the same content.

        Checks first that the file is the one of the manifest and that both fit the project, then each part as it is
        sent. Calling again when the upload is complete sends nothing and answers the complete upload. Interrupting
        (Ctrl-C, SIGKILL, a progress function that raises) leaves an upload that the next call goes on with.

        Args:
            project_id: for which project.
            manifest: what `encode_file` answered, or the content of manifest.json.
            encodings: the file.
            part_size_bytes: how much a dropped connection costs at most; an upload that goes on keeps its own.
            parallel_parts: parts on their way at the same time.
            journals: folder of a journal, such as `linkage_client.journal.default_folder()`, with which an interrupted
                upload goes on without reading the whole file again, and two processes do not get in each other's way.
                Without one, the service is asked what it has, and the file is read again.
            checking: called with (bytes checked, bytes in all) while the file is read for its digest.
            progress: called with (bytes at the service, bytes in all), from several threads, never from two at once.
            say: told in words what a person may want to know, such as that an upload goes on.
            stopped: asked now and then whether to stop.

        Raises:
            PackageError: file, manifest and project do not belong together, or the file changed while it was sent.
            UploadBusyError: another process has the journal.
            StoppedError: `stopped` said so.
        """
        require_working_key(manifest)
        declared = _as_manifest(manifest)
        halted = stopped or (lambda: False)
        _check_project(declared, self._get(path_of("projects", project_id), Project))
        with self._journal(journals, project_id=project_id, warn=say) as journal:
            upload = self._noted(journal, declared) or self.find_same(project_id=project_id, manifest=declared)
            if upload is not None and upload.state == "complete":
                journal.finish()
                return upload
            file = EncodingsFile.at(encodings)
            part_size_bytes = upload.part_size_bytes if upload else part_size_bytes
            digests = _noted_digests(journal, declared, file=file, part_size_bytes=part_size_bytes) or file.digests(
                declared, part_size_bytes=part_size_bytes, progress=checking, stopped=halted
            )
            if upload is None:
                upload = self.declare(project_id=project_id, manifest=declared, part_size_bytes=part_size_bytes)
            elif upload.parts_received:
                say(f"Going on: {len(upload.parts_received):,} of {upload.parts_expected:,} parts are there already.")
            journal.begin(
                Entry(
                    upload_id=upload.id,
                    service_url=self._transport.service_url,
                    project_id=project_id,
                    sha256=declared.sha256,
                    part_size_bytes=upload.part_size_bytes,
                    file=file.state,
                    part_digests=digests,
                    received=frozenset(upload.parts_received),
                )
            )
            sender = _Sender(self, upload=upload, file=file, digests=digests, journal=journal, progress=progress)
            try:
                sender.send_missing(threads=parallel_parts, stopped=halted)
                file.check_unchanged()
                done = self.complete(upload_id=upload.id)
            except StateConflictError:
                # Another machine of the organisation may have sent the same encodings, and been quicker.
                found = self._live(upload.id, declared)
                if found is None or found.state != "complete":
                    raise
                done = found
            journal.finish()
            return done

    def declare(
        self,
        *,
        project_id: str,
        manifest: Manifest | Mapping[str, Any],
        part_size_bytes: int = PART_SIZE_BYTES,
        idempotency_key: str | None = None,
    ) -> Upload:
        """Announce an upload; it replaces an earlier one of this organisation in the project.

        Raises:
            PackageError: the manifest is not valid, or is of encodings that were made without a project.
        """
        require_working_key(manifest)
        # What the manifest does not say is not said: a member of this version is unknown to an older service.
        content = {"version": 1, **_as_manifest(manifest).model_dump(mode="json", exclude_unset=True)}
        body = {"manifest": content, "part_size_bytes": part_size_bytes}
        path = path_of("projects", project_id, "uploads")
        return self._post(path, body, Upload, idempotency_key=idempotency_key)

    def put_part(
        self, *, upload_id: str, number: int, content: bytes, stopped: Callable[[], bool] | None = None
    ) -> None:
        """Send one part, numbered from 1; sending the same part again does no harm.

        `stopped` is asked before a part that failed is sent again.
        """
        digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
        headers = {"Content-Type": "application/octet-stream", "Content-Digest": f"sha-256=:{digest}:"}
        path = path_of("uploads", upload_id, "parts", number)
        self._transport.send("PUT", path, content=content, headers=headers, stopped=stopped)

    def complete(self, *, upload_id: str) -> Upload:
        """Have the service check the whole and take it."""
        return self._post(path_of("uploads", f"{upload_id}:complete"), {}, Upload)

    def get(self, *, upload_id: str) -> Upload:
        """One upload of the caller's organisation."""
        return self._get(path_of("uploads", upload_id), Upload)

    def list(self, *, project_id: str, limit: int | None = None) -> Listing[UploadSummary]:
        """The uploads of a project, everybody's, as far as every party may know of them."""
        return self._items(path_of("projects", project_id, "uploads"), UploadSummary, limit=limit)

    def wait(
        self,
        *,
        project_id: str,
        progress: Callable[[Sequence[UploadSummary], Sequence[str]], None] | None = None,
        timeout_s: float | None = None,
        stopped: Callable[[], bool] | None = None,
    ) -> Sequence[UploadSummary]:
        """Wait until every provider of a project has a complete upload, so that a run can begin; answers the uploads.

        Args:
            project_id: the project.
            progress: told, at every look, the complete uploads and the ids of the providers without one.
            timeout_s: how long to wait; None: as long as it takes. Partners take days rather than minutes.
            stopped: asked every two seconds whether to stop waiting.

        Raises:
            StillWaitingError: `timeout_s` passed first.
            StoppedError: `stopped` said so.
        """
        clock = self._transport.clock
        until = math.inf if timeout_s is None else clock.monotonic() + timeout_s
        providers = self._get(path_of("projects", project_id), Project).providers
        while True:
            complete = [upload for upload in self.list(project_id=project_id) if upload.state == "complete"]
            absent = [
                provider for provider in providers if provider not in {upload.organisation for upload in complete}
            ]
            if progress is not None:
                progress(complete, absent)
            if not absent:
                return complete
            look_again = min(until, clock.monotonic() + WAIT_FOR_PARTNERS_S)
            while (left := look_again - clock.monotonic()) > 0:
                if stopped is not None and stopped():
                    raise StoppedError("Waiting for the providers' uploads was stopped.")
                clock.sleep(min(left, ASKED_EVERY_S))
            if clock.monotonic() >= until:
                raise StillWaitingError(f"{len(absent)} of {len(providers)} providers have not uploaded yet.")

    def delete(self, *, upload_id: str) -> None:
        """Delete encodings at the service."""
        self._transport.send("DELETE", path_of("uploads", upload_id))

    def find_same(self, *, project_id: str, manifest: Manifest) -> Upload | None:
        """The caller's own live upload of the same content under the same secret, if there is one."""
        own = self._get(path_of("me"), Me).organisation.id
        for summary in self.list(project_id=project_id):
            if summary.organisation != own or summary.state not in LIVE_STATES:
                continue
            if summary.sha256 is not None and summary.sha256 != manifest.sha256:
                continue
            upload = self._live(summary.id, manifest)
            if upload is not None:
                return upload
        return None

    def _live(self, upload_id: str, manifest: Manifest) -> Upload | None:
        """An upload, if it is still there and of this content."""
        try:
            upload = self.get(upload_id=upload_id)
        except NotFoundError:
            return None
        return upload if upload.state in LIVE_STATES and _same_content(upload.manifest, manifest) else None

    def _journal(self, folder: Path | None, *, project_id: str, warn: Warn) -> AbstractContextManager[Journal]:
        client_id = self._transport.client_id
        if folder is None or client_id is None:
            return nullcontext(Journal(None))
        return open_journal(
            folder,
            service_url=self._transport.service_url,
            client_id=client_id,
            project_id=project_id,
            now=self._transport.clock.now(),
            warn=warn,
        )

    def _noted(self, journal: Journal, manifest: Manifest) -> Upload | None:
        """The upload that the journal is about, as the service has it now, if it can go on."""
        if journal.entry is None or journal.entry.sha256 != manifest.sha256:
            return None
        return self._live(journal.entry.upload_id, manifest)


class _Sender:
    """Sends what is missing of one upload, and keeps journal and progress in step with it."""

    def __init__(
        self,
        uploads: Uploads,
        *,
        upload: Upload,
        file: EncodingsFile,
        digests: tuple[str, ...],
        journal: Journal,
        progress: UploadProgress | None,
    ) -> None:
        self._uploads = uploads
        self._upload = upload
        self._file = file
        self._digests = digests
        self._journal = journal
        self._progress = progress
        self._lock = threading.Lock()
        self._stop = threading.Event()
        received = set(upload.parts_received)
        parts = parts_of(size_bytes=upload.size_bytes, part_size_bytes=upload.part_size_bytes)
        self._missing = [part for part in parts if part.number not in received]
        self._sent_bytes = upload.size_bytes - sum(part.size_bytes for part in self._missing)

    def send_missing(self, *, threads: int, stopped: Callable[[], bool]) -> None:
        """Send every part that the service does not have."""
        self._report()
        in_threads(lambda part: self._send(part, stopped), self._missing, threads=threads, stop=self._stop)

    def _send(self, part: Part, stopped: Callable[[], bool]) -> None:
        if stopped():
            raise StoppedError(
                "The upload was stopped. What was sent is at the service; the same call goes on with it."
            )
        content = self._file.read(part, sha256=self._digests[part.number - 1])
        self._uploads.put_part(
            upload_id=self._upload.id,
            number=part.number,
            content=content,
            stopped=lambda: self._stop.is_set() or stopped(),
        )
        with self._lock:
            self._journal.note_received(part.number)
            self._sent_bytes += part.size_bytes
            if not self._stop.is_set():
                self._report()

    def _report(self) -> None:
        if self._progress is not None:
            self._progress(self._sent_bytes, self._upload.size_bytes)


def _noted_digests(
    journal: Journal, manifest: Manifest, *, file: EncodingsFile, part_size_bytes: int
) -> tuple[str, ...] | None:
    """The digests that an earlier process took of this very file; None where it has to be read."""
    entry = journal.entry
    if entry is None or (entry.sha256, entry.part_size_bytes) != (manifest.sha256, part_size_bytes):
        return None
    same = entry.file == file.state and file.state.size_bytes == manifest.size_bytes
    return entry.part_digests if same else None


def require_working_key(manifest: Manifest | Mapping[str, Any]) -> None:
    """Make sure that encodings were made with a key that is bound to a project, before anything of them is sent.

    Raises:
        PackageError: the manifest does not say so.
    """
    key = manifest.key.model_dump() if isinstance(manifest, Manifest) else manifest.get("key")
    if not isinstance(key, Mapping) or key.get("derivation") is None:
        raise PackageError(
            "These encodings were not made with a key of the project: they were encoded without naming one, or by an "
            "older version. They could be compared with encodings of other projects, and match none of this one. "
            "Nothing was sent. Encode again with the present version of `linkage encode`, with --project."
        )


def _as_manifest(manifest: Manifest | Mapping[str, Any]) -> Manifest:
    if isinstance(manifest, Manifest):
        return manifest
    try:
        return Manifest.model_validate(dict(manifest))
    except ValidationError as error:
        places = sorted({".".join(str(step) for step in item["loc"]) or "the whole" for item in error.errors()})
        raise PackageError(
            f"The manifest is not complete or not valid at: {', '.join(places)}. Encode again.",
        ) from None


def _check_project(manifest: Manifest, project: Project) -> None:
    if manifest.linkage_schema_sha256 != project.linkage_schema_sha256:
        raise PackageError(
            "The encodings were made with another linkage schema than the project's. Nothing was sent. Encode "
            "again with --project, which takes the project's.",
        )
    if manifest.bits != project.bits:
        raise PackageError(
            f"The encodings have {manifest.bits} bits, the project's {project.bits}. Nothing was sent; encode again.",
        )
    if manifest.key.epoch != project.key_epoch:
        raise PackageError(
            f"The encodings were made in key epoch {manifest.key.epoch}, the project is in {project.key_epoch}. "
            "Nothing was sent; encode again with the present secret.",
        )


def _same_content(one: Manifest, other: Manifest) -> bool:
    return (one.sha256, one.count, one.bits, one.key, one.linkage_schema_sha256) == (
        other.sha256,
        other.count,
        other.bits,
        other.key,
        other.linkage_schema_sha256,
    )
