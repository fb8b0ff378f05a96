"""What a run and its report say, in plain words, so that terminal and page say the same.

Precision is "the share of links that are right", recall "the share of matches that were found": whoever reads a report
should not have to look up either. Nothing here knows how it is shown.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from linkage_client.models import (
    Aim,
    Finding,
    MatchEstimate,
    ReportComparison,
    RunReport,
)

NOT_SHOWN: Final = "not shown"
UNKNOWN: Final = "not known"

_FINDING_TITLES: Final[Mapping[str, str]] = {
    "no_separation": "Matches cannot be told from chance",
    "few_matches": "Few matches: wide margins",
    "too_small": "Too little data for an estimate",
    "unequal_populations": "The files hold different kinds of people",
    "duplicates_in_source": "A file seems to hold duplicates",
    "bounded_candidates": "Some possible pairs were left out",
    "blocking": "Not every pair was compared",
    "counts_suppressed": "Counts too small to show",
}
# The same codes where an upload that may hold duplicates is compared with itself.
_TITLES_WITHIN: Final[Mapping[str, str]] = {
    "no_separation": "No duplicates stand out",
    "few_matches": "Few duplicates: wide margins",
}
_SIMILARITIES: Final[Mapping[str, str]] = {
    "dice": "Dice coefficient of the encodings",
    "simple_matching": "share of agreeing bits of the encodings",
}
_SMALL_NUMBERS: Final = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_PAIR: Final = 2
_LISTED_FINDINGS: Final = 3
_ALMOST_ALL, _ALMOST_NONE = 0.9995, 0.0005
_RARER_THAN_SAID: Final = 2_000


@dataclass(frozen=True, slots=True)
class Names:
    """What organisations are called, by id; an id that is not known stands for itself."""

    by_id: Mapping[str, str] = field(default_factory=dict)

    def of(self, organisation: str) -> str:
        """One organisation: its name, with the id where another has the same name."""
        name = plain(self.by_id.get(organisation, ""))
        if not name:
            return plain(organisation)
        namesakes = Counter(plain(other) for other in self.by_id.values())[name]
        return f"{name} ({plain(organisation)})" if namesakes > 1 else name

    def together(self, organisations: Sequence[str]) -> str:
        """Several: "A", "A and B", "A, B and C"."""
        return enumerated([self.of(organisation) for organisation in organisations])


# --- numbers ---------------------------------------------------------------------------------------------------------


def plain(text: str) -> str:
    """Text on one line without control characters, so that a name from elsewhere cannot rewrite what is shown."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def enumerated(items: Sequence[str]) -> str:
    """Items as a sentence has them: A; A and B; A, B and C."""
    if len(items) < _PAIR:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def count(value: float | None) -> str:
    """A count with separators, or that it is not shown."""
    return NOT_SHOWN if value is None else f"{value:,.0f}"


def small_number(value: int) -> str:
    """A number as a word, up to ten."""
    return _SMALL_NUMBERS[value] if 0 <= value < len(_SMALL_NUMBERS) else f"{value:,}"


def share(value: float | None) -> str:
    """A share in 0..1 as percent; an estimate is never said to be all or nothing."""
    if value is None:
        return UNKNOWN
    if value >= _ALMOST_ALL:
        return "more than 99.9 %"
    if value < _ALMOST_NONE:
        return "less than 0.1 %"
    return f"{value:.1%}".replace("%", " %")


def about(value: float | None) -> str:
    """A share with "about" where that is grammar: "about 99.8 %", "more than 99.9 %"."""
    text = share(value)
    return f"about {text}" if text[:1].isdigit() else text


def exact_share(value: float) -> str:
    """A share that somebody asked for, with all its digits: 0.995 is "99.5 %"."""
    return f"{round(value * 100, 6):g} %"


def one_in(value: float | None) -> str:
    """How rare the rest of a share is: 0.998 is "about 1 in 500"."""
    if value is None:
        return UNKNOWN
    rest = 1 - value
    if rest * _RARER_THAN_SAID < 1:
        return f"fewer than 1 in {_RARER_THAN_SAID:,}"
    if rest > 1 / _PAIR:
        return about(rest)
    return f"about 1 in {_rounded_denominator(1 / rest):,}"


def _rounded_denominator(value: float) -> int:
    """Two digits say enough of an estimate."""
    digits = len(str(round(value)))
    return round(value, min(0, _PAIR - digits)).__int__()


def interval(matches: MatchEstimate | None) -> str:
    """As "about 2,490, probably between 2,450 and 2,530"."""
    if matches is None or matches.estimate is None:
        return UNKNOWN
    if not _has_width(matches):
        return f"about {count(matches.estimate)}"
    return f"about {count(matches.estimate)}, probably between {count(matches.low)} and {count(matches.high)}"


def short_interval(matches: MatchEstimate | None) -> str:
    """As "2,490 (2,450 to 2,530)", for a cell of a table."""
    if matches is None or matches.estimate is None:
        return UNKNOWN
    if not _has_width(matches):
        return count(matches.estimate)
    return f"{count(matches.estimate)} ({count(matches.low)} to {count(matches.high)})"


def _has_width(matches: MatchEstimate) -> bool:
    return matches.low is not None and matches.high is not None and matches.low < matches.high


# --- what was asked --------------------------------------------------------------------------------------------------


def aim_in_words(aim: Aim | None, *, threshold: float | None = None) -> str:
    """What decided where the run cuts."""
    if aim is None:
        aim = Aim(kind="best_f1") if threshold is None else Aim(kind="threshold", value=threshold)
    if aim.kind == "target_precision" and aim.value is not None:
        return f"at least {exact_share(aim.value)} of the links right"
    if aim.kind == "threshold" and aim.value is not None:
        return f"a fixed threshold: links from a Dice similarity of {aim.value:g} up"
    if aim.kind == "best_f1":
        return "the best balance of right links and found matches"
    return plain(aim.kind.replace("_", " ")) + ("" if aim.value is None else f" {aim.value:g}")


def similarity_in_words(similarity: str) -> str:
    """The similarity that candidates were found by."""
    return _SIMILARITIES.get(similarity, plain(similarity.replace("_", " ")) or UNKNOWN)


def upload_in_words(*, organisation: str, rows: int) -> str:
    """As "Northgate Council, 5,000 records"."""
    return f"{organisation}, {rows:,} record{'' if rows == 1 else 's'}"


# --- what was found --------------------------------------------------------------------------------------------------


def finding_title(finding: Finding) -> str:
    """A finding in a few words; a code that this version does not know is read as words."""
    within = _TITLES_WITHIN.get(finding.code) if len(finding.organisations) == 1 else None
    known = within or _FINDING_TITLES.get(finding.code)
    return known or plain(finding.code.replace("_", " ")).capitalize() or "Finding"


@dataclass(frozen=True, slots=True)
class Said:
    """Findings that say the same of several organisations, as one."""

    title: str
    message: str
    about: tuple[tuple[str, ...], ...]
    """Of whom: one entry for each finding, empty where they are about the run as a whole."""

    def about_in_words(self, names: Names) -> str:
        """Whom they are about; empty for the run as a whole."""
        listed = [names.together(organisations) for organisations in self.about if organisations]
        if len(listed) > _LISTED_FINDINGS:
            everybody = dict.fromkeys(organisation for organisations in self.about for organisation in organisations)
            return f"{len(listed)} combinations of {names.together(list(everybody))}"
        return "; ".join(listed)


def findings_in_words(*sources: Iterable[Finding]) -> list[Said]:
    """Findings of a run and of its report: each once, and together where they say the same."""
    said: dict[tuple[str, str], dict[tuple[str, ...], None]] = {}
    for finding in (finding for source in sources for finding in source):
        key = (finding_title(finding), plain(finding.message))
        said.setdefault(key, {})[tuple(finding.organisations)] = None
    return [Said(title=title, message=message, about=tuple(about)) for (title, message), about in said.items()]


def between(organisations: Sequence[str], names: Names) -> str:
    """As "between A and B", or "within A" where one organisation is compared with itself."""
    different = list(dict.fromkeys(organisations))
    if len(different) == 1:
        return f"within {names.of(different[0])}"
    return f"between {names.together(different)}"


def pair_of(comparison: ReportComparison, names: Names) -> str:
    """The two organisations of a comparison: "A and B", or "within A"."""
    different = list(dict.fromkeys(comparison.organisations))
    return f"within {names.of(different[0])}" if len(different) == 1 else names.together(different)


def pairs_in_words(comparison: ReportComparison) -> str:
    """Which pairs of records a histogram counts."""
    if len(set(comparison.organisations)) == 1:
        return "pairs of similar records inside the file"
    return "pairs of records, each record in one pair at most"


def organisations_of(report: RunReport) -> list[str]:
    """Every organisation of a report, each once, in the order of its comparisons."""
    return list(dict.fromkeys(organisation for one in report.comparisons for organisation in one.organisations))


def headline(report: RunReport, names: Names) -> str:
    """What a director remembers: what was found, and how much of it is right."""
    found = _found(report, names)
    result = report.result
    if not result.links or result.precision is None:
        return f"{found}."
    return f"{found}; {about(result.precision)} of them are right."


def result_in_words(report: RunReport) -> list[str]:
    """The result in a few sentences, the most important first."""
    result = report.result
    if result.links == 0:
        return ["No links were made.", *_matches_in_words(report)]
    parts = ["The number of links is not shown" if result.links is None else f"{count(result.links)} links"]
    if result.links is None and result.precision is None:
        return [f"{parts[0]}, nor what is expected of them: small counts could be worked out from it."]
    if result.precision is None and result.recall is None:
        return [f"{parts[0]}. How many of them are right could not be estimated.", *_groups_in_words(report)]
    if result.precision is not None:
        parts.append(f"{about(result.precision)} of them right")
    if result.recall is not None:
        parts.append(f"{about(result.recall)} of all matches found")
    return ["; ".join(parts) + " (estimated).", *_matches_in_words(report), *_groups_in_words(report)]


def expected_in_words(report: RunReport) -> str:
    """The result in half a sentence."""
    result = report.result
    if result.links is None:
        return "the number of links is not shown"
    links = f"{count(result.links)} link{'' if result.links == 1 else 's'}"
    if result.precision is None:
        return f"{links}; how many of them are right is not known"
    found = "" if result.recall is None else f"; {about(result.recall)} of all matches found"
    return f"{links}; {about(result.precision)} of them right{found}"


def errors_in_words(report: RunReport) -> str:
    """The two kinds of error, as "1 in so many"; empty where they are not known."""
    result = report.result
    if not result.links or result.precision is None or result.recall is None:
        return ""
    return f"Expect {one_in(result.precision)} links to be wrong, and {one_in(result.recall)} matches to be missed."


def blocking_in_words(report: RunReport) -> str:
    """Which pairs were not compared, and what that may have cost; empty where all were."""
    if report.blocking is None:
        return ""
    kept = report.blocking.kept_at_least
    bound = "" if kept is None else f" At least {share(kept)} of the matches were among those compared."
    return f"Only pairs that a sample of their bits brought together were compared.{bound}"


def suppression_in_words(report: RunReport) -> str:
    """How counts were made safe to show."""
    sentences = []
    if report.rounded_to > 1:
        sentences.append(f"Counts are rounded to the nearest {report.rounded_to}.")
    if report.suppressed_below > 1:
        sentences.append(f"Counts below {report.suppressed_below} are not shown, nor others that would give them away.")
    return " ".join(sentences) or "Counts are exact."


def matches_of(comparison: ReportComparison) -> str:
    """How many matches two organisations have, for a cell of a table; not shown where their links are not."""
    if comparison.matches is None and comparison.links is None:
        return NOT_SHOWN
    return short_interval(comparison.matches)


def cut_in_words(comparison: ReportComparison) -> str:
    """Where the cut lies, or why there is none."""
    cut = comparison.cut
    if cut is None or (cut.score is None and cut.probability is None):
        return _without_cut(comparison.links)
    if cut.probability is None:
        return f"cut at score {cut.score:.2f}"
    at = "" if cut.score is None else f"cut at score {cut.score:.2f}; "
    return f"{at}the weakest links made are matches with a probability of {about(cut.probability)}"


def _without_cut(links: int | None) -> str:
    if links is None:
        return "the counts are too small to show"
    return "linked from a fixed similarity up, not from a score" if links else "no links were made"


def pattern_in_words(organisations: Sequence[str], names: Names) -> str:
    """Who holds the records of a group; one organisation alone holds records without a match."""
    if len(organisations) == 1:
        return f"only {names.of(organisations[0])} (no match)"
    return names.together(organisations)


def _found(report: RunReport, names: Names) -> str:
    links, organisations = report.result.links, organisations_of(report)
    if not organisations:
        where = "of this run"
    elif len(organisations) <= _PAIR:
        where = between(organisations, names)
    else:
        where = f"between {small_number(len(organisations))} organisations"
    if links is None:
        return f"The number of links {where} is not shown"
    if links == 0:
        return f"No links {where}"
    return f"{count(links)} links {where}"


def _matches_in_words(report: RunReport) -> list[str]:
    matches = report.result.matches
    if matches is None or matches.estimate is None:
        return []
    return [f"Matches in all: {interval(matches)}."]


def _groups_in_words(report: RunReport) -> list[str]:
    if len(organisations_of(report)) <= _PAIR or report.result.groups is None:
        return []
    return [f"The links put records together into {count(report.result.groups)} groups, each taken for one entity."]
