"""A sample worked as on paper, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream_perceptron.diagnostics.worked_sample import Lesson

_MOST = 6  # features that are listed


def lesson_table(number: int, lesson: Lesson, activation: str, epsilon: float) -> str:
    """Return the lines that show how a sample was learned."""
    features = [f"{name} {value:.4g}" for name, value in lesson.x.items()]
    more = f" and {len(features) - _MOST} more" if len(features) > _MOST else ""
    shown = ", ".join(features[:_MOST]) or "none"
    names = [str(name) for name in lesson.classes]
    width = max(6, *map(len, names))
    lines = [
        f"sample {number:,}: label {lesson.label}; x: {shown}{more}",
        f"  {'output':<{width}}  {'net':>9}  {'y=f(net)':>9}  {'d':>9}  {'d-y':>9}  {'delta':>9}"
        f"  {'bias by':>10}  {'weight by':>10}",
    ]
    columns = (
        lesson.net, lesson.y, lesson.d, lesson.d - lesson.y, lesson.delta, lesson.bias_change,
        lesson.weight_change,
    )  # fmt: skip
    for name, *values in zip(names, *columns, strict=True):
        cells = [f"{value:>9.4f}" for value in values[:5]]
        cells += [f"{value:>+10.6f}" for value in values[5:]]
        lines.append("  ".join([f"  {name:<{width}}", *cells]))
    errors = (lesson.d - lesson.y) ** 2
    sum_ = " + ".join(f"{error:.4f}" for error in errors[:3])
    sum_ += " + ..." if len(errors) > 3 else ""
    comparison, outcome = (">=", f"learned with rate {lesson.rate:g}")
    if not lesson.updated:
        comparison, outcome = ("<", "not learned")
    lines.append(
        f"  f = {activation}; eps = 1/2 ({sum_}) = {lesson.eps:.6f} {comparison} epsilon "
        f"{epsilon:g}: {outcome}"
    )
    return "\n".join(lines)
