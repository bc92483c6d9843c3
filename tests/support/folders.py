"""Random folders of files that change between runs, as logs do."""

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
from splits import Case, Learner, state_in

from stream_perceptron import LiveModel

FORMS = ("csv", "csv", "jsonl", "jsonl", "parquet")
REFUSED = "; to learn the present file from its start: --again"
COLUMNS = ("id", "a", "b", "label")
GZIP = b"\x1f\x8b"


class Folder:
    """A folder of files with rows that are all different, and random changes of it."""

    def __init__(self, rng: random.Random, path: Path) -> None:
        path.mkdir()
        self.rng, self.path, self.form = rng, path, rng.choice(FORMS)
        self.rows: dict[Path, list[dict[str, object]]] = {}
        self.changed_in_place: set[Path] = set()  # files that a run may refuse
        self._archive = path.parent / "archive"
        self._archive.mkdir()
        self._n_rows = self._n_names = self._n_aged = 0
        for _ in range(rng.randrange(1, 4)):
            self.add()

    def change(self) -> None:
        """Change something."""
        changes: list[Callable[[], None]] = [self.add, self.delete, self.rename, self.copy]
        changes += [self.rotate, self.rotate]
        if self.form != "parquet":
            changes += [self.grow, self.grow, self.grow, self.copy_and_truncate, self.compress]
        if self.rows:
            self.rng.choice(changes)()

    def add(self) -> None:
        self._write(self._new_name(), self._new_rows())

    def delete(self) -> None:
        path = self._any()
        path.unlink()
        del self.rows[path]

    def rename(self) -> None:
        path, name = self._any(), self._new_name()
        self._move(path, path.rename(name))

    def copy(self) -> None:
        path, name = self._any(), self._new_name()
        shutil.copyfile(path, name)
        self.rows[name] = self.rows[path]

    def grow(self) -> None:
        path = self._any()
        # Rows that follow in only one of two copies make them different files.
        is_copied = sum(rows[:1] == self.rows[path][:1] for rows in self.rows.values()) > 1
        if not is_copied and not path.read_bytes().startswith(GZIP):
            more = self._new_rows()
            data = path.read_bytes()
            is_ended = not data or data.endswith(b"\n")
            with path.open("ab") as file:
                file.write(b"" if is_ended else b"\n")
                file.write(self._encode(more, with_header=not data))
            self.rows[path] = self.rows[path] + more

    def rotate(self) -> None:
        """Rename a file, and begin a new one of its name."""
        path = self._any()
        if not path.read_bytes().startswith(GZIP):
            self._rotate_old(path)
            self._move(path, path.rename(_rotated(path)))
            self._write(path, self._new_rows())

    def copy_and_truncate(self) -> None:
        """Copy a file, and begin it anew in place."""
        path = self._any()
        if not path.read_bytes().startswith(GZIP):
            self._rotate_old(path)
            shutil.copyfile(path, _rotated(path))
            self.rows[_rotated(path)] = self.rows[path]
            with path.open("r+b") as file:
                file.truncate(0)
            self.rows[path] = []
            self.changed_in_place.add(path)
            if self.rng.random() < 0.7:
                self._write(path, self._new_rows())

    def compress(self) -> None:
        path = self._any()
        name = path.with_name(f"{path.name}.gz")
        if not path.read_bytes().startswith(GZIP) and name not in self.rows:
            name.write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
            self._move(path, name)

    def give(self) -> list[Path]:
        """Return some files in any order, some of them twice."""
        paths = self.rng.sample(list(self.rows), self.rng.randrange(1, len(self.rows) + 1))
        return paths + self.rng.sample(paths, self.rng.randrange(len(paths) + 1) // 2)

    def rescue(self, path: Path) -> None:
        """Give a file that a run has refused a new name."""
        self._move(path, path.rename(self._new_name()))

    def age(self) -> None:
        """Give files that were changed since the last call a time in the past, each another one.

        A run does not read finished files whose time is not recent and has not changed.
        """
        for path in self.rows:
            if path.stat().st_mtime > 1.5e9:
                self._n_aged += 1
                os.utime(path, (1e9 + self._n_aged, 1e9 + self._n_aged))

    def archive(self) -> None:
        """Keep the present content of all files, to verify a model."""
        for path in self.rows:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            shutil.copyfile(path, self._archive / digest)

    def sources_of(self, model: Path) -> list[Path]:
        """Return archived files that have all rows that a model learned from."""
        archived = list(self._archive.iterdir())
        contents = [_content_of(path) for path in archived]
        found = {}
        for entry in LiveModel.load(model).lineage.entries:
            (source,) = entry.sources
            for path, content in zip(archived, contents, strict=True):
                if hashlib.sha256(content[: source.size]).hexdigest() == source.digest:
                    found[path] = None
                    break
        return list(found)

    def write_ordered(self, path: Path, ids: list[int]) -> None:
        """Write the rows with these IDs, in this order, to a file."""
        rows = {row["id"]: row for row in self._all_rows}
        path.write_bytes(self._encode([rows[number] for number in ids], with_header=True))

    def _any(self) -> Path:
        return self.rng.choice(list(self.rows))

    def _new_name(self) -> Path:
        self._n_names += 1
        return self.path / f"{self._n_names}.{self.form}"

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
        if self.form != "parquet" and self.rng.random() < 0.2:
            data = data.rstrip(b"\n")
        with path.open("r+b" if path.exists() else "wb") as file:  # in place
            file.truncate()
            file.write(data)
        self.rows[path] = rows

    def _encode(self, rows: list[dict[str, object]], with_header: bool) -> bytes:
        if self.form == "jsonl":
            return "".join(json.dumps(row) + "\n" for row in rows).encode()
        if self.form == "parquet":
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
        if _rotated(path) in self.rows:
            old = _rotated(path)
            self._move(old, old.rename(self._new_name()))

    def _move(self, path: Path, name: Path) -> None:
        self.rows[name] = self.rows.pop(path)


def _rotated(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


def _content_of(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if data.startswith(GZIP) else data


def ids_in(predictions: Path) -> list[int]:
    """Return the IDs of the rows that were predicted and learned, in order."""
    lines = predictions.read_text().splitlines() if predictions.exists() else []
    return [int(json.loads(line)["id"]) for line in lines]


def require_learned_once(rng: random.Random, folder: Path, monkeypatch) -> Counter[str]:
    """Learn a folder in random runs; return how often things were done.

    Raises AssertionError if a row is learned twice or never, if the result is not that of one run
    over the rows in the same order, or if the model does not verify.
    """
    files, counts = Folder(rng, folder / "files"), Counter(cases=1)
    options = ["--ignore", "id", "--keep", "id", "--seed", "1", "--label", "label"]
    case = Case([], [files.form], options, "together")
    learner = Learner(folder / "learner", case, monkeypatch)
    for _ in range(rng.randrange(2, 9)):
        _run_once(rng, learner, files, files.give(), counts)
        for _ in range(rng.randrange(4)):
            files.change()
            counts["changes"] += 1
        if not files.rows:
            files.add()
    is_done = False
    while not is_done:
        is_done = _run_once(rng, learner, files, list(files.rows), counts, is_last=True)
    ids = ids_in(learner.predictions)
    assert len(ids) == len(set(ids)), "a row was learned twice"
    present = {row["id"] for rows in files.rows.values() for row in rows}
    assert present <= set(ids), "a row was not learned"
    if not learner.rows():
        return counts
    case.files = [folder / f"all.{files.form}"]
    files.write_ordered(case.files[0], ids)
    whole = Learner(folder / "whole", case, monkeypatch)
    whole.run(case.files)
    one, other = state_in(whole), state_in(learner)
    for what in one.keys() - {"lineage"}:
        assert one[what] == other[what], what
    _require_verified(learner.model, files.sources_of(learner.model), rng)
    counts["rows"] += len(ids)
    counts["learned"] += 1
    return counts


def _run_once(rng, learner, files, paths, counts, is_last=False) -> bool:
    """Learn some files, perhaps in part; return whether all of their rows are learned."""
    if rng.random() < 0.7:
        files.age()
    how = "whole" if is_last else rng.choice(["whole", "whole", "limit", "signal", "crash"])
    every = ["--save-every", str(rng.randrange(1, 50))]
    if how == "limit":
        learner.run(paths, *every, "--limit", str(rng.randrange(1, 100)))
    elif how == "signal":
        learner.run(paths, *every, signal_at=rng.randrange(1, 12))
    elif how == "crash":
        learner.crash(rng, lambda *more, **on: learner.run(paths, *more, **on))
    else:
        learner.run(paths, *every)
    files.archive()
    counts[how] += 1
    if learner.error.endswith(REFUSED):
        (refused,) = [path for path in files.rows if f"{path}: " in learner.error]
        assert refused in files.changed_in_place, learner.error
        files.rescue(refused)
        counts["refused"] += 1
        return False
    if how == "whole":
        given = {row["id"] for path in paths for row in files.rows[path]}
        assert given <= set(ids_in(learner.predictions)), learner.error
    return True


def _require_verified(model: Path, sources: list[Path], rng: random.Random) -> None:
    from stream_perceptron_cli.main import main

    rng.shuffle(sources)
    result = CliRunner().invoke(main, ["verify", str(model), *map(str, sources)])
    assert result.exit_code == 0, result.output
