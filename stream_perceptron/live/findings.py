"""Findings: what keeps a model from learning, or makes its accuracy misleading."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class FindingCode(StrEnum):
    """The kind of a finding, for programs; people read `Finding.name`."""

    CLASS_HARDLY_EVER_FOUND = "class_hardly_ever_found"
    DIVERGING = "diverging"
    LABELS_ARE_A_QUANTITY = "labels_are_a_quantity"
    LABELS_ARE_IDS = "labels_are_ids"
    LEARNING_RATE_TOO_LOW = "learning_rate_too_low"
    NO_BETTER_THAN_MAJORITY_CLASS = "no_better_than_the_majority_class"
    ONLY_ONE_LABEL = "only_one_label"
    OUTPUTS_ALIKE_OR_SATURATED = "outputs_alike_or_saturated"
    PERFORMANCE_DROPPED = "performance_dropped"
    ROW_NUMBERS = "row_numbers"
    SORTED_LABELS = "sorted_labels"
    STOPPED_TOO_EARLY = "stopped_too_early"
    UNSCALED_FEATURES = "unscaled_features"


@dataclass(frozen=True)
class Finding:
    """A fault that keeps a model from learning, or makes its accuracy misleading.

    Attributes
    ----------
    code
        The kind of the finding.
    evidence
        The figures that show the fault.
    suggestion
        What to do.
    remedies
        Options that do so, each to be copied to a shell.

    Examples
    --------
    >>> print(Finding(FindingCode.ONLY_ONE_LABEL, "all samples are labeled 7", "use other data"))
    only one label: all samples are labeled 7; use other data

    """

    code: FindingCode
    evidence: str
    suggestion: str
    remedies: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The kind of the finding in words."""
        return self.code.replace("_", " ")

    @property
    def text(self) -> str:
        """The finding in one line, without its remedies."""
        return f"{self.name}: {self.evidence}; {self.suggestion}"

    def __str__(self) -> str:
        return self.text + "".join(f": {remedy}" for remedy in self.remedies)

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as a JSON object."""
        return {"code": self.code, "name": self.name} | {
            "evidence": self.evidence,
            "suggestion": self.suggestion,
            "remedies": list(self.remedies),
        }
