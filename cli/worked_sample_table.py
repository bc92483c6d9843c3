"""A worked sample, formatted as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .live_line import get_stderr_width
from .printable import format_table, printable

if TYPE_CHECKING:
    from stream_perceptron.diagnostics.worked_sample import WorkedSample

_MAX_FEATURES = 6  # features listed


def format_worked_sample(
    row: int, sample: WorkedSample, activation: str, epsilon: float
) -> list[str]:
    """Return the lines of a table with the arithmetic of a sample."""
    from stream_perceptron.data.naming import join_first

    features = [f"{printable(str(name))} {value:.4g}" for name, value in sample.x.items()]
    shown = join_first(features, _MAX_FEATURES) or "none"
    head = "output,     net,y=f(net),     d,    d-y,  delta,bias by,weight by"
    rows = [head.split(",")]
    for name, bias, weight, *values in zip(
        sample.classes, sample.bias_change, sample.weight_change, sample.net, sample.y, sample.d,
        sample.d - sample.y, sample.delta, strict=True,
    ):  # fmt: skip
        cells = [f"{value:.4f}" for value in values]
        rows.append([printable(str(name)), *cells, f"{bias:+.6f}", f"{weight:+.6f}"])
    errors = (sample.d - sample.y) ** 2
    sum_ = " + ".join(f"{error:.4f}" for error in errors[:3])
    sum_ += " + ..." if len(errors) > 3 else ""
    comparison, outcome = (">=", f"learned with rate {sample.rate:g}")
    if not sample.updated:
        comparison, outcome = ("<", "not learned")
    return [
        f"sample {row:,}: label {printable(str(sample.label))}; x: {shown}",
        *format_table(rows, get_stderr_width(), 2),
        f"  f = {activation}; error = 1/2 ({sum_}) = {sample.error:.6f} {comparison} epsilon "
        f"{epsilon:g}: {outcome}",
    ]
