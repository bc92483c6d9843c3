"""A power cut at any moment of a run leaves a whole model and predictions that fit it.

The command's system calls are recorded. POSIX defines the possible states of the disk after each
call: every unsynced write to a file is there, is zeros, or is missing, and so is every unsynced
change to the names in a folder.
"""

from __future__ import annotations

import math
import os
import random
import re
import subprocess
from collections import defaultdict
from functools import cache
from itertools import chain, compress, product
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers import COMMAND, TIMES, contents_of, lines_of, require_tool

from stream_perceptron import LiveModel

MODEL, PREVIOUS = "model/model.npz", "model/model.npz.prev"
BESIDE, ELSEWHERE = "model/predictions.jsonl", "other/predictions.jsonl"
RESUMED = 2 * TIMES  # states of each model
SECTOR, PAGE = 512, 4096  # bytes
ON_DESCRIPTORS = ["write", "ftruncate", "fsync", "fdatasync"]
ON_NAMES = [
    "open", "openat", "link", "linkat", "unlink", "unlinkat", "rename", "renameat", "renameat2",
]  # fmt: skip


class Scenario(NamedTuple):
    predictions: str
    before: int = 0  # rows learned before the recorded run
    rows: int = 600  # rows learned at the end
    room: str = ""  # the options of the tmpfs with the model
    full: str = ""  # the file that does not fit


SCENARIOS = {
    "first save, predictions beside it": Scenario(BESIDE, rows=200),
    "first save, predictions elsewhere": Scenario(ELSEWHERE, rows=200),
    "later saves, predictions beside them": Scenario(BESIDE, before=200),
    "later saves, predictions elsewhere": Scenario(ELSEWHERE, before=200),
    "no room for a model": Scenario(ELSEWHERE, room="size=20k", full=MODEL),
    "no room for its second name": Scenario(ELSEWHERE, room="nr_inodes=4", full=MODEL),
    "no room for predictions": Scenario(BESIDE, room="size=32k", full=BESIDE),
}


def calls_in(log, root):
    """Yield the calls that may change files below a folder: name, arguments, paths and data."""
    byte = r"(?:\\x[0-9a-f]{2})"
    for line in log.read_text().splitlines():
        assert "unfinished" not in line
        found = re.match(r"\d+ +(\w+)\((.*)\) += (\d+)", line)
        if found is None or (found[1].startswith("open") and "O_CREAT" not in found[2]):
            continue
        opened, texts = (
            [bytes.fromhex(text.replace("\\x", "")) for text in re.findall(each, found[2])]
            for each in (f"<({byte}+)>", f'"({byte}*)"')
        )
        on_descriptor = found[1] in ON_DESCRIPTORS
        paths = [Path(os.fsdecode(path)) for path in (opened if on_descriptor else texts)]
        if paths and paths[0].is_relative_to(root):
            relative = [str(path.relative_to(root)) for path in paths]
            yield found[1], found[2], relative, b"".join(texts)[: int(found[3])]


class Disk:
    """Files as a process sees them, and their possible states after a power cut."""

    def __init__(self, root):
        at_first = files_in(root)
        self.files = dict(enumerate(at_first.values()))
        self.names = dict(zip(at_first, self.files, strict=True))
        self.synced_files, self.synced_names = dict(self.files), dict(self.names)
        # Unsynced changes of each file: pairs of an offset and bytes, or of a size and None.
        self.writes = defaultdict(list)
        # Unsynced changes of each folder: pairs of a name and its file, or None if it was removed.
        self.changes = defaultdict(list)

    def take(self, name, arguments, paths, data):
        """Apply a call."""
        path, target = paths[0], paths[-1]
        file = self.names.get(path)
        if name.startswith("open") and file is None:
            file = len(self.files)
            self.files[file] = self.synced_files[file] = b""
            self._rename({path: file})
        elif name.startswith("open") and "O_TRUNC" in arguments:
            self._write(file, 0, None)
        elif name == "write":
            # The command only appends; otherwise the comparison would fail.
            self._write(file, len(self.files[file]), data)
        elif name == "ftruncate":
            self._write(file, int(arguments.rpartition(", ")[2]), None)
        elif name.startswith("link"):
            self._rename({target: file})
        elif name.startswith("unlink"):
            self._rename({path: None})
        # If both are links to one file, renaming leaves both.
        elif name.startswith("rename") and self.names.get(target) != file:
            self._rename({path: None, target: file})
        elif name in ("fsync", "fdatasync"):
            if self.writes.pop(file, None):
                self.synced_files[file] = self.files[file]
            for change in self.changes.pop(path, []):
                self.synced_names.update(change)

    def _write(self, file, offset, data):
        self.writes[file].append((offset, data))
        self.files[file] = written(self.files[file], [(offset, data)])

    def _rename(self, change):
        (folder,) = {os.path.dirname(path) for path in change}
        self.changes[folder].append(change)
        self.names.update(change)

    def seen(self):
        """Return the files that a process sees, by name."""
        return {name: self.files[file] for name, file in self.names.items() if file is not None}

    def states(self):
        """Yield the possible states after a power cut now, as files by name."""
        contents = {
            file: {written(data, part) for part in parts(self.writes[file])}
            for file, data in self.synced_files.items()
        }
        changes = [change for folder in self.changes.values() for change in folder]
        for are_kept in product([False, True], repeat=len(changes)):
            names = dict(self.synced_names)
            for change in compress(changes, are_kept):
                names.update(change)
            names = {name: file for name, file in names.items() if file is not None}
            files = set(names.values())
            for chosen in product(*(contents[file] for file in files)):
                content = dict(zip(files, chosen, strict=True))
                yield frozenset((name, content[file]) for name, file in names.items())


def files_in(root):
    paths = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


def parts(writes):
    """Yield the possible effects of some writes: of each all, none, or some sectors."""
    choices = [[[], [(offset, data)]] for offset, data in writes]
    for choice, (offset, data) in zip(choices, writes, strict=True):
        for n in (*range(0, len(data), SECTOR), len(data) - 1) if data else ():
            hole = bytes(len(data[n : n + PAGE]))
            torn = data[:n], data[:n].ljust(len(data), b"\0"), data[:n] + hole + data[n + PAGE :]
            choice += [[(offset, each)] for each in torn]
    if math.prod(map(len, choices)) < 5000:
        return map(chain.from_iterable, product(*choices))
    # Of many writes, take one in part, and those behind it all or none.
    return (
        [*writes[:i], *part, *rest]
        for i, choice in enumerate(choices)
        for part, rest in product(choice, ([], writes[i + 1 :]))
    )


def written(content, writes):
    for offset, data in writes:
        end = b"" if data is None else data + content[offset + len(data) :]
        content = content[:offset].ljust(offset, b"\0") + end
    return content


def learn(root, scenario, rows=600):
    return [
        COMMAND, "learn", root.parent / "table.csv", "-m", root / MODEL, "-p",
        root / scenario.predictions, "--save-every", "200", "--limit", str(rows), "--quiet",
    ]  # fmt: skip


def record(root, scenario, log):
    """Run the command and record its calls; return its errors and its files."""
    command = [
        "strace", "-f", "-y", "-z", "-xx", "-s", "10000000", "--seccomp-bpf", "-o", log,
        "-e", "trace=" + ",".join(f"?{call}" for call in ON_NAMES + ON_DESCRIPTORS),
        *learn(root, scenario, scenario.rows),
    ]  # fmt: skip
    left = root
    if scenario.room:
        left = root.with_name("left")
        script = (
            f"mount -t tmpfs -o {scenario.room} tmpfs {root}/model || exit 99\n"
            f'"$@"; code=$?; cp -a {root} {left}; exit $code'
        )
        command = ["unshare", "-rm", "bash", "-c", script, "bash", *command]
    result = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=300)
    assert result.returncode == bool(scenario.full), result.stderr
    return result.stderr, files_in(left)


def made(root, state=()):
    """Make the folders and files of a run."""
    for folder in ("model", "other"):
        (root / folder).mkdir(parents=True)
    for name, content in state:
        (root / name).write_bytes(content)
    return root


def finished(root, scenario):
    """Learn the remaining rows; return the model and the predictions."""
    subprocess.run(learn(root, scenario), check=True, timeout=300)
    return contents_of(root / MODEL), (root / scenario.predictions).read_bytes()


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_state_that_a_power_cut_may_leave(name, tmp_path, tell):
    require_tool("strace")
    scenario, rng = SCENARIOS[name], random.Random(0)
    header, lines = lines_of("csv", 600)
    (tmp_path / "table.csv").write_bytes(header + b"".join(lines))
    expected = finished(made(tmp_path / "whole"), scenario)
    root = made(tmp_path / "run")
    if scenario.before:
        subprocess.run(learn(root, scenario, scenario.before), check=True)
        # A leftover of a power cut.
        (root / f"model/.model.npz.{'0f' * 8}.tmp").write_bytes(bytes(1000))
        output = root / scenario.predictions
        output.write_bytes(output.read_bytes() + bytes(100))
    disk = Disk(root)
    errors, left = record(root, scenario, tmp_path / "log")
    calls = list(calls_in(tmp_path / "log", root))
    saves = [disk.seen()[path] for path in (PREVIOUS, MODEL) if path in disk.seen()]

    @cache
    def kept(model):
        """Return the number of bytes of predictions that belong to a model."""
        (tmp_path / "loaded.npz").write_bytes(model)
        (length,) = LiveModel.load(tmp_path / "loaded.npz").cursor.outputs.values()
        return length

    states, done = defaultdict(set), len(saves)
    for call in [*calls, None]:
        if call is not None:
            disk.take(*call)
        if (model := disk.seen().get(MODEL)) not in (None, *saves):
            saves.append(model)
        # A run relies on its last save when it continues or ends.
        if call is None or call[0] in ("open", "openat", "write"):
            done = len(saves)
        # Each save or the next one is there, with its predecessor as the previous save.
        models = saves[done - 1 :] if done else [None, *saves]
        previous = saves[done - 2 : done] if done > 1 else [None, *saves[:done]]
        for state in disk.states():
            files = dict(state)
            assert files.get(MODEL) in models
            assert files.get(PREVIOUS) in previous
            for each in {files.get(MODEL), files.get(PREVIOUS)} - {None}:
                predictions = files.get(scenario.predictions, b"")
                assert predictions[: kept(each)] == expected[1][: kept(each)]
            states[files.get(MODEL)].add(state)

    assert left == disk.seen()
    assert left.keys() <= {MODEL, f"{MODEL}.lock", PREVIOUS, scenario.predictions}
    assert saves[-1] == left[MODEL]
    if scenario.full:
        assert errors == f"Error: {root / scenario.full}: No space left on device\n"
    resumed = 0
    for some in states.values():
        for state in rng.sample(sorted(some, key=sorted), min(RESUMED, len(some))):
            resumed += 1
            assert finished(made(tmp_path / str(resumed), state), scenario) == expected
    tell(
        f"power cuts, {name}: {sum(map(len, states.values())):,} states after {len(calls)} calls, "
        f"all fit one of {len(saves)} models; {resumed} resumed"
    )
