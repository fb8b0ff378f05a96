"""Which disks are looked at for room."""

from pathlib import Path

from linkage_service.figures import free_bytes
from linkage_service.settings import Settings


def test_room_is_looked_for_wherever_the_service_writes_on_this_machine(tmp_path: Path) -> None:
    assert free_bytes(Settings(data_dir=tmp_path)).keys() == {"data", "database"}
    (tmp_path / "blobs").mkdir()
    assert free_bytes(Settings(data_dir=tmp_path)).keys() == {"data", "database", "blobs"}


def test_room_of_other_machines_is_not_looked_for(tmp_path: Path) -> None:
    database = "postgresql+psycopg://linkage@db.example/linkage"
    settings = Settings(data_dir=tmp_path, database_url=database, blob_url="s3://linkage")
    assert free_bytes(settings).keys() == {"data"}
