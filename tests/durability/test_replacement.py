"""If a checkpoint cannot be written, the old one stays, without temporary files beside it."""

from __future__ import annotations

import errno
import itertools
import os
import subprocess
import sys

import pytest
from helpers import start, wait_for

from stream_perceptron import LiveModel, SGDPerceptron, load, save
from stream_perceptron.checkpoint.archive import atomic, write_checkpoint
from stream_perceptron.checkpoint.perceptron import encode_perceptron


def read_folder(path):
    return {name.name: name.read_bytes() for name in path.parent.iterdir() if name.is_file()}


@pytest.fixture
def saved_model(tmp_path):
    """The path of a checkpoint that was saved three times, and its model one sample later."""
    path = tmp_path / "model.npz"
    model = SGDPerceptron(seed=0)
    for label in ("left", "right", "left"):
        model.learn_one({"x": 1.0}, label)
        save(model, path)
    model.learn_one({"y": 1.0}, "new")
    return path, model


@pytest.mark.parametrize("error_number", [errno.ENOSPC, errno.EIO, errno.EACCES])
@pytest.mark.parametrize(
    ("step", "failing_call"),
    [("open", 1), ("fsync", 1), ("link", 1), ("replace", 1), ("replace", 2), ("open", 2),
     ("fsync", 2)],
)  # fmt: skip
def test_error_at_any_step_leaves_an_intact_file_and_no_litter(
    step, failing_call, error_number, saved_model, monkeypatch
):
    """The steps: temporary file, fsync, hard link in two steps, rename, fsync of the folder."""
    path, model = saved_model
    before, function, calls = read_folder(path), getattr(os, step), itertools.count(1)

    def fail(*args, **kwargs):
        if next(calls) == failing_call:
            raise OSError(error_number, os.strerror(error_number))
        return function(*args, **kwargs)

    monkeypatch.setattr(atomic.os, step, fail)
    with pytest.raises(OSError, match=os.strerror(error_number)):
        save(model, path)
    after = read_folder(path)

    assert after.keys() == before.keys()
    if failing_call == 2 and step != "replace":
        # The new file is already in place, but perhaps not on disk.
        assert load(path).model.n_seen == 4
    else:
        assert after["model.npz"] == before["model.npz"]
    assert load(f"{path}.prev").model.n_seen in (2, 3)


@pytest.mark.parametrize("error_number", [errno.EPERM, errno.ENOSYS])
def test_file_system_without_hard_links_keeps_no_previous_save(
    error_number, saved_model, tmp_path, monkeypatch
):
    _, model = saved_model

    def reject_link(*args):
        raise OSError(error_number, os.strerror(error_number))

    monkeypatch.setattr(atomic.os, "link", reject_link)
    for _ in range(2):
        save(model, tmp_path / "other.npz")

    assert load(tmp_path / "other.npz").model.n_seen == 4
    assert not (tmp_path / "other.npz.prev").exists()


def test_second_writer_of_a_checkpoint_is_rejected(mnist_sample, tmp_path, run):
    path = tmp_path / "model.npz"
    process = start(mnist_sample, "-m", path, "--passes", "9999", "--save-every", "500", "--quiet")
    wait_for(path.exists, process)
    error = run("learn", mnist_sample, "-m", path, "--quiet", check=1).stderr
    process.terminate()
    process.communicate(timeout=60)

    assert error == f"Error: {path}: another process is writing it\n"
    assert process.returncode == 143
    assert LiveModel.load(path).progress.samples > 0


def test_lock_is_never_held_twice_though_it_is_removed(tmp_path):
    """Processes that lock and unlock a path at the same time count to 1,000 together."""
    path, counter = tmp_path / "model.npz", tmp_path / "counter"
    counter.write_text("0")
    script = (
        "import sys; from pathlib import Path\n"
        "from stream_perceptron.checkpoint.atomic import lock_file\n"
        "path, counter = map(Path, sys.argv[1:])\n"
        "n = 0\n"
        "while n < 250:\n"
        "    try:\n"
        "        with lock_file(path):\n"
        "            counter.write_text(str(int(counter.read_text()) + 1))\n"
        "            n += 1\n"
        "    except BlockingIOError:\n"
        "        pass\n"
    )
    command = [sys.executable, "-c", script, path, counter]
    processes = [subprocess.Popen(command) for _ in range(4)]

    assert [process.wait() for process in processes] == [0] * 4
    assert counter.read_text() == "1000"
    assert [each.name for each in tmp_path.iterdir()] == ["counter"]


def test_save_after_a_kill_between_link_and_rename_leaves_no_litter(saved_model):
    """The run was killed after it linked the old file and before it renamed the new one."""
    path, model = saved_model
    previous = path.with_name("model.npz.prev")
    previous.unlink()
    os.link(path, previous)
    save(model, path)

    assert read_folder(path).keys() == {"model.npz", "model.npz.prev"}
    assert (load(path).model.n_seen, load(previous).model.n_seen) == (4, 3)


def test_planted_temporary_link_is_not_followed(tmp_path, monkeypatch):
    """Otherwise a link with a guessed name could overwrite another file."""
    monkeypatch.setattr(atomic.os, "urandom", lambda n: bytes(n))
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = tmp_path / "folder" / "model.npz"
    path.parent.mkdir()
    (path.parent / ".model.npz.0000000000000000.tmp").symlink_to(victim)
    with pytest.raises(FileExistsError):
        write_checkpoint(path, *encode_perceptron(SGDPerceptron(seed=0)))

    assert victim.read_text() == "precious"
    assert not path.exists()


def test_only_temporary_files_of_killed_writers_are_removed(tmp_path):
    name = "model[1].npz"
    temporary_file = tmp_path / f".{name}.{'0f' * 8}.tmp"
    other_files = [tmp_path / f".{name}.old.{'0f' * 8}.tmp", tmp_path / f".{name}.mine.tmp"]
    for path in (temporary_file, *other_files):
        path.touch()
    save(SGDPerceptron(seed=0), tmp_path / name)

    assert {path.name for path in tmp_path.iterdir()} == {
        name,
        *(path.name for path in other_files),
    }
