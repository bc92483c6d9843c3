"""Random folders of files that change between runs, as log files do."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from click.testing import CliRunner
from splits import Case, Learner, load_results

from stream_perceptron import LiveModel

FORMATS = ("csv", "csv", "jsonl", "jsonl", "parquet")
REJECTION_HINT = "; to learn the current file from its start: --again"
COLUMNS = ("id", "a", "b", "label")
GZIP = b"\x1f\x8b"


class Folder:
    """A folder of files whose rows are all distinct, with methods that change it at random."""

    def __init__(self, rng: random.Random, path: Path) -> None:
        path.mkdir()
        self.rng, self.path, self.file_format = rng, path, rng.choice(FORMATS)
        self.rows: dict[Path, list[dict[str, object]]] = {}
        self.changed_in_place: set[Path] = set()  # files that a run may reject
        self._archive = path.parent / "archive"
        self._archive.mkdir()
        self._n_rows = self._n_names = self._n_aged = 0
        for _ in range(rng.randrange(1, 4)):
            self.add()

    def change(self) -> None:
        """Apply a random change."""
        changes: list[Callable[[], None]] = [self.add, self.delete, self.rename, self.copy]
        changes += [self.rotate, self.rotate]
        if self.file_format != "parquet":
            changes += [self.grow, self.grow, self.grow, self.copy_and_truncate, self.compress]
        if self.rows:
            self.rng.choice(changes)()

    def add(self) -> None:
        self._write(self._new_name(), self._new_rows())

    def delete(self) -> None:
        path = self._choose_path()
        path.unlink()
        del self.rows[path]

    def rename(self) -> None:
        path, name = self._choose_path(), self._new_name()
        self._move(path, path.rename(name))

    def copy(self) -> None:
        path, name = self._choose_path(), self._new_name()
        shutil.copyfile(path, name)
        self.rows[name] = self.rows[path]

    def grow(self) -> None:
        path = self._choose_path()
        # Rows that are appended to only one of two copies make them different files.
        is_copied = sum(rows[:1] == self.rows[path][:1] for rows in self.rows.values()) > 1
        if not is_copied and not path.read_bytes().startswith(GZIP):
            added_rows = self._new_rows()
            data = path.read_bytes()
            ends_with_newline = not data or data.endswith(b"\n")
            with path.open("ab") as file:
                file.write(b"" if ends_with_newline else b"\n")
                file.write(self._encode(added_rows, with_header=not data))
            self.rows[path] = self.rows[path] + added_rows

    def rotate(self) -> None:
        """Rename a file, and start a new one with its name."""
        path = self._choose_path()
        if not path.read_bytes().startswith(GZIP):
            self._rotate_old(path)
            self._move(path, path.rename(_rotated_path(path)))
            self._write(path, self._new_rows())

    def copy_and_truncate(self) -> None:
        """Copy a file, then truncate it in place, as logrotate does with copytruncate."""
        path = self._choose_path()
        if not path.read_bytes().startswith(GZIP):
            self._rotate_old(path)
            shutil.copyfile(path, _rotated_path(path))
            self.rows[_rotated_path(path)] = self.rows[path]
            with path.open("r+b") as file:
                file.truncate(0)
            self.rows[path] = []
            self.changed_in_place.add(path)
            if self.rng.random() < 0.7:
                self._write(path, self._new_rows())

    def compress(self) -> None:
        path = self._choose_path()
        name = path.with_name(f"{path.name}.gz")
        if not path.read_bytes().startswith(GZIP) and name not in self.rows:
            name.write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
            self._move(path, name)

    def choose_paths(self) -> list[Path]:
        """Return paths of random files in random order, some of them twice."""
        paths = self.rng.sample(list(self.rows), self.rng.randrange(1, len(self.rows) + 1))
        return paths + self.rng.sample(paths, self.rng.randrange(len(paths) + 1) // 2)

    def rename_rejected(self, path: Path) -> None:
        """Rename a file that a run has rejected."""
        self._move(path, path.rename(self._new_name()))

    def set_old_times(self) -> None:
        """Set distinct old modification times for files that have changed since the last call.

        A run skips finished files whose modification time is old and unchanged.
        """
        for path in self.rows:
            if path.stat().st_mtime > 1.5e9:
                self._n_aged += 1
                os.utime(path, (1e9 + self._n_aged, 1e9 + self._n_aged))

    def archive_contents(self) -> None:
        """Copy the current contents of all files, to verify a model later."""
        for path in self.rows:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            shutil.copyfile(path, self._archive / digest)

    def find_sources(self, model: Path) -> list[Path]:
        """Return archived files that contain all rows from which a model has learned."""
        archived = list(self._archive.iterdir())
        contents = [_read_decompressed(path) for path in archived]
        matches = {}
        for entry in LiveModel.load(model).lineage.entries:
            (source,) = entry.sources
            for path, content in zip(archived, contents, strict=True):
                if hashlib.sha256(content[: source.size]).hexdigest() == source.digest:
                    matches[path] = None
                    break
        return list(matches)

    def write_rows_in_order(self, path: Path, ids: list[int]) -> None:
        """Write the rows with these IDs, in this order, to a file."""
        rows = {row["id"]: row for row in self._all_rows}
        path.write_bytes(self._encode([rows[number] for number in ids], with_header=True))

    def _choose_path(self) -> Path:
        return self.rng.choice(list(self.rows))

    def _new_name(self) -> Path:
        self._n_names += 1
        return self.path / f"{self._n_names}.{self.file_format}"

    def _new_rows(self) -> list[dict[str, object]]:
        rows = []
        for _ in range(self.rng.choice([0, 1, 2, 5, 30, 200])):
            self._n_rows += 1
            label = None if self.rng.random() < 0.1 else self.rng.choice("xyz")
            a, b = self.rng.choice([0, 1, -2]), round(self.rng.gauss(0, 1), 3)
            rows.append(dict(zip(COLUMNS, (self._n_rows, a, b, label), strict=True)))
        self._all_rows = [*getattr(self, "_all_rows", []), *rows]
        return rows

    def _write(self, path: Path, rows: list[dict[str, object]]) -> None:
        data = self._encode(rows, with_header=bool(rows) or self.rng.random() < 0.5)
        if self.file_format != "parquet" and self.rng.random() < 0.2:
            data = data.rstrip(b"\n")
        with path.open("r+b" if path.exists() else "wb") as file:  # in place
            file.truncate()
            file.write(data)
        self.rows[path] = rows

    def _encode(self, rows: list[dict[str, object]], with_header: bool) -> bytes:
        if self.file_format == "jsonl":
            return "".join(json.dumps(row) + "\n" for row in rows).encode()
        if self.file_format == "parquet":
            types = (pa.int64(), pa.int64(), pa.float64(), pa.string())
            schema = pa.schema(list(zip(COLUMNS, types, strict=True)))
            sink = io.BytesIO()
            pq.write_table(pa.Table.from_pylist(rows, schema), sink, row_group_size=7)
            return sink.getvalue()
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        if with_header:
            writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().encode()

    def _rotate_old(self, path: Path) -> None:
        if _rotated_path(path) in self.rows:
            old = _rotated_path(path)
            self._move(old, old.rename(self._new_name()))

    def _move(self, path: Path, name: Path) -> None:
        self.rows[name] = self.rows.pop(path)


def _rotated_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


def _read_decompressed(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if data.startswith(GZIP) else data


def read_ids(predictions: Path) -> list[int]:
    """Return the IDs in a file of predictions, in order."""
    lines = predictions.read_text().splitlines() if predictions.exists() else []
    return [int(json.loads(line)["id"]) for line in lines]


def require_learned_once(rng: random.Random, folder: Path, monkeypatch) -> Counter[str]:
    """Learn a changing folder in random runs; return counts of cases, changes, runs and rows.

    Raises AssertionError if a row is learned twice or never, if the result differs from one run
    over the same rows in the same order, or if the model does not verify.
    """
    files, counts = Folder(rng, folder / "files"), Counter(cases=1)
    options = ["--ignore", "id", "--keep", "id", "--seed", "1", "--label", "label"]
    case = Case([], [files.file_format], options, "together")
    learner = Learner(folder / "learner", case, monkeypatch)
    for _ in range(rng.randrange(2, 9)):
        _run_once(rng, learner, files, files.choose_paths(), counts)
        for _ in range(rng.randrange(4)):
            files.change()
            counts["changes"] += 1
        if not files.rows:
            files.add()
    is_done = False
    while not is_done:
        is_done = _run_once(rng, learner, files, list(files.rows), counts, is_last=True)
    ids = read_ids(learner.predictions)
    assert len(ids) == len(set(ids)), "a row was learned twice"
    present_ids = {row["id"] for rows in files.rows.values() for row in rows}
    assert present_ids <= set(ids), "a row was not learned"
    if not learner.rows():
        return counts
    case.files = [folder / f"all.{files.file_format}"]
    files.write_rows_in_order(case.files[0], ids)
    whole = Learner(folder / "whole", case, monkeypatch)
    whole.run(case.files)
    whole_results, learner_results = load_results(whole), load_results(learner)
    for key in whole_results.keys() - {"lineage"}:
        assert whole_results[key] == learner_results[key], key
    _require_verified(learner.model, files.find_sources(learner.model), rng)
    counts["rows"] += len(ids)
    counts["learned"] += 1
    return counts


def _run_once(rng, learner, files, paths, counts, is_last=False) -> bool:
    """Learn some files, perhaps in part; return False if the run rejected one of them."""
    if rng.random() < 0.7:
        files.set_old_times()
    run_kind = "whole" if is_last else rng.choice(["whole", "whole", "limit", "signal", "crash"])
    save_options = ["--save-every", str(rng.randrange(1, 50))]
    if run_kind == "limit":
        learner.run(paths, *save_options, "--limit", str(rng.randrange(1, 100)))
    elif run_kind == "signal":
        learner.run(paths, *save_options, signal_at=rng.randrange(1, 12))
    elif run_kind == "crash":
        learner.crash(rng, lambda *args, **kwargs: learner.run(paths, *args, **kwargs))
    else:
        learner.run(paths, *save_options)
    files.archive_contents()
    counts[run_kind] += 1
    if learner.error.endswith(REJECTION_HINT):
        (rejected,) = [path for path in files.rows if f"{path}: " in learner.error]
        assert rejected in files.changed_in_place, learner.error
        files.rename_rejected(rejected)
        counts["rejected"] += 1
        return False
    if run_kind == "whole":
        given_ids = {row["id"] for path in paths for row in files.rows[path]}
        assert given_ids <= set(read_ids(learner.predictions)), learner.error
    return True


def _require_verified(model: Path, sources: list[Path], rng: random.Random) -> None:
    from stream_perceptron_cli.main import main

    rng.shuffle(sources)
    result = CliRunner().invoke(main, ["verify", str(model), *map(str, sources)])
    assert result.exit_code == 0, result.output
