"""Renews the style sheet and script of GOV.UK Frontend that are kept here, without its fonts, crest and icons.

`python vendor_govuk.py` uses `npm pack`, with whatever registry npm is set up for, and compares the package's digest.
"""

import base64
import hashlib
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

RELEASE = "6.3.0"
SHA512 = "cXIQxm5PHCsbic47GXZrVBZhAeeshTLRL6ZBKilLsR6rMCjJuWb7Fruq0VUNMBJFlJk/srsRj/q8d5bM9cgKoA=="
# The licence of GDS Transport is for services on gov.uk only; these are the fonts of the reader's own system.
FONTS = 'system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif'
STATIC = Path(__file__).parent / "src" / "linkage_console" / "static"


def main() -> None:
    """Fetches, checks, changes and writes."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", f"govuk-frontend@{RELEASE}", "--silent", "--pack-destination", folder]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        package = next(Path(folder).glob("*.tgz"))
        if base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode() != SHA512:
            sys.exit("The package is not the one whose digest stands here. Nothing was changed.")
        with tarfile.open(package) as archive:
            sheet, script = (_text(archive, f"package/dist/govuk/govuk-frontend.min.{kind}") for kind in ("css", "js"))
    STATIC.mkdir(exist_ok=True)
    for name, text in (("css", without_brand(sheet)), ("js", _without_map(script))):
        (STATIC / f"govuk-frontend.min.{name}").write_text(text, encoding="utf-8", newline="\n")


def without_brand(sheet: str) -> str:
    """The style sheet with the fonts of the reader's system, and with nothing to be fetched from elsewhere."""
    sheet = re.sub(r"/\*! Copyright \(c\) 2011 by Margaret Calvert.*?\*/", "", sheet, flags=re.DOTALL)
    sheet = re.sub(r"@font-face\{[^}]*\}", "", sheet)
    sheet = re.sub(r"GDS Transport,arial,sans-serif", FONTS, sheet)
    sheet = re.sub(r"(?:-webkit-)?(?:mask-image|background-image):url\([^)]*\);?", "", sheet)
    sheet = re.sub(r"background:url\([^)]*\)[^;}]*;?", "", sheet)
    sheet = re.sub(r"(?:-webkit-)?mask:url\([^)]*\)[^;}]*;?", "", sheet)
    left = re.findall(r"GDS Transport|url\([^)]*\)", sheet)
    if left:
        sys.exit(f"These are still in the style sheet: {left}. Nothing was changed.")
    return _without_map(sheet) + "\n"


def _text(archive: tarfile.TarFile, name: str) -> str:
    member = archive.extractfile(name)
    if member is None:
        sys.exit(f"The package has no {name}. Nothing was changed.")
    return member.read().decode("utf-8")


def _without_map(text: str) -> str:
    return re.sub(r"\n?(?:/\*#|//#) sourceMappingURL=.*", "", text).rstrip() + "\n"


if __name__ == "__main__":
    main()
