"""Says what became of an extract: how full and valid its fields are, what was left out, what others could see."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from linkage_client.encoding.derive import DatePartColumn
from linkage_client.encoding.package_files import ROWS_FILE, WITHHELD_FILE, kept_rows_files, unfinished
from linkage_client.encoding.profiles import untaken_profiles
from linkage_client.encoding.sufficiency import Sufficiency
from linkage_client.opt_outs import day_of

if TYPE_CHECKING:
    from linkage_client.checks.leakage import LeakageReport
    from linkage_client.encoding.extract import Encoded, EncodingPlan

DOUBTFUL: Final = 0.5
"""Below this share of valid values a column is more likely of another kind than full of mistakes."""
HINTS_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class EncodingOutcome:
    """What `linkage encode` has to tell."""

    directory: Path
    plan: "EncodingPlan"
    encoded: "Encoded"
    leakage: "LeakageReport | None"
    maximum_reidentification: float | None

    def document(self) -> dict[str, Any]:
        """As one JSON object."""
        return {
            "directory": str(self.directory),
            "manifest": self.encoded.manifest,
            "withheld": self.encoded.withheld,
            "placeholders": dict(self.encoded.placeholders),
            "hints": {column: dict(hints) for column, hints in self.encoded.hints.items()},
            "date_orders": {column: str(order) for column, order in self.plan.profile.date_orders.items()},
            "leakage": self.leakage.headline if self.leakage else None,
            "rows_kept": self._kept(),
        }

    def lines(self) -> Iterator[str]:
        """For people."""
        count = self.encoded.manifest["count"]
        rows = self.directory / ROWS_FILE
        yield f"{count:,} records encoded into {self.directory}. Keep {rows}; it stays with you."
        if self.encoded.manifest["key"]["derivation"] is None:
            yield "No project was named, so they are for practice: no service takes them. Name it with --project."
        yield from self._withheld()
        yield from self._profile()
        yield from self._fields()
        yield from self._dates()
        yield from self._hints()
        yield from self._leakage()
        if (day := day_of(self.encoded.manifest)) is not None:
            yield f"Declared: people who have objected were last taken out of the extract on {day}."
        if self.encoded.thin:
            yield (
                f"{self.encoded.thin:,} records have little in them. They are encoded, but the encoding profile "
                "protects them less than the others."
            )
        yield from self._files()

    def _profile(self) -> Iterator[str]:
        chosen = self.encoded.manifest["encoding_profile"]
        for name in untaken_profiles(self.plan.schema, chosen):
            yield (
                "These are plain Bloom filters, from which their holder can re-identify most records. If the schema is "
                f"meant for {name}, encode again with --encoding-profile {name}."
            )

    def _withheld(self) -> Iterator[str]:
        if self.encoded.withheld:
            explanation = Sufficiency.of(self.plan.resolved, self.plan.profile).explanation
            records = "1 record was" if self.encoded.withheld == 1 else f"{self.encoded.withheld:,} records were"
            yield (
                f"{records} withheld. {explanation} Their ids are in {self.directory / WITHHELD_FILE}, which stays "
                "with you too. `linkage join` needs --drop-unlinked for them."
            )

    def _fields(self) -> Iterator[str]:
        manifest = self.encoded.manifest
        shown = self._shown_fields()
        width = max(len("field"), *map(len, shown.values()))
        yield f"  {'field':<{width}}  filled   valid  placeholders"
        for field, name in shown.items():
            filled, valid = (f"{manifest[rate][field]:.1%}" for rate in ("completeness", "validity"))
            yield f"  {name:<{width}}  {filled:>6}  {valid:>6}  {self.encoded.placeholders[field]:>12,}"
        for field, name in shown.items():
            if manifest["validity"][field] < DOUBTFUL:
                yield (
                    f"Most values of {name} are not valid, so that nothing of them was encoded. Check that the column "
                    "holds what its name says, and look at it with `linkage check`. If all providers agree, encode it "
                    f"as text: --normalise {name}=text"
                )

    def _shown_fields(self) -> dict[str, str]:
        """Hashed fields to the names they are shown by; the parts of a date share one line."""
        shown: dict[str, str] = {}
        for column in self.plan.resolved:
            name = column.source if isinstance(column, DatePartColumn) else column.feature.identifier
            if name not in shown.values():
                shown[column.feature.identifier] = name
        return shown

    def _dates(self) -> Iterator[str]:
        for column, order in self.plan.profile.date_orders.items():
            evidence = self.plan.dates[column]
            found = "as its values show" if evidence.order is order else "as you said"
            yield f"Dates in {column} are read {str(order).replace('-', ' ')}, {found}."

    def _hints(self) -> Iterator[str]:
        for column, hints in self.encoded.hints.items():
            by_rows = sorted(hints.items(), key=lambda item: -item[1])
            for hint, rows in by_rows[:HINTS_SHOWN]:
                yield f"{column}, {rows:,} {'row' if rows == 1 else 'rows'}: {hint}."

    def _leakage(self) -> Iterator[str]:
        if self.leakage is None:
            return
        yield f"{self.leakage.headline} `linkage risk` says more."
        measured = self.leakage.to_manifest()["reidentified_300"]
        if self.maximum_reidentification is not None and measured > self.maximum_reidentification:
            yield (
                f"The agreement allows {self.maximum_reidentification:.1%} at most, so that the service will refuse "
                "these encodings. `linkage risk --compare` shows what another encoding profile would give away."
            )

    def _files(self) -> Iterator[str]:
        kept = self._kept()
        if kept:
            yield (
                f"Rows files of encodings that were replaced are kept: {', '.join(kept)}. Results of those encodings "
                "need them. Delete them when no such results are to come."
            )
        left = [str(path) for path in unfinished(self.directory)]
        if left:
            yield (
                f"An encoding that was killed has left {', '.join(left)}. Delete it, unless another one is running now."
            )

    def _kept(self) -> list[str]:
        return [str(path) for path in kept_rows_files(self.directory)]
