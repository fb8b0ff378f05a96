"""Link tables in columnar files, as the service writes them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from linkage_client.errors import IncompleteDownloadError
from linkage_client.resources.releases import DetailedLink

MEDIA_TYPES: Final[Mapping[str, str]] = {
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.stream",
}


def links_of(path: Path, *, form: str, request_id: str | None = None) -> Iterator[DetailedLink]:
    """The rows of a saved link table, one batch in memory at a time.

    Raises:
        IncompleteDownloadError: it cannot be read to its end.
    """
    try:
        for batch in _batches(path, form=form):
            rows = batch.column("row").to_numpy()
            for row, link_id in zip(rows.tolist(), batch.column("link_id").to_pylist(), strict=True):
                yield DetailedLink(row=row, link_id=str(link_id))
    except (pa.ArrowException, OSError, KeyError):
        raise IncompleteDownloadError(
            "The link table cannot be read to its end, so it is not whole. Nothing of it was kept; ask for it again.",
            request_id=request_id,
        ) from None


def _batches(path: Path, *, form: str) -> Iterator[pa.RecordBatch]:
    if form == "parquet":
        yield from pq.ParquetFile(path).iter_batches(columns=["row", "link_id"])
        return
    with pa.OSFile(str(path), "r") as file:
        yield from pa.ipc.open_stream(file)
