"""A power cut at any moment of a run leaves an intact model and predictions that match it.

The command's system calls are recorded. POSIX defines the possible states of the disk after each
call: each unsynced write to a file is complete, partial, filled with zeros or missing, and each
unsynced change to the names in a folder is present or missing.
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
from helpers import CASE_FACTOR, COMMAND, make_point_lines, read_contents, require_tool

from stream_perceptron import LiveModel
from stream_perceptron_cli.checkpoint import CommandState

MODEL, PREVIOUS = "model/model.npz", "model/model.npz.prev"
BESIDE_MODEL, ELSEWHERE = "model/predictions.jsonl", "other/predictions.jsonl"
MAX_RESUMED = 2 * CASE_FACTOR  # states to resume from, for each model
SECTOR, PAGE = 512, 4096  # bytes
DESCRIPTOR_CALLS = ["write", "ftruncate", "fsync", "fdatasync"]
PATH_CALLS = [
    "open", "openat", "link", "linkat", "unlink", "unlinkat", "rename", "renameat", "renameat2",
]  # fmt: skip


class Scenario(NamedTuple):
    predictions: str
    rows_before: int = 0  # rows learned before the recorded run
    rows: int = 600  # rows learned at the end
    tmpfs: str = ""  # mount options of the tmpfs that holds the model
    full_file: str = ""  # the file that does not fit


SCENARIOS = {
    "first save, predictions beside the model": Scenario(BESIDE_MODEL, rows=200),
    "first save, predictions elsewhere": Scenario(ELSEWHERE, rows=200),
    "later saves, predictions beside the model": Scenario(BESIDE_MODEL, rows_before=200),
    "later saves, predictions elsewhere": Scenario(ELSEWHERE, rows_before=200),
    "no room for a model": Scenario(ELSEWHERE, tmpfs="size=20k", full_file=MODEL),
    "no inode for the previous save": Scenario(ELSEWHERE, tmpfs="nr_inodes=4", full_file=MODEL),
    "no room for predictions": Scenario(BESIDE_MODEL, tmpfs="size=40k", full_file=BESIDE_MODEL),
}


def parse_calls(log, root):
    """Yield the calls that can change files in a folder: name, arguments, paths and data."""
    byte = r"(?:\\x[0-9a-f]{2})"
    for line in log.read_text().splitlines():
        assert "unfinished" not in line
        match = re.match(r"\d+ +(\w+)\((.*)\) += (\d+)", line)
        if match is None or (match[1].startswith("open") and "O_CREAT" not in match[2]):
            continue
        of_descriptors, texts = (
            [bytes.fromhex(text.replace("\\x", "")) for text in re.findall(pattern, match[2])]
            for pattern in (f"<({byte}+)>", f'"({byte}*)"')
        )
        given = of_descriptors if match[1] in DESCRIPTOR_CALLS else texts
        paths = [Path(os.fsdecode(path)) for path in given]
        if paths and paths[0].is_relative_to(root):
            relative = [str(path.relative_to(root)) for path in paths]
            yield match[1], match[2], relative, b"".join(texts)[: int(match[3])]


class Disk:
    """Files as a process sees them, and their possible states after a power cut."""

    def __init__(self, root):
        initial_files = read_files(root)
        self.files = dict(enumerate(initial_files.values()))
        self.names = dict(zip(initial_files, self.files, strict=True))
        self.synced_files, self.synced_names = dict(self.files), dict(self.names)
        # Unsynced changes of each file: pairs of an offset and bytes, or of a size and None.
        self.writes = defaultdict(list)
        # Unsynced changes of each folder: pairs of a name and its file, or None if it was removed.
        self.changes = defaultdict(list)

    def apply(self, name, arguments, paths, data):
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
        self.files[file] = apply_writes(self.files[file], [(offset, data)])

    def _rename(self, change):
        (folder,) = {os.path.dirname(path) for path in change}
        self.changes[folder].append(change)
        self.names.update(change)

    def visible_files(self):
        """Return the files that a process sees, by name."""
        return {name: self.files[file] for name, file in self.names.items() if file is not None}

    def states(self):
        """Yield the possible states after a power cut now, as sets of names and contents."""
        contents = {
            file: {apply_writes(data, part) for part in enumerate_effects(self.writes[file])}
            for file, data in self.synced_files.items()
        }
        changes = [change for folder in self.changes.values() for change in folder]
        for selection in product([False, True], repeat=len(changes)):
            names = dict(self.synced_names)
            for change in compress(changes, selection):
                names.update(change)
            names = {name: file for name, file in names.items() if file is not None}
            files = set(names.values())
            for versions in product(*(contents[file] for file in files)):
                content = dict(zip(files, versions, strict=True))
                yield frozenset((name, content[file]) for name, file in names.items())


def read_files(root):
    paths = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


def enumerate_effects(writes):
    """Yield the possible effects of writes, each of which is complete, partial or missing."""
    choices = [[[], [(offset, data)]] for offset, data in writes]
    for choice, (offset, data) in zip(choices, writes, strict=True):
        for n in (*range(0, len(data), SECTOR), len(data) - 1) if data else ():
            hole = bytes(len(data[n : n + PAGE]))
            torn = data[:n], data[:n].ljust(len(data), b"\0"), data[:n] + hole + data[n + PAGE :]
            choice += [[(offset, torn_data)] for torn_data in torn]
    if math.prod(map(len, choices)) < 5000:
        return map(chain.from_iterable, product(*choices))
    # Of many writes, only one is partial, and either all or none of the later ones are applied.
    return (
        [*writes[:i], *part, *rest]
        for i, choice in enumerate(choices)
        for part, rest in product(choice, ([], writes[i + 1 :]))
    )


def apply_writes(content, writes):
    for offset, data in writes:
        end = b"" if data is None else data + content[offset + len(data) :]
        content = content[:offset].ljust(offset, b"\0") + end
    return content


def learn_command(root, scenario, rows=600):
    return [
        COMMAND, "learn", root.parent / "table.csv", "-m", root / MODEL, "-p",
        root / scenario.predictions, "--save-every", "200", "--limit", str(rows), "--quiet",
    ]  # fmt: skip


def record_calls(root, scenario, log):
    """Run the command and record its system calls; return its stderr and the final files."""
    command = [
        "strace", "-f", "-y", "-z", "-xx", "-s", "10000000", "--seccomp-bpf", "-o", log,
        "-e", "trace=" + ",".join(f"?{call}" for call in PATH_CALLS + DESCRIPTOR_CALLS),
        *learn_command(root, scenario, scenario.rows),
    ]  # fmt: skip
    final_folder = root
    if scenario.tmpfs:
        final_folder = root.with_name("left")
        script = (
            f"mount -t tmpfs -o {scenario.tmpfs} tmpfs {root}/model || exit 99\n"
            f'"$@"; code=$?; cp -a {root} {final_folder}; exit $code'
        )
        command = ["unshare", "-rm", "bash", "-c", script, "bash", *command]
    result = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=300)
    assert result.returncode == bool(scenario.full_file), result.stderr
    return result.stderr, read_files(final_folder)


def make_folders(root, state=()):
    """Create the folders and files of a run."""
    for folder in ("model", "other"):
        (root / folder).mkdir(parents=True)
    for name, content in state:
        (root / name).write_bytes(content)
    return root


def finish_run(root, scenario):
    """Learn the remaining rows; return the model and the predictions."""
    subprocess.run(learn_command(root, scenario), check=True, timeout=300)
    return read_contents(root / MODEL), (root / scenario.predictions).read_bytes()


@pytest.mark.parametrize("name", SCENARIOS)
def test_run_resumes_bit_identically_from_any_state_after_power_cut(name, tmp_path):
    require_tool("strace")
    scenario, rng = SCENARIOS[name], random.Random(0)
    header, lines = make_point_lines(600)
    (tmp_path / "table.csv").write_bytes(header + b"".join(lines))
    expected = finish_run(make_folders(tmp_path / "whole"), scenario)
    root = make_folders(tmp_path / "run")
    if scenario.rows_before:
        subprocess.run(learn_command(root, scenario, scenario.rows_before), check=True)
        # An earlier power cut left a temporary file, and zeros after the predictions.
        (root / f"model/.model.npz.{'0f' * 8}.tmp").write_bytes(bytes(1000))
        output = root / scenario.predictions
        output.write_bytes(output.read_bytes() + bytes(100))
    disk = Disk(root)
    errors, final_files = record_calls(root, scenario, tmp_path / "log")
    calls = list(parse_calls(tmp_path / "log", root))
    files = disk.visible_files()
    saves = [files[path] for path in (PREVIOUS, MODEL) if path in files]

    @cache
    def count_prediction_bytes(model):
        """Return the number of bytes of predictions that belong to a model."""
        (tmp_path / "loaded.npz").write_bytes(model)
        live = LiveModel.load(tmp_path / "loaded.npz")
        (length,) = CommandState.load(live).outputs.values()
        return length

    states, n_durable = defaultdict(set), len(saves)
    for call in [*calls, None]:
        if call is not None:
            disk.apply(*call)
        if (model := disk.visible_files().get(MODEL)) not in (None, *saves):
            saves.append(model)
        # A run relies on its last save when it continues or ends.
        if call is None or call[0] in ("open", "openat", "write"):
            n_durable = len(saves)
        # The disk holds the last durable save or a later one, and its predecessor.
        models = saves[n_durable - 1 :] if n_durable else [None, *saves]
        previous = saves[n_durable - 2 : n_durable] if n_durable > 1 else [None, *saves[:n_durable]]
        for state in disk.states():
            files = dict(state)
            assert files.get(MODEL) in models
            assert files.get(PREVIOUS) in previous
            for saved_model in {files.get(MODEL), files.get(PREVIOUS)} - {None}:
                predictions = files.get(scenario.predictions, b"")
                size = count_prediction_bytes(saved_model)
                assert predictions[:size] == expected[1][:size]
            states[files.get(MODEL)].add(state)

    assert final_files == disk.visible_files()
    assert final_files.keys() <= {MODEL, f"{MODEL}.lock", PREVIOUS, scenario.predictions}
    assert saves[-1] == final_files[MODEL]
    if scenario.full_file:
        assert errors == f"Error: {root / scenario.full_file}: No space left on device\n"
    n_resumed = 0
    for model_states in states.values():
        ordered = sorted(model_states, key=sorted)
        for state in rng.sample(ordered, min(MAX_RESUMED, len(ordered))):
            n_resumed += 1
            assert finish_run(make_folders(tmp_path / str(n_resumed), state), scenario) == expected
