"""Checks that rows had labels, and the columns that options name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from stream_perceptron.data.naming import suggest_similar_name
from stream_perceptron.data.notices import build_warning
from stream_perceptron.errors import SourceError
from stream_perceptron.model.class_weights import list_spellings

if TYPE_CHECKING:
    from stream_perceptron.data.source import Source
    from stream_perceptron.live.model import LiveModel


class LabelsError(SourceError):
    """The labels of a new model are not classes; the model is not saved."""


def require_classes(live: LiveModel, source: Source) -> None:
    """Check that the labels of a new model, which come from this source, are classes."""
    from stream_perceptron.diagnostics.diagnosis import find_label_problem

    if finding := find_label_problem(live):
        raise LabelsError(
            f"{source.name}: the labels are not classes ({finding.evidence}): "
            f"{finding.suggestion}; if they are classes, list them with --classes"
        )


def require_labels(live: LiveModel, source: Source) -> None:
    """Check that a row of a run that needs labels, and whose rows begin in this source, had one."""
    label = live.read_options.label
    if not live.lacks_labels:
        return
    if label is None or label not in live.unseen_columns:
        raise SourceError(f"{source.name}: no row has a label: name the label column with --label")
    if label in live.seen_columns:
        raise SourceError(f"{source.name}: {label!r} is empty in all rows")
    hint = suggest_similar_name(label, [*live.seen_columns])
    raise SourceError(
        f"{source.name}: no row has {label!r}{hint or ': name the label with --label'}"
    )


def warn_of_unseen_columns(live: LiveModel) -> Iterator[str]:
    """Yield a warning for each column that an option names but no row contained.

    If the columns are fixed, yield nothing.
    """
    if live.schema.columns:
        return
    for option in ("categorical", "ignore", "weight", "position", "keep"):
        names = getattr(live.read_options, option) or ()
        for name in [names] if isinstance(names, str) else names:
            if name in live.unseen_columns:
                hint = suggest_similar_name(name, [*live.seen_columns])
                flag = option.replace("_", "-")
                yield build_warning(f"--{flag} {name}: no row had {name!r}{hint}")


def warn_of_unknown_classes(live: LiveModel, thresholds: Mapping[str, float]) -> Iterator[str]:
    """Yield a warning for each label that has a class weight or threshold but occurs in no row."""
    weights, classes = live.model.class_weight, live.model.classes_
    spellings = [text for label in classes for text in list_spellings(label)]
    for flag, given in (("--class-weight", weights), ("--threshold", thresholds)):
        for label in given if isinstance(given, dict) else ():
            if label not in classes and (text := list_spellings(label)[0]) not in spellings:
                yield build_warning(
                    f"{flag}: no label is {text!r}{suggest_similar_name(text, spellings)}"
                )
