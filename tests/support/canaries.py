"""Finding a secret in bytes, however it was written: text, capitals, hex, base64 at any offset, UTF-16."""

import base64
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

# A shorter piece of base64 turns up by chance.
_SHORTEST = 6


def spellings(canary: bytes) -> set[bytes]:
    """Ways in which these bytes may stand in a file."""
    found = {
        canary,
        canary.upper(),
        canary.lower(),
        canary.capitalize(),
        canary.hex().encode(),
        canary.hex().upper().encode(),
    }
    found |= {_inner_base64(canary, offset, alphabet) for offset in range(3) for alphabet in (b"+/", b"-_")}
    try:
        text = canary.decode()
    except UnicodeDecodeError:
        return {spelling for spelling in found if len(spelling) >= _SHORTEST}
    found |= {text.encode("utf-16-le"), text.encode("utf-16-be"), quote(text).encode(), text[::-1].encode()}
    return {spelling for spelling in found if len(spelling) >= _SHORTEST}


def search(files: Iterable[Path], canaries: Mapping[str, bytes]) -> list[str]:
    """Where canaries are: "name in file", never the value."""
    wanted = {name: spellings(canary) for name, canary in canaries.items()}
    hits = []
    for file, content in contents(files):
        hits += [f"{name} in {file.name}" for name, forms in wanted.items() if any(form in content for form in forms)]
    return hits


def contents(files: Iterable[Path]) -> Iterator[tuple[Path, bytes]]:
    """Files with their bytes; not those that a process that is still ending removes meanwhile, as SQLite its log."""
    for file in files:
        with suppress(FileNotFoundError):
            yield file, file.read_bytes()


def files_below(*folders: Path) -> list[Path]:
    """Every regular file below the folders."""
    return sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())


def _inner_base64(canary: bytes, offset: int, alphabet: bytes) -> bytes:
    """The base64 characters that depend on the canary alone when `offset` unknown bytes stand before it."""
    encoded = base64.b64encode(b"\0" * offset + canary, altchars=alphabet).rstrip(b"=")
    first = (offset * 8 + 5) // 6
    last = (offset + len(canary)) * 8 // 6
    return encoded[first:last]
