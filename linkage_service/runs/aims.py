"""What a run aims at: what was asked for, else what the agreement requires, else the best expected F1."""

from dataclasses import dataclass

from linkage_service.access.decide import in_billionths
from linkage_service.access.entities import Attribute
from linkage_service.runs import schemas


@dataclass(frozen=True, slots=True)
class Aim:
    """Where a run cuts.

    Attributes:
        kind: the best F1, a target precision, or a fixed threshold.
        value: the precision or the threshold, in 0..1; None for the best F1.
    """

    kind: schemas.AimKind
    value: float | None

    @classmethod
    def of(cls, draft: schemas.RunDraft, *, agreed: float | None) -> "Aim":
        """The aim of a run that is asked for under an agreement with this target precision.

        An aim that the agreement does not allow is no error here: the policy refuses it.
        """
        if draft.threshold is not None:
            return cls("threshold", draft.threshold)
        target = draft.target_precision if draft.target_precision is not None else agreed
        return cls("best_f1", None) if target is None else cls("target_precision", target)

    def context(self) -> dict[str, Attribute]:
        """The aim as the policy sees it."""
        context: dict[str, Attribute] = {"aim": self.kind}
        if self.kind == "target_precision" and self.value is not None:
            context["target_precision"] = in_billionths(self.value)
        return context

    def for_wire(self) -> schemas.Aim:
        """The aim in an answer."""
        return schemas.Aim(kind=self.kind, value=self.value)
