"""The page that checks bundles, in a real Chromium, opened from a file, without a network.

It must answer as the command does: the same bundles go through both, and what they find is compared.
"""

import base64
import io
import json
import random
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import FilePayload, Page, expect

from linkage_ledger import merkle
from linkage_ledger.bundle import verify_bundle, verify_page
from linkage_ledger.checkpoints import Checkpoint, sign_checkpoint
from linkage_ledger.cosignatures import CosigningKey, WitnessKey, cosign
from linkage_ledger.errors import BundleError
from linkage_ledger.handover import sign_handover
from linkage_ledger.memory import MemoryLog
from linkage_ledger.notes import SigningKey, split_note
from support.bundles import (
    DOCUMENTS,
    FIRST,
    LAST,
    SIZE,
    STRANGER,
    a_log,
    bundle_of_header,
    by_digest,
    fine_headers,
    forged_history,
    forgeries,
    leaves_of,
    make_bundle,
    members_of,
    odd_headers,
    with_members,
)
from support.chromium import chromium
from support.ledger_logs import KEY, make_header

LOG = a_log()
GOOD = make_bundle(LOG)
EVIL = "<img src=x onerror=alert(1)><script>alert(1)</script>"

_CHECK_ALL = """async (cases) => {
  const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const answers = [];
  for (const { bundle, keys, against, witnesses } of cases) {
    try {
      answers.push(await linkageLedger.checkBundle(new Blob([bytes(bundle)]), {
        keys: linkageLedger.parseKeyLines(keys),
        witnesses: linkageLedger.parseKeyLines(witnesses, linkageLedger.WITNESS_KEY),
        against,
      }));
    } catch (error) {
      answers.push({ status: "unreadable", error: error.constructor.name, words: error.message });
    }
  }
  return answers;
}"""
_FLIP_ALL = """async ({ bundle, keys, flips }) => {
  const good = Uint8Array.from(atob(bundle), (character) => character.charCodeAt(0));
  const missed = [];
  for (const [at, bit] of flips) {
    const changed = good.slice();
    changed[at] ^= 1 << bit;
    try {
      const trusted = linkageLedger.parseKeyLines(keys);
      const { status } = await linkageLedger.checkBundle(new Blob([changed]), { keys: trusted });
      if (status !== "broken") missed.push(at);
    } catch (error) {
      if (error.constructor.name !== "Unreadable") missed.push([at, String(error)]);
    }
  }
  return missed;
}"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    file = tmp_path_factory.mktemp("page") / "verify.html"
    file.write_bytes(verify_page())
    with chromium() as browser:
        context = browser.new_context(offline=True, viewport={"width": 900, "height": 1200})
        page = context.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text))
        page.on("request", lambda request: problems.append(request.url) if request.url.startswith("http") else None)
        page.goto(file.as_uri())
        yield page
        assert problems == []


@pytest.fixture
def fresh(page: Page) -> Page:
    page.reload()
    return page


def case(
    bundle: bytes,
    *,
    keys: tuple[SigningKey, ...] = (KEY,),
    against: str | None = None,
    witnesses: tuple[WitnessKey, ...] = (),
) -> dict[str, Any]:
    return {"bundle": bundle, "keys": keys, "against": against, "witnesses": witnesses}


def by_command(bundle: bytes, keys: Any, against: str | None, witnesses: Any) -> dict[str, Any]:
    try:
        report = verify_bundle(
            io.BytesIO(bundle), verifier_keys=[key.verifier for key in keys], against=against, witnesses=witnesses
        )
    except BundleError:
        return {"status": "unreadable"}
    answer: dict[str, Any] = {"status": report.status, "lines": list(report.lines), **asdict(report)}
    answer.pop("other_page")
    return answer


def by_page(page: Page, cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    given = [
        {
            "bundle": base64.b64encode(one["bundle"]).decode(),
            "keys": "\n".join(key.verifier.format() for key in one["keys"]),
            "against": one["against"],
            "witnesses": "\n".join(key.format() for key in one["witnesses"]),
        }
        for one in cases
    ]
    answers: list[dict[str, Any]] = page.evaluate(_CHECK_ALL, given)
    return answers


def comparable(answer: dict[str, Any]) -> Any:
    """A report as plain lists and dicts; the words of an unreadable file may differ."""
    if answer["status"] == "unreadable":
        assert answer.get("error", "Unreadable") == "Unreadable", answer
        return "unreadable"
    return {
        name: [dict(item) if isinstance(item, dict) else item for item in value]
        if isinstance(value, list | tuple)
        else value
        for name, value in answer.items()
    }


def compare(page: Page, cases: dict[str, dict[str, Any]]) -> set[str]:
    """Hold the page's answers against the command's, and give the statuses that came up."""
    shown = by_page(page, list(cases.values()))
    for (name, one), answer in zip(cases.items(), shown, strict=True):
        assert comparable(answer) == comparable(by_command(**one)), name
    return {answer["status"] for answer in shown}


def test_browser_can_do_what_the_page_needs(page: Page) -> None:
    assert page.evaluate("linkageLedger.selfTest()") is None


def test_forged_bundles_are_found_as_the_command_finds_them(page: Page) -> None:
    cases = {name: case(bundle) for name, bundle in forgeries(LOG).items()}
    assert compare(page, cases) == {"broken", "unreadable"}


def test_headers_are_read_as_strictly_as_by_the_command(page: Page) -> None:
    odd = {name: case(bundle_of_header(header)) for name, header in odd_headers().items()}
    fine = {name: case(bundle_of_header(header)) for name, header in fine_headers().items()}
    assert compare(page, odd) == {"broken"}
    assert compare(page, fine) == {"whole"}


def test_everything_that_holds_is_said_in_the_words_of_the_command(page: Page) -> None:
    def kept(size: int, log: MemoryLog = LOG) -> str:
        return log.checkpoint_rows[size].note

    proof = merkle.consistency_proof(LOG.tree, 3, SIZE)
    carrying = make_bundle(LOG, consistency=(kept(3), proof))
    wrong_proof = make_bundle(LOG, consistency=(kept(3), [*proof[:-1], b"\xee" * 32]))
    witness = CosigningKey.generate("witness.example")
    cosigned = kept(SIZE) + cosign(split_note(kept(SIZE))[0], witness, time=1_772_449_200)
    falsely = kept(SIZE) + cosign(split_note(kept(9))[0], witness, time=1_772_449_200)
    new = SigningKey.generate(KEY.name)
    handed = sign_handover(size=10, root=merkle.root(LOG.tree, 10), old=KEY, new=new)
    by_new = sign_checkpoint(Checkpoint(KEY.name, SIZE, LOG.head_row.root), new)
    after = make_bundle(LOG, checkpoint=by_new, handovers=[handed], verifier_keys=[new.verifier.format()])
    elsewhere = sign_handover(size=10, root=b"\x01" * 32, old=KEY, new=new)
    beyond = sign_handover(size=SIZE + 6, root=merkle.root(a_log(SIZE + 6).tree, SIZE + 6), old=KEY, new=new)
    at_the_end = sign_handover(size=SIZE, root=LOG.head_row.root, old=KEY, new=new)
    forked = sign_handover(size=SIZE, root=b"\x01" * 32, old=KEY, new=new)
    hashes = [replace(leaf, header=None, salt=None, body=None) for leaf in leaves_of(LOG, FIRST, LAST)]
    disposed = a_log()
    disposed.dispose_of_body(6)
    withheld = [
        replace(leaf, salt=None, body=None, withheld=leaf.body is not None) for leaf in leaves_of(LOG, FIRST, LAST)
    ]
    late = a_log()
    late.append(make_header(0))
    compare(
        page,
        {
            "whole": case(GOOD),
            "own key": case(GOOD, keys=()),
            "another key": case(GOOD, keys=(STRANGER,)),
            "forged by a stranger, believed": case(forged_history(STRANGER, log=LOG), keys=()),
            **{f"against {size}": case(GOOD, against=kept(size)) for size in (3, 5, 8, 19, SIZE)},
            "against nothing": case(GOOD, against="nothing"),
            "against longer": case(GOOD, against=kept(SIZE + 2, a_log(SIZE + 2))),
            "against another key": case(GOOD, against=sign_checkpoint(Checkpoint(KEY.name, 9, b"\x01" * 32), STRANGER)),
            "against the empty log": case(
                GOOD, against=sign_checkpoint(Checkpoint(KEY.name, 0, merkle.EMPTY_ROOT), KEY)
            ),
            "rewritten": case(forged_history(KEY, log=LOG), against=kept(9)),
            "carrying": case(carrying),
            "carrying, against": case(carrying, against=kept(3)),
            "carrying, wrongly": case(wrong_proof, against=kept(3)),
            "cosigned": case(make_bundle(LOG, checkpoint=cosigned)),
            "cosigned, checked": case(make_bundle(LOG, checkpoint=cosigned), witnesses=(witness.verifier,)),
            "cosigned falsely": case(make_bundle(LOG, checkpoint=falsely), witnesses=(witness.verifier,)),
            "handed over": case(after, against=kept(9)),
            "handed over, new key": case(after, keys=(new,), against=kept(9)),
            "handed over, to a stranger": case(after, keys=(STRANGER,)),
            "handed over, old key still used": case(make_bundle(LOG, handovers=[handed])),
            "handed over elsewhere": case(make_bundle(LOG, checkpoint=by_new, handovers=[elsewhere])),
            "handed over, damaged": case(make_bundle(LOG, checkpoint=by_new, handovers=[handed[:-9] + handed[-8:]])),
            "retired key, before the hand-over": case(make_bundle(LOG, handovers=[beyond]), keys=(new,)),
            "retired key, at the hand-over": case(make_bundle(LOG, handovers=[at_the_end]), keys=(new,)),
            "retired key, another root at the hand-over": case(make_bundle(LOG, handovers=[forked]), keys=(new,)),
            "two keys of one log": case(GOOD, keys=(KEY, new)),
            "two keys of one log, handed to a third": case(after, keys=(KEY, STRANGER)),
            "two keys of one log, handed over": case(after, keys=(KEY, new)),
            "handed over before it begins": case(
                make_bundle(LOG, 11, LAST, checkpoint=by_new, handovers=[handed]), keys=(KEY,)
            ),
            "whole log": case(make_bundle(LOG, 0, SIZE - 1)),
            "document that nothing names": case(make_bundle(LOG, documents={**DOCUMENTS, **by_digest(b"another")})),
            "hashes only": case(make_bundle(LOG, leaves=hashes)),
            "no documents": case(make_bundle(LOG, documents={})),
            "disposed": case(make_bundle(disposed)),
            "withheld": case(make_bundle(LOG, leaves=withheld)),
            "backwards": case(make_bundle(late, 5, SIZE)),
        },
    )


def test_single_bytes_that_change_are_found_here_too(page: Page) -> None:
    """Every fifth byte behind the longest texts; the command is tried with each of them."""
    bundle = make_bundle(a_log(10), 5, 8, documents={})
    start = bundle.index(members_of(bundle)["bundle.json"]) - 50
    flips = [[at, random.Random(at).randrange(8)] for at in [*range(0, start, 4000), *range(start, len(bundle), 5)]]
    given = {"bundle": base64.b64encode(bundle).decode(), "keys": KEY.verifier.format(), "flips": flips}
    assert page.evaluate(_FLIP_ALL, given) == []


# As an officer sees it.


def choose(page: Page, selector: str, content: bytes, name: str) -> None:
    payload: FilePayload = {"name": name, "mimeType": "application/octet-stream", "buffer": content}
    page.set_input_files(selector, payload)


def test_officer_chooses_the_bundle_and_reads_the_answer(fresh: Page) -> None:
    fresh.fill("#keys", KEY.verifier.format())
    choose(fresh, "#against", LOG.checkpoint_rows[9].note.replace("\n", "\r\n").encode(), "checkpoint.txt")
    choose(fresh, "#bundle", GOOD, "bundle.zip")
    result = fresh.locator("#result")
    expect(result).to_have_attribute("data-status", "whole")
    expect(result).to_contain_text("14 events; none missing between 5 and 18.")
    expect(result).to_contain_text("Nothing changed since the checkpoint you kept, of 9 events.")
    expect(fresh.locator("#events .event")).to_have_count(14)
    assert fresh.evaluate("document.activeElement.id") == "result"
    with fresh.expect_download() as download:
        fresh.click("#keep-link")
    assert Path(download.value.path()).read_bytes() == members_of(GOOD)["checkpoint.txt"]


@pytest.mark.parametrize(
    ("bundle", "key", "status", "words"),
    [
        (GOOD, "", "unclear", "no key of yours was used"),
        (forgeries(LOG)["header changed"], KEY.verifier.format(), "broken", "Event 7: The event was changed"),
        (b"no zip", KEY.verifier.format(), "unreadable", "too short to be a bundle"),
        (GOOD, "not a key", "unreadable", "A key that you gave cannot be used."),
    ],
)
def test_mark_and_words_go_together(fresh: Page, bundle: bytes, key: str, status: str, words: str) -> None:
    fresh.fill("#keys", key)
    choose(fresh, "#bundle", bundle, "bundle.zip")
    expect(fresh.locator("#result")).to_have_attribute("data-status", status)
    expect(fresh.locator("#result")).to_contain_text(words)
    mark = {"unclear": "unclear", "broken": "broken", "unreadable": "broken"}[status]
    drawn = fresh.locator(".mark path").evaluate_all(
        "paths => paths.filter((one) => getComputedStyle(one).display !== 'none').map((one) => one.className.baseVal)"
    )
    assert drawn == [mark]


def test_verdict_goes_when_what_was_given_changes(fresh: Page) -> None:
    result = fresh.locator("#result")
    for change in (
        lambda: fresh.fill("#keys", STRANGER.verifier.format()),
        lambda: choose(fresh, "#against", b"nothing", "checkpoint.txt"),
        lambda: fresh.evaluate("document.getElementById('witnesses').dispatchEvent(new Event('input'))"),
    ):
        fresh.reload()
        fresh.fill("#keys", KEY.verifier.format())
        choose(fresh, "#bundle", GOOD, "bundle.zip")
        expect(result).to_be_visible()
        change()
        expect(result).to_be_hidden()
        expect(fresh.locator("#events")).to_be_hidden()


def test_check_that_was_overtaken_shows_nothing(fresh: Page) -> None:
    """The first file is held back while it is read, until the answer to the second is there."""
    fresh.fill("#keys", KEY.verifier.format())
    fresh.evaluate(
        """() => {
          const genuine = Blob.prototype.arrayBuffer;
          const held = new Promise((resolve) => { globalThis.letGo = resolve; });
          let first = true;
          Blob.prototype.arrayBuffer = async function () {
            if (first) {
              first = false;
              await held;
            }
            return genuine.call(this);
          };
        }"""
    )
    choose(fresh, "#bundle", GOOD, "good.zip")
    choose(fresh, "#bundle", forgeries(LOG)["header changed"], "forged.zip")
    expect(fresh.locator("#result")).to_have_attribute("data-status", "broken")
    # A whole check begun now ends after the one that was held back.
    fresh.evaluate(
        """async () => {
          letGo();
          const [file] = document.getElementById("bundle").files;
          for (let times = 0; times < 3; times += 1) await linkageLedger.checkBundle(file);
        }"""
    )
    expect(fresh.locator("#result")).to_have_attribute("data-status", "broken")


def test_header_that_cannot_be_turned_into_text_is_listed_and_the_verdict_stands(fresh: Page) -> None:
    none = {"toString": 1}
    odd = json.dumps({"actor": {"id": none}, "outcome": {"status": none}, "time": none, "type": none}).encode()
    fresh.fill("#keys", KEY.verifier.format())
    choose(fresh, "#bundle", bundle_of_header(odd), "bundle.zip")
    expect(fresh.locator("#result")).to_have_attribute("data-status", "broken")
    expect(fresh.locator("#list .event")).to_have_count(3)


def test_events_are_filtered_and_paged(fresh: Page) -> None:
    long = make_bundle(a_log(260), 0, 259)
    choose(fresh, "#bundle", long, "bundle.zip")
    rows = fresh.locator("#list .event")
    expect(rows).to_have_count(100)
    fresh.click("#more")
    expect(rows).to_have_count(200)
    fresh.fill("#filter", "upl_42")
    expect(fresh.locator("#shown")).to_have_text("1 shown, which is all.")
    expect(rows).to_have_count(1)
    rows.locator("summary").click()
    expect(rows.locator("pre").first).to_be_visible()
    fresh.fill("#filter", "nothing like it")
    expect(rows).to_have_count(0)


def test_keyboard_is_enough(fresh: Page) -> None:
    reached = []
    for _ in range(5):
        fresh.keyboard.press("Tab")
        reached.append(fresh.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert reached == ["bundle", "keys", "against", "SUMMARY", "check"]
    fresh.focus("#check")
    fresh.keyboard.press("Enter")
    expect(fresh.locator("#progress")).to_have_text("Choose the bundle first.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_readable_on_a_narrow_screen(fresh: Page, scheme: Any) -> None:
    fresh.emulate_media(color_scheme=scheme)
    fresh.set_viewport_size({"width": 320, "height": 640})
    fresh.fill("#keys", KEY.verifier.format())
    choose(fresh, "#bundle", forgeries(LOG)["header changed"], "bundle.zip")
    expect(fresh.locator("#result")).to_have_attribute("data-status", "broken")
    expect(fresh.locator("#events .event").first).to_be_visible()
    assert fresh.evaluate("document.documentElement.scrollWidth") == 320
    assert _lowest_contrast(fresh) >= 4.5
    fresh.set_viewport_size({"width": 900, "height": 1200})
    fresh.emulate_media(color_scheme="light")


def _lowest_contrast(page: Page) -> float:
    """WCAG 2.2 contrast of every text on what is behind it."""
    ratio: float = page.evaluate(
        r"""() => {
          const channels = (text) => text.match(/[\d.]+/g).map(Number);
          const luminance = ([r, g, b]) => [r, g, b]
            .map((value) => value / 255)
            .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
            .reduce((sum, value, at) => sum + value * [0.2126, 0.7152, 0.0722][at], 0);
          const behind = (element) => {
            for (let at = element; at; at = at.parentElement) {
              const colour = channels(getComputedStyle(at).backgroundColor);
              if (colour.length === 3 || colour[3] > 0) return colour;
            }
            return [255, 255, 255];
          };
          const hasText = (element) =>
            [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
          const texts = [...document.querySelectorAll("main *")]
            .filter((element) => element.checkVisibility() && hasText(element));
          return Math.min(...texts.map((element) => {
            const [one, other] = [luminance(channels(getComputedStyle(element).color)), luminance(behind(element))];
            return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
          }));
        }"""
    )
    return ratio


def test_what_a_bundle_holds_never_becomes_markup(fresh: Page) -> None:
    log = a_log(3)
    log.append(make_header(4), {"note": EVIL})
    bundle = make_bundle(log, 0, 3, question=EVIL)
    choose(fresh, "#bundle", bundle, "bundle.zip")
    expect(fresh.locator("#result")).to_contain_text(EVIL)
    fresh.locator("#list summary").last.click()
    expect(fresh.locator("#list pre").last).to_contain_text(EVIL)
    assert fresh.locator("main img").count() == 0


def test_page_can_load_and_send_nothing(page: Page) -> None:
    other = page.context.new_page()
    other.goto(page.url)
    text = verify_page().decode()
    assert re.search(r"default-src 'none'; script-src 'sha256-[^']+'; style-src 'sha256-[^']+';", text)
    assert not re.search(r"https?://|<link|<iframe|<object|\son\w+=|\sstyle=|\ssrc=|innerHTML|eval\(", text)
    blocked = other.evaluate(
        """() => new Promise((resolve) => {
          const answer = (event) => resolve(event.effectiveDirective);
          document.addEventListener("securitypolicyviolation", answer, { once: true });
          fetch("https://example.org/").catch(() => {});
        })"""
    )
    assert blocked == "connect-src"
    other.close()


def test_bundle_brings_the_page_along() -> None:
    assert members_of(GOOD)["verify.html"] == verify_page()
    assert members_of(with_members(GOOD, verify__html=b"x"))["verify.html"] == b"x"
