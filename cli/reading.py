"""Sources of commands that learn nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from .printable import tell
from .signals import Signals

if TYPE_CHECKING:
    from stream_perceptron import LiveModel
    from stream_perceptron.data.batch import Batch
    from stream_perceptron.data.source import Source


def batches_of(
    source: str, file_format: str | None, live: LiveModel, signals: Signals, most: int | None = None
) -> Iterator[Batch]:
    """Open a source that is to be predicted, and yield its rows; a signal ends every wait for them.

    Columns that the model does not know are named on stderr.
    """
    from stream_perceptron.data.opening import open_source

    opened = signals.call(partial(open_source, source, file_format, signals.wait), [source])
    return _batches(opened, live, signals, most)


def _batches(
    opened: Source, live: LiveModel, signals: Signals, most: int | None
) -> Iterator[Batch]:
    # What came through a pipe is nowhere else; the waiting ends there.
    idle = None if opened.is_stream else signals.check
    # Closed before Python ends, as a thread reads ahead for it.
    with closing(live.batches(opened, most, idle)) as batches:
        for batch in batches:
            for note in batch.notes:
                if note.names_unknown:
                    tell(note, err=True)
            yield batch


@contextmanager
def hinting_at_skips() -> Iterator[None]:
    """Let the error of a row that cannot be used say how such rows are skipped."""
    from stream_perceptron import FullError, SampleError

    try:
        yield
    except FullError:
        raise
    except SampleError as error:
        raise SampleError(f"{error}; --skip-bad skips such rows") from None


def asking(live: LiveModel, ignore: tuple[str, ...] = (), **others: Any) -> None:
    """Let a model not use some more columns of what it predicts, and read them in another way.

    `others` are fields of a `Selection`, None for what is as the model learned.
    """
    from stream_perceptron.data.roles import named

    # Places are those of what it learned from, and these are of what it predicts.
    asked = named(live.selection, live.schema)
    ignore = tuple(dict.fromkeys([*asked.ignore, *ignore]))
    given = {name: value for name, value in others.items() if value is not None}
    live.selection = replace(asked, ignore=ignore, is_label_sure="label" in given, **given)
