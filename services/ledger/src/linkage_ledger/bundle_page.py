"""The page that checks a bundle in a browser: put together from its parts in ``page/``, one file that loads nothing."""

import base64
import hashlib
from functools import cache
from importlib import resources

_SCRIPTS = ("bytes.js", "tree.js", "notes.js", "header.js", "archive.js", "words.js", "check.js", "ui.js")


@cache
def verify_page() -> bytes:
    """The page, as this release ships it.

    Its policy lets the browser run this script and use this style, and lets neither it nor anything else load or send.
    """
    script = '"use strict";\n{\n' + "\n".join(_part(name) for name in _SCRIPTS) + "}\n"
    style = _part("page.css")
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    page = _part("page.html").replace("@POLICY@", policy)
    return page.replace("@STYLE@", style).replace("@SCRIPT@", script).encode()


def _part(name: str) -> str:
    return resources.files("linkage_ledger").joinpath("page", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
