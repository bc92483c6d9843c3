"""Text sources, which are read in blocks of lines."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from typing import Any, NamedTuple, Protocol

import numpy as np

from stream_perceptron.data.batch import Batch
from stream_perceptron.data.byte_stream import ByteStream, is_remote, open_bytes
from stream_perceptron.data.columns import CSV, Columns
from stream_perceptron.data.fingerprint import (
    START_BYTES,
    FileState,
    Fingerprint,
    build_changed_error,
    hash_bytes,
)
from stream_perceptron.data.layout import Layout
from stream_perceptron.data.notices import Notice
from stream_perceptron.data.records import MAX_LINE_BYTES
from stream_perceptron.data.request import Request
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.data.source import Batches, Opening, Source, build_opening
from stream_perceptron.data.text.blocks import Block, read_blocks
from stream_perceptron.data.text.prefix import PrefixHasher
from stream_perceptron.errors import SourceError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_MAX_PROBED_RECORDS = 100  # how many of the first records to search for a usable one
_MAX_DESCRIBED = 1000  # how many of the first records to examine for notices
_BLANK_LINES = (b"\n", b"\r\n")
_TOO_LONG = f"longer than {MAX_LINE_BYTES // 2**20} MiB"


class Probe(NamedTuple):
    """What the first records of a source are, if all of them are learned."""

    columns: Columns  # after these records
    records: list[bytes]  # the usable records
    first: dict[Hashable, float]  # the numbers in the first of them, by name

    def add_rows(self, data: bytes, block: Any) -> None:
        """Add the usable records of a block that has been read."""
        names, encoded = self.columns.names, self.columns.encoded_names
        for i in range(block.n):
            if i in block.reasons:
                continue
            if not self.records:
                values = slice(*block.starts[i : i + 2].tolist())
                ids, numbers = block.feature_ids[values].tolist(), block.values[values].tolist()
                self.first.update(
                    (names[feature], number)
                    for feature, number in zip(ids, numbers, strict=True)
                    if names[feature] not in encoded
                )
            self.records.append(data[block.begins[i] : block.ends[i]])


class LineFormat(Protocol):
    """A text format, detected from the first line."""

    has_comments: bool  # whether lines that begin with # are skipped

    @property
    def has_header(self) -> bool:
        """Whether the first line is not a record."""

    def find_layout(self, request: Request, where: str, lines: Iterable[bytes]) -> Layout:
        """Return the layout of the records, given the first lines that are not blank.

        Raises
        ------
        SourceError
            If the source does not fit the model or lacks a required column.

        """

    def require_features(self, probe: Probe, where: str) -> None:
        """Check that the first record of a new model has features.

        Raises
        ------
        SourceError
            If it has none.

        """

    def describe(self, probe: Probe) -> tuple[Notice, ...]:
        """Return notices about the columns."""


class LineSource(Source):
    """A text source that is read line by line.

    A file is identified by its bytes up to the last row read, so it may grow.
    """

    def __init__(
        self,
        path: str,
        stream: ByteStream,
        choose_format: Callable[[str, ReadOptions], LineFormat],
    ) -> None:
        super().__init__(path)
        self._pipe = stream if self.is_stream else None
        self._is_compressed = stream.is_compressed
        self._n_record_bytes = _skip_mark(stream)  # the bytes of a pipe up to its last record
        self._blocks: Iterator[Block] | None = read_blocks(stream)
        self._first_blocks: list[Block] = []
        self._first_pass_end: int | None = None  # the end of the last row of the first pass
        self._hasher: PrefixHasher | None = None  # for the file that the first pass reads
        lines = self._iter_first_lines()
        first = next(lines, b"")
        data_line = first
        while data_line.startswith(b"#"):
            data_line = next(lines, b"")
        for line in (data_line or first, first):
            text = line.decode(errors="replace").rstrip("\r\n")
            self._choose_format = partial(choose_format, text)
            self._format = self._choose_format(ReadOptions())
            if self._format.has_comments:
                break
        if not data_line and sum(len(block.data) for block in self._first_blocks) > MAX_LINE_BYTES:
            raise SourceError(
                f"{self.name}: there is no row in its first {MAX_LINE_BYTES // 2**20} MiB"
            )
        self._close_file()

    @property
    def can_grow(self) -> bool:
        return not self.is_stream

    @property
    def stream(self) -> ByteStream | None:
        return self._pipe

    @property
    def n_lost_bytes(self) -> int:
        if self._pipe is None or not self._pipe.is_interrupted:
            return 0
        return max(0, self._pipe.n_bytes - self._n_record_bytes)

    # --- The first records

    def _iter_first_blocks(self) -> Iterator[Block]:
        """Yield the first blocks as they arrive, and keep them."""
        if self._blocks is None:
            stream = open_bytes(self.path)
            _skip_mark(stream)
            self._blocks = read_blocks(stream)
        i = 0
        while True:
            if i == len(self._first_blocks):
                block = next(self._blocks, None)
                if block is None:
                    return
                self._first_blocks.append(block)
            yield self._first_blocks[i]
            i += 1

    def _close_file(self) -> None:
        """Close a file until it is read again, because thousands of files may be given."""
        if not self.is_stream:
            self._blocks, self._first_blocks = None, []

    def _iter_first_lines(self) -> Iterator[bytes]:
        """Yield the lines in the first 16 MiB that are neither blank nor too long."""
        n_bytes = 0
        for block in self._iter_first_blocks():
            yield from (line for line in _split_lines(block) if line not in _BLANK_LINES)
            n_bytes += len(block.data)
            if n_bytes > MAX_LINE_BYTES:
                return

    def _iter_first_records(self) -> Iterator[bytes]:
        """Yield the first lines after the header; comments are included."""
        lines = self._iter_first_lines()
        if self._format.has_header:
            next(lines, None)
        return lines

    def find_layout(self, request: Request) -> Layout:
        self._format = self._choose_format(request.read_options)
        if next(self._iter_first_records(), None) is None:
            return Layout(CSV, request.read_options)
        return self._format.find_layout(request, self.name, self._iter_first_records())

    def open(self, request: Request) -> Opening | None:
        layout, schema = self.find_layout(request), request.schema
        if not self._has_records():
            self._close_file()
            return None
        first = None
        if not (layout.columns and schema.columns) or schema.untyped:
            # The first rows complete the schema.
            probe = self._probe(layout, request, self._iter_first_blocks(), max_rows=1)
            schema = probe.columns.schema
            if probe.records:
                first = probe.first
                if request.schema.is_new:
                    self._format.require_features(probe, self.name)
            elif schema.is_new and layout.columns:
                # At this point, any column may turn out to be a feature.
                schema = replace(schema, features=tuple(layout.candidates))
        self._close_file()
        # Declared classes may fix the label type before the first label does.
        schema = replace(schema, label_type=request.schema.label_type)
        return build_opening(layout, schema, first)

    def _has_records(self) -> bool:
        """Return whether the source has records.

        Raises
        ------
        SourceError
            If all of its lines are too long.

        """
        if next(self._iter_first_records(), None) is not None:
            return True
        n_too_long = sum(block.is_too_long for block in self._first_blocks)
        if n_too_long and not any(block.data for block in self._first_blocks):
            rows = "its only row is" if n_too_long == 1 else "each of its rows is"
            raise SourceError(f"{self.name}: {rows} {_TOO_LONG}")
        return False

    def describe(self, request: Request, columns: Columns) -> tuple[Notice, ...]:
        blocks = iter(self._first_blocks)  # more rows of a pipe may never arrive
        if not self.is_stream:
            # The first block has only the bytes from which compression was detected.
            blocks = islice(self._iter_first_blocks(), 2)
        probe = self._probe(columns.layout, request, blocks, _MAX_DESCRIBED)
        self._close_file()
        return self._format.describe(probe) if probe.records else ()

    def _probe(
        self, layout: Layout, request: Request, blocks: Iterator[Block], max_rows: int
    ) -> Probe:
        """Read the first usable rows of blocks as if they were learned; `max_rows` is their number.

        If it is 1, at most the first 100 rows are read, and only one if the model is not new.
        """
        request = replace(request, to_learn=True, keeps_zeros=True, redeliveries=None)
        columns = Columns(layout, request, infers=True)
        probe, n_rows = Probe(columns, [], {}), 0
        max_read = _MAX_PROBED_RECORDS if max_rows == 1 and request.schema.is_new else max_rows
        rest, needs_header = b"", self._format.has_header
        for block in chain(blocks, [None]):
            data, begin = rest + (b"" if block is None else block.data), 0
            if needs_header and data:
                begin = _find_header_end(data)
                needs_header = not begin
            while begin < len(data):
                n = 1 if max_rows == 1 else max_rows - n_rows
                read = columns.read(data, begin, n, is_last=block is None)
                if read.end == begin:
                    break
                begin, n_rows = read.end, n_rows + read.n
                probe.add_rows(data, read)
                if n_rows >= max_read or len(probe.records) >= max_rows:
                    return probe
            rest = data[begin:]
        return probe

    # --- Rows

    def read_batches(self, batches: Batches, request: Request) -> Iterator[Batch]:
        has_header = self._format.has_header
        if self.is_stream:
            blocks = chain(self._first_blocks, self._blocks or ())
            yield from self._read(batches, request, blocks, self._n_record_bytes, has_header)
        else:
            yield from self._read_file(batches, request, has_header)

    def _read_file(self, batches: Batches, request: Request, has_header: bool) -> Iterator[Batch]:
        """Yield the rows of a file from the requested start onward."""
        self._close_file()
        stream, is_further_pass = open_bytes(self.path), request.epoch > 0
        if stream.descriptor is not None and not is_further_pass:
            self.state = FileState.of(stream.descriptor)
            if request.known_fingerprint is not None:
                self._begin_hashing(stream, request.offset)
        offset = request.offset
        if offset:
            self._skip(stream, request)
        else:
            offset = _skip_mark(stream)
        layout, last_end = batches.columns.layout, None
        blocks: Iterator[Block] = read_blocks(stream)
        if layout.form == CSV and not layout.columns:
            blocks = iter(())  # rows written since the file was found to be empty have no layout
        if is_further_pass:
            last_end = self._find_pass_end(request)
            blocks = _limit_blocks(blocks, last_end - offset, self.name)
        last_row_end = offset
        has_header = has_header and not request.offset
        for batch in self._read(batches, request, blocks, offset, has_header):
            if batch.ends is not None:
                last_row_end = int(batch.ends[-1])
            yield batch
        if not is_further_pass:
            self._first_pass_end = last_row_end
        elif last_end is not None and last_row_end < last_end:
            raise build_changed_error(self.name)

    def _read(
        self,
        batches: Batches,
        request: Request,
        blocks: Iterable[Block],
        offset: int,
        needs_header: bool,
    ) -> Iterator[Batch]:
        """Yield the rows in blocks, the first of which begins at a byte offset of the source."""
        rest = b""  # the beginning of a record
        end = offset  # of the blocks read so far; the last line may lack its newline
        n_skipped = 0 if request.offset else request.start
        skipping = None
        if n_skipped:
            layout = batches.columns.layout
            skipping = Columns(layout, replace(request, to_learn=False, redeliveries=None))
        for block in chain(blocks, [None]):
            if block is None and self._pipe is not None and self._pipe.is_interrupted:
                break  # the rest is only the beginning of a record
            is_last = block is None or block.is_too_long
            data = rest
            if block is not None and not is_last:
                data, end = rest + block.data, end + block.size
            begin = 0
            if needs_header and data:
                begin = _find_header_end(data)
                needs_header = not begin
            while begin < len(data):
                if skipping is None:
                    batches.before_read()
                columns = batches.columns if skipping is None else skipping
                max_rows = n_skipped if skipping is not None else batches.max_rows
                read = columns.read(data, begin, max_rows, is_last)
                if read.end == begin:
                    break
                begin = read.end
                if self.is_stream:
                    self._n_record_bytes = min(offset + begin, end)
                if skipping is not None:
                    n_skipped -= read.n
                    skipping = skipping if n_skipped else None
                elif read.n:
                    ends = None if self.is_stream else np.minimum(read.ends + offset, end)
                    yield batches.build(read, ends, partial(_read_content, data, read))
            offset = min(offset + begin, end)
            rest = data[begin:]
            if block is not None and block.is_too_long:
                offset = end = offset + block.size
                self._n_record_bytes = offset
                if skipping is not None:
                    n_skipped -= 1
                    skipping = skipping if n_skipped else None
                else:
                    reason = f"the line is {_TOO_LONG}"
                    yield batches.reject_row(reason, None if self.is_stream else offset)
        if n_skipped:
            raise SourceError(f"{self.name}: it has fewer than {request.start:,} rows")

    def _begin_hashing(self, stream: ByteStream, offset: int) -> None:
        """Prepare to identify the file that a stream reads, starting at a byte offset."""
        if self._hasher is None or self._hasher.size > offset:
            self._hasher = PrefixHasher(self.path)
        self._hasher.reopen(stream)

    def _skip(self, stream: ByteStream, request: Request) -> None:
        """Skip the bytes up to the end of the last row that was read.

        The newline of that row may have been written since.

        Raises
        ------
        SourceError
            If the file ends earlier, or that row has been extended.

        """
        if _is_at_line_end(stream.skip(request.offset), stream):
            return
        if request.epoch:
            raise build_changed_error(self.name)
        raise SourceError(
            f"{self.name}: the file was changed while it was being read: run the command again"
        )

    def _find_pass_end(self, request: Request) -> int:
        """Return the end of the last row of the first pass."""
        if self._first_pass_end is None and request.known_fingerprint is not None:
            return request.known_fingerprint.size
        return self._first_pass_end or 0

    def end_pass(self, request: Request) -> None:
        if self.is_stream or request.known_fingerprint is None:
            return
        if self._hasher is not None and not request.epoch:
            self._hasher.identify(self._find_pass_end(request))
            self._hasher.close()

    def fingerprints(self) -> list[Fingerprint]:
        if self.is_stream:
            return [Fingerprint.of_stream(self.name)]
        return [self._identify_prefix(None)]

    def find_matching(self, fingerprints: Iterable[Fingerprint]) -> list[Fingerprint]:
        """Return the fingerprints that match the first bytes, in ascending order of size."""
        comparable = [
            fingerprint
            for fingerprint in fingerprints
            if not (fingerprint.is_stream or fingerprint.has_changed)
        ]
        comparable.sort(key=lambda fingerprint: fingerprint.size)
        if is_remote(self.path):
            return [
                fingerprint
                for fingerprint in comparable
                if self._identify_prefix(fingerprint.size) == fingerprint
            ]
        self._hasher = PrefixHasher(self.path)
        matches = [
            fingerprint
            for fingerprint in comparable
            if self._hasher.identify(fingerprint.size) == fingerprint
        ]
        self._hasher.close()
        return matches

    def identify(self, size: int) -> tuple[Fingerprint, str]:
        if self._hasher is None:
            fingerprint = self._identify_prefix(size)
            return fingerprint, fingerprint.digest
        fingerprint = self._hasher.identify(size)
        return fingerprint, self._hasher.start_digest

    def read_start(self) -> bytes:
        return open_bytes(self.path).read(START_BYTES)

    def ends_row_at(self, size: int) -> bool:
        stream = open_bytes(self.path)
        return _is_at_line_end(stream.skip(size), stream)

    def is_shorter_than(self, size: int) -> bool:
        return not open_bytes(self.path).skip(size)

    def has_grown(self, known_fingerprint: Fingerprint) -> bool:
        is_plain = not self._is_compressed and os.path.exists(self.path)
        if is_plain and os.path.getsize(self.path) == known_fingerprint.size:
            return False
        stream = open_bytes(self.path)
        stream.skip(known_fingerprint.size)
        while data := stream.read_available():
            if data.strip(b"\r\n"):
                return True
        return False

    def _identify_prefix(self, size: int | None) -> Fingerprint:
        """Return the fingerprint of the first `size` bytes, or of the whole file.

        An object at a URI is identified by its first few bytes, because otherwise it would have to
        be read twice.
        """
        if not is_remote(self.path):
            return PrefixHasher(self.path).identify(size)
        stream = open_bytes(self.path)
        first = stream.read(START_BYTES if size is None else min(size, START_BYTES))
        while size is None and stream.read_available():
            pass
        return Fingerprint(self.name, stream.n_bytes if size is None else size, hash_bytes(first))


def _is_at_line_end(last: bytes, stream: ByteStream) -> bool:
    """Return whether a line ends at a stream's position, given the byte before that position."""
    return last == b"\n" or (bool(last) and not stream.peek(1).strip(b"\r\n"))


def _skip_mark(stream: ByteStream) -> int:
    """Skip a byte order mark; return its size, which is 0 if there is none."""
    if stream.peek(len(_BYTE_ORDER_MARK)) != _BYTE_ORDER_MARK:
        return 0
    return len(stream.read(len(_BYTE_ORDER_MARK)))


def _split_lines(block: Block) -> Iterator[bytes]:
    """Yield the lines of a block, each with its newline."""
    start = 0
    while start < len(block.data):
        end = block.data.index(b"\n", start) + 1
        yield block.data[start:end]
        start = end


def _find_header_end(data: bytes) -> int:
    """Return the end of the first line that is not blank; 0 if there is none."""
    start = 0
    while start < len(data):
        end = data.index(b"\n", start) + 1
        if data[start:end] not in _BLANK_LINES:
            return end
        start = end
    return 0


def _limit_blocks(blocks: Iterable[Block], n_bytes: int, name: str) -> Iterator[Block]:
    """Yield the blocks of a file up to a number of bytes, where a line must end."""
    for block in blocks:
        if n_bytes <= 0:
            return
        if block.size <= n_bytes or block.is_too_long:
            yield block
        else:
            data, rest = block.data[:n_bytes], block.data[n_bytes:]
            if not data.endswith(b"\n") and not rest.startswith(_BLANK_LINES):
                raise build_changed_error(name)
            yield Block(data if data.endswith(b"\n") else data + b"\n", n_bytes)
        n_bytes -= block.size


def _read_content(data: bytes, block: Any, i: int) -> Callable[[], str]:
    """Return a function that returns the text of a record."""
    record = data[block.begins[i] : block.ends[i]]
    return lambda: record.decode(errors="surrogateescape")
