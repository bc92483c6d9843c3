"""stream-perceptron inspect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .files import LocalFile
from .options import Command
from .printable import tell

if TYPE_CHECKING:
    from stream_perceptron import LiveModel

_STRONGEST = 5


@click.command(cls=Command)
@click.argument("path", metavar="MODEL", type=LocalFile())
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def inspect(path: Path, as_json: bool) -> None:
    """Show what is in a saved model.

    \b
    stream-perceptron inspect mnist.npz
    """
    from stream_perceptron import LiveModel
    from stream_perceptron.data.schema import listed

    live = LiveModel.load(path)
    contents = {"path": str(path), **_contents(live)}
    if as_json:
        click.echo(json.dumps(contents, default=str))
        return
    for name, value in contents.items():
        title = name.replace("_", " ")
        if name == "strongest_features":
            tell(f"{title}:")
            for row in value:
                shown = ", ".join(f"{n} {w:+.3f}" for n, w in row["features"])
                tell(f"  {row['class']}: {shown}")
        elif name == "features":
            tell(f"{title}: {listed(list(map(str, live.model.features_))) or 'none'}")
        elif name == "sources":
            shown = ", ".join(f"{s['name']} ({s['size']:,} bytes)" for s in value)
            tell(f"{title}: {shown or 'none'}")
        elif name == "lineage":
            tell("learned from:")
            for line in live.lineage.lines() or ["nothing"]:
                tell(f"  {line}")
        elif name == "shards" and value is not None:
            tell(f"{title}: {live.cursor.shards}, {value['rounds']:,} done in the pass")
        elif name == "diagnosis":
            for finding in value:
                tell(f"{title}: {finding['name']}: {finding['evidence']}; {finding['suggestion']}")
        else:
            tell(f"{title}: {_shown(value)}")


def _contents(live: LiveModel) -> dict[str, Any]:
    from stream_perceptron.checkpoint.archive import FORMAT_VERSION
    from stream_perceptron.checkpoint.codec import to_json
    from stream_perceptron.diagnostics.diagnosis import diagnose

    model, schema, progress, cursor = live.model, live.schema, live.progress, live.cursor
    selection = live.selection
    features = model.features_
    return {
        "format_version": FORMAT_VERSION,
        "kernel": live.kernel,
        "lr": model.lr if isinstance(model.lr, float) else repr(model.lr),
        "epsilon": model.epsilon,
        "activation": model.activation,
        "init_range": model.init_range,
        "dtype": model.dtype,
        "seed": model.seed_,
        "classes": model.classes_,
        "n_features": len(features),
        "features": [features[0], features[-1]] if features else [],
        "label": selection.label,
        "label_type": schema.label_type,
        "weight": selection.weight,
        "ignored": list(selection.ignore),
        "scale": selection.scale,
        "standardize": selection.standardize,
        "one_hot": list(selection.one_hot),
        "missing_texts": list(selection.missing),
        "missing": progress.missing,
        "samples": model.n_seen,
        "updates": model.n_updates,
        "unlabelled": progress.unlabelled,
        "skipped": progress.skipped,
        "accuracy": progress.accuracy,
        "window_accuracy": progress.window_accuracy,
        "mean_epsilon": progress.mean_epsilon,
        "last_epsilon": None if model.n_seen == 0 else model.last_epsilon,
        "sources": [{"name": s.name, "size": s.size} for s in cursor.sources],
        "lineage": to_json(live.lineage),
        "at_random": cursor.at_random,
        "turn": cursor.epoch,
        "source": cursor.index,
        "row": cursor.row,
        "rows_read": cursor.read,
        "shards": None if cursor.shards is None else vars(cursor.shards),
        "position": list(selection.position),
        "next_offsets": [
            dict(zip(selection.position, [*part, offset + 1], strict=True))
            for part, offset in sorted(cursor.offsets.items())
        ],
        "finished": cursor.finished,
        "strongest_features": [
            {
                "class": label,
                "features": [
                    [features[i], float(weights[i])]
                    for i in sorted(range(len(features)), key=lambda i: -abs(weights[i]))[
                        :_STRONGEST
                    ]
                ],
            }
            for label, weights in zip(model.classes_, model.weights, strict=True)
        ],
        "diagnosis": [vars(finding) for finding in diagnose(live)],
    }


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)
