"""Our encoder and clkhash give the same bits over the whole space of linkage schemas."""

import base64
import copy
import re
import string
from collections.abc import Callable
from typing import Any

import numpy as np
from clkhash.clk import generate_clks
from clkhash.schema import from_json_dict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linkage_client.encoding.encoder import Encoder
from linkage_client.encoding.normalise import basic_text
from linkage_client.encoding.schema import LinkageSchema

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.text(
    string.ascii_lowercase + " -'", max_size=30
)
DATE_FORMATS = ("%Y%m%d", "%Y-%m-%d", "%d/%m/%Y", "%Y/%m/%d", "%d-%m-%Y", "%d %b %Y", "%m/%d/%y", "%d.%m.%Y")


@st.composite
def formats(draw: st.DrawFn) -> tuple[dict[str, Any], st.SearchStrategy[str]]:
    """A format and values that conform to it."""
    kind = draw(st.sampled_from(["text", "ascii", "pattern", "integer", "date", "enum"]))
    if kind == "text":
        encoding = draw(st.sampled_from(["utf-8", "utf-16", "utf-32"]))
        longest = draw(st.integers(1, 20))
        case = draw(st.sampled_from(["mixed", "upper", "lower"]))
        ways: dict[str, Callable[[str], str]] = {"mixed": str, "upper": str.upper, "lower": str.lower}
        written = ways[case]
        form = {"type": "string", "encoding": encoding, "case": case, "minLength": 0, "maxLength": longest}
        return form, TEXT.map(written).map(lambda value: value[:longest]).filter(lambda value: written(value) == value)
    if kind == "ascii":
        return {"type": "string", "encoding": "ascii"}, st.text(string.printable, max_size=15)
    if kind == "pattern":
        return {"type": "string", "pattern": "[a-c]{0,5}|[0-9]+"}, st.from_regex(
            re.compile("([a-c]{0,5}|[0-9]{1,9})", re.ASCII), fullmatch=True
        )
    if kind == "integer":
        spellings = st.sampled_from(["{}", " {}", "{} ", "00{}", "+{}"])
        numbers = st.builds(lambda spelling, number: spelling.format(number), spellings, st.integers(0, 10**20))
        return {"type": "integer", "minimum": -(10**6)}, numbers | st.integers(-(10**6), 10**6).map(str)
    if kind == "date":
        spelling = draw(st.sampled_from(DATE_FORMATS))
        return {"type": "date", "format": spelling}, st.dates().filter(lambda day: day.year > 999).map(
            lambda day: day.strftime(spelling)
        )
    values = draw(st.lists(st.text(max_size=4).filter(_encodable), min_size=1, max_size=4))
    return {"type": "enum", "values": values}, st.sampled_from(values)


def _encodable(value: str) -> bool:
    return not any(0xD800 <= ord(character) <= 0xDFFF for character in value)


@st.composite
def comparisons(draw: st.DrawFn, *, numeric: bool) -> dict[str, Any]:
    kind = draw(st.sampled_from(["ngram", "exact", *(["numeric"] if numeric else [])]))
    if kind == "ngram":
        return {"type": "ngram", "n": draw(st.integers(1, 5)), "positional": draw(st.booleans())}
    if kind == "exact":
        return {"type": "exact"}
    return {
        "type": "numeric",
        "thresholdDistance": draw(st.integers(1, 1000) | st.floats(0.51, 1000)),
        "resolution": draw(st.integers(1, 8)),
        "fractional_precision": draw(st.integers(0, 4)),
    }


@st.composite
def features(draw: st.DrawFn, *, blake: bool) -> tuple[dict[str, Any], st.SearchStrategy[str]]:
    if draw(st.integers(0, 5)) == 0:
        return {"identifier": "unset", "ignored": True}, TEXT
    form, values = draw(formats())
    as_number = form["type"] == "integer" or (form["type"] == "string" and "encoding" in form and draw(st.booleans()))
    if as_number and form["type"] == "string":
        form = {"type": "string"}
        values = st.floats(-1e12, 1e12).map(str) | st.integers().map(str) | st.just("")
    hashes: list[dict[str, Any]] = [
        {"type": "doubleHash"},
        {"type": "doubleHash", "prevent_singularity": True},
        {"type": "doubleHash", "prevent_singularity": False},
    ]
    if blake:
        hashes += [{"type": "blakeHash"}] * 3
    hashing: dict[str, Any] = {
        "comparison": draw(comparisons(numeric=as_number)),
        "strategy": draw(
            st.builds(lambda bits: {"bitsPerToken": bits}, st.integers(1, 70))
            | st.builds(lambda bits: {"bitsPerFeature": bits}, st.integers(1, 300))
        ),
        "hash": draw(st.sampled_from(hashes)),
    }
    if draw(st.booleans()):
        sentinel = draw(st.sampled_from(["", "N/A", "9999"]))
        hashing["missingValue"] = {"sentinel": sentinel}
        if as_number or draw(st.booleans()):
            hashing["missingValue"]["replaceWith"] = draw(st.sampled_from(["", "7"]))
        values = values | st.just(sentinel)
    return {"identifier": "unset", "format": form, "hashing": hashing}, values


@st.composite
def cases(draw: st.DrawFn) -> tuple[dict[str, Any], list[list[str]], bytes]:
    blake = draw(st.booleans())
    folds = draw(st.integers(0, 3))
    length = 2 ** draw(st.integers(3, 11)) if blake else 8 * draw(st.integers(1, 100))
    kdf: dict[str, Any] = {"type": "HKDF"}
    if draw(st.booleans()):
        kdf["hash"] = draw(st.sampled_from(["SHA256", "SHA512"]))
    for name in ("salt", "info"):
        if draw(st.booleans()):
            kdf[name] = base64.b64encode(draw(st.binary(max_size=80))).decode()
    if draw(st.booleans()):
        kdf["keySize"] = draw(st.integers(1, 64))
    drawn = draw(
        st.lists(features(blake=blake), min_size=1, max_size=6).filter(lambda few: any("hashing" in f for f, _ in few))
    )
    document = {
        "version": 3,
        # The name that clkhash reads; the other is in the tests of traps.
        "clkConfig": {"l": length, "kdf": kdf, "xor_folds": folds},
        "features": [{**feature, "identifier": f"field {place}"} for place, (feature, _) in enumerate(drawn)],
    }
    rows = draw(st.lists(st.tuples(*(values for _, values in drawn)).map(list), min_size=1, max_size=12))
    return document, rows, draw(st.binary(min_size=1, max_size=80))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(cases())
def test_encoder_any_schema_and_records_agrees_with_clkhash(
    case: tuple[dict[str, Any], list[list[str]], bytes],
) -> None:
    document, rows, secret = case
    theirs = generate_clks(rows, from_json_dict(copy.deepcopy(document)), secret, max_workers=1)
    columns = [list(column) for column in zip(*rows, strict=True)]
    ours = Encoder(LinkageSchema.parse(document), secret).encode_columns(columns)
    assert ours.dtype == np.uint8
    assert [row.tobytes() for row in ours] == [clk.tobytes() for clk in theirs]


@settings(max_examples=25, deadline=None)
@given(cases())
def test_encoder_columns_by_name_agree_with_columns_in_order(
    case: tuple[dict[str, Any], list[list[str]], bytes],
) -> None:
    document, rows, secret = case
    schema = LinkageSchema.parse(document)
    columns = [list(column) for column in zip(*rows, strict=True)]
    named = {feature.identifier: columns[feature.index] for feature in schema.hashed_features}
    encoder = Encoder(schema, secret)
    assert np.array_equal(encoder.encode_columns(named), encoder.encode_columns(columns))


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_basic_text_applied_twice_changes_nothing_more(value: str) -> None:
    once = basic_text(value)
    assert basic_text(once) == once
    assert once == once.strip()
    assert "  " not in once


@given(st.text(string.printable))
def test_basic_text_ascii_shortcut_agrees_with_the_long_way(value: str) -> None:
    assert basic_text(value) == basic_text(value + "\N{COMBINING ACUTE ACCENT}")
