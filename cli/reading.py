"""Sources of commands that do not learn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from .printable import counted, tell
from .signals import Signals

if TYPE_CHECKING:
    from stream_perceptron import LiveModel
    from stream_perceptron.data.batch import Batch
    from stream_perceptron.data.source import Source
    from stream_perceptron.live.model import Reload


def batches_of(
    source: str,
    file_format: str | None,
    live: LiveModel,
    signals: Signals,
    reload: Reload | None = None,
    joins_labels: bool = False,
) -> Iterator[Batch]:
    """Open a source to predict and yield its batches; a signal ends them.

    Columns unknown to the model are named on stderr. Other parameters are as for
    `LiveModel.batches`.
    """
    from stream_perceptron.data.opening import open_source

    opened = signals.call(partial(open_source, source, file_format, signals), [source])
    return _batches(opened, live, reload, joins_labels)


def _batches(
    opened: Source, live: LiveModel, reload: Reload | None, joins_labels: bool
) -> Iterator[Batch]:
    # Close it before Python ends, to stop its prefetch thread.
    with closing(live.batches(opened, reload, joins_labels)) as batches:
        for batch in batches:
            for note in batch.notes:
                if note.names_unknown:
                    tell(note, err=True)
            yield batch
    if text := describe_lost_bytes(opened):
        tell(text, err=True)


def describe_lost_bytes(source: Source, has_model: bool = True) -> str | None:
    """Return a warning of the bytes of a pipe that are lost after a signal, if there are any.

    Without a model, complete rows are lost, too.
    """
    from stream_perceptron.data.describe import warning

    n = source.n_lost_bytes
    if not n:
        return None
    reason = "as no model had begun yet"
    if has_model:
        reason = (
            "as the writer paused within a row for more than a second; the rest of that row will "
            "be the first line of the next run"
        )
    return warning(
        f"{source.name}: {counted(n, 'byte')} {'was' if n == 1 else 'were'} lost, {reason}"
    )


@contextmanager
def hinting_at_skips() -> Iterator[None]:
    """Add to the error of a rejected row how to skip such rows."""
    from stream_perceptron import FullError, SampleError

    try:
        yield
    except FullError:
        raise
    except SampleError as error:
        raise SampleError(f"{error}; --skip-bad skips such rows") from None


def asking(live: LiveModel, ignore: tuple[str, ...] = (), **others: Any) -> None:
    """Change how a model reads what it predicts: ignore more columns, set other fields.

    `others` are fields of a `Selection`; None keeps the learned value.
    """
    from stream_perceptron.data.roles import named

    # Saved positions refer to the learned source, so turn them into names first.
    asked = named(live.selection, live.schema)
    ignore = tuple(dict.fromkeys([*asked.ignore, *ignore]))
    given = {name: value for name, value in others.items() if value is not None}
    live.selection = replace(asked, ignore=ignore, is_label_sure="label" in given, **given)
