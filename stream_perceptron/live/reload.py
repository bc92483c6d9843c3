"""Predictions by a model that may be replaced while a source is read."""

from __future__ import annotations

from collections.abc import Callable, Generator

from stream_perceptron.data.batch import Batch
from stream_perceptron.data.naming import quote_names
from stream_perceptron.data.request import ReadRequest
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.data.source import BatchReader, Source
from stream_perceptron.errors import SourceError
from stream_perceptron.live.model import LiveModel
from stream_perceptron.live.segments import should_stop

_RELOAD_ROWS = 100  # rows predicted between two checks for another model

# Returns the model for the next rows; its argument checks whether a model fits the source if it is
# read with these read options.
Reload = Callable[[Callable[[LiveModel, ReadOptions], None]], LiveModel]


def read_with_reload(
    live: LiveModel, source: Source, request: ReadRequest, reload: Reload
) -> Generator[tuple[LiveModel, Batch], None, None]:
    """Yield the batches of a source, each with the model that `reload` returns for it."""
    batches = source.batches(request)
    reloader = _Reloader(live, source, batches, reload)
    batches.max_rows, batches.before_read = _RELOAD_ROWS, reloader.reload_model
    for batch in batches:
        if should_stop(source):
            return
        if batch is not None:
            yield reloader.live, batch


class _Reloader:
    """The model for the next rows of a source, which may be replaced before they are read."""

    def __init__(
        self, live: LiveModel, source: Source, batches: BatchReader, reload: Reload
    ) -> None:
        self.live = live
        self._source, self._batches, self._reload = source, batches, reload

    def reload_model(self) -> None:
        """Replace the model if there is another one."""
        self.live = self._reload(self._reopen)

    def _reopen(self, live: LiveModel, read_options: ReadOptions) -> None:
        """Read the next rows for another model, which must use no further columns."""
        added = _find_used_columns(live) - _find_used_columns(self.live)
        if added:
            names = quote_names(sorted(added))
            raise SourceError(
                f"{self._source.name}: the new model uses further columns ({names}): run the "
                "command again"
            )
        self._batches.change_request(live.build_request(to_learn=False, read_options=read_options))


def _find_used_columns(live: LiveModel) -> set[str]:
    """Return the columns of a table that a model predicts from, and its label column."""
    schema = live.schema
    named = {*schema.columns, *schema.later_columns, *filter(None, [schema.label])}
    return named - live.read_options.columns_with_role
