"""The figures that summarize a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from stream_perceptron.live.metrics import format_kappa

from .terminal import format_count

if TYPE_CHECKING:
    from stream_perceptron.live.model import LiveModel

_USUAL_UPDATED_SHARE = 0.99  # the share of samples that usually change the weights
_MAX_LISTED_CLASSES = 20  # classes whose sample counts are listed individually


def compute_figures(live: LiveModel) -> dict[str, Any]:
    """Return the figures of a model for JSON output."""
    figures = live.progress.compute_figures(live.model.classes_)
    if live.read_options.has_join:
        pending = live.state.pending
        figures |= {"pending": len(pending.samples), "evicted": pending.n_evicted}
    return figures


def format_summary(live: LiveModel) -> Iterator[str]:
    """Yield the lines about labels, classes and the end of a run."""
    progress = live.progress
    if live.read_options.has_join:
        n_evicted, maximum = live.state.pending.n_evicted, live.read_options.max_pending
        evicted = f"; {n_evicted:,} evicted, as more than {maximum:,} were pending"
        n_pending = format_count(len(live.state.pending.samples), "sample")
        yield f"pending: {n_pending}{evicted if n_evicted else ''}"
        if (n := progress.n_untested) > 1:
            yield f"not scored: {n:,} samples, predicted before a label was known"
    elif progress.unlabeled and progress.samples:
        yield f"unlabeled: {format_count(progress.unlabeled, 'row')}, only predicted"
    if progress.missing:
        yield f"missing: {format_count(progress.missing, 'value')}"
    if live.n_redelivered:
        yield f"skipped: {format_count(live.n_redelivered, 'row')} already learned"
    if progress.samples and progress.updated_share < _USUAL_UPDATED_SHARE:
        yield f"updated: {progress.updated_share:.1%} of the samples changed the weights"
    if live.stopped:
        yield (
            f"stopped at sample {progress.samples:,}: its error, {live.model.last_error:.3g}, "
            "is below epsilon"
        )
    figures = compute_figures(live)
    if figures["majority_share"]:
        yield _format_class_counts(live)
        share = f"{figures['majority_share']:.2%} of the samples"
        yield f"majority class: {figures['majority_class']}, {share}"
    if figures["cohen_kappa"] is not None:
        yield (
            f"kappa: {format_kappa(figures['cohen_kappa'])}, balanced accuracy "
            f"{figures['balanced_accuracy']:.2%}, macro F1 {figures['macro_f1']:.2%}"
        )


def _format_class_counts(live: LiveModel) -> str:
    """Return the sample counts of the classes as text, or their range if there are many classes."""
    classes = live.model.classes_
    counts = live.progress.compute_metrics(len(classes)).label_counts.tolist()
    title = "classes of scored samples" if live.progress.n_untested > 1 else "classes"
    if len(classes) > _MAX_LISTED_CLASSES:
        return f"{title}: {len(classes):,}, with {min(counts):,} to {max(counts):,} samples each"
    class_counts = (f"{label} ({n:,})" for label, n in zip(classes, counts, strict=True))
    return f"{title}: {', '.join(class_counts)}"
