"""A sample worked as on paper, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .printable import printable

if TYPE_CHECKING:
    from stream_perceptron.diagnostics.worked_sample import WorkedSample

_MOST = 6  # features that are listed


def worked_sample_table(number: int, sample: WorkedSample, activation: str, epsilon: float) -> str:
    """Return the lines that show how a sample was learned."""
    from stream_perceptron.data.naming import shortened

    features = [f"{printable(str(name))} {value:.4g}" for name, value in sample.x.items()]
    shown = shortened(features, _MOST) or "none"
    names = [printable(str(name)) for name in sample.classes]
    width = max(6, *map(len, names))
    lines = [
        f"sample {number:,}: label {printable(str(sample.label))}; x: {shown}",
        f"  {'output':<{width}}  {'net':>9}  {'y=f(net)':>9}  {'d':>9}  {'d-y':>9}  {'delta':>9}"
        f"  {'bias by':>10}  {'weight by':>10}",
    ]
    columns = (
        sample.net, sample.y, sample.d, sample.d - sample.y, sample.delta, sample.bias_change,
        sample.weight_change,
    )  # fmt: skip
    for name, *values in zip(names, *columns, strict=True):
        cells = [f"{value:>9.4f}" for value in values[:5]]
        cells += [f"{value:>+10.6f}" for value in values[5:]]
        lines.append("  ".join([f"  {name:<{width}}", *cells]))
    errors = (sample.d - sample.y) ** 2
    sum_ = " + ".join(f"{error:.4f}" for error in errors[:3])
    sum_ += " + ..." if len(errors) > 3 else ""
    comparison, outcome = (">=", f"learned with rate {sample.rate:g}")
    if not sample.updated:
        comparison, outcome = ("<", "not learned")
    lines.append(
        f"  f = {activation}; eps = 1/2 ({sum_}) = {sample.eps:.6f} {comparison} epsilon "
        f"{epsilon:g}: {outcome}"
    )
    return "\n".join(lines)
