"""If a checkpoint cannot be written, the old one stays, without temporary files beside it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest
from helpers import COMMAND

from stream_perceptron import CheckpointError, SGDPerceptron, load, save
from stream_perceptron.checkpoint.archive import atomic, write_checkpoint
from stream_perceptron.checkpoint.state import encode_model


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


def make_failing(function, failing_call, error_number):
    """Return a function that counts its calls and fails at call `failing_call`."""

    def fail(*args, **kwargs):
        fail.calls += 1
        if fail.calls == failing_call:
            raise OSError(error_number, os.strerror(error_number))
        return function(*args, **kwargs)

    fail.calls = 0
    return fail


@pytest.mark.parametrize("error_number", [errno.ENOSPC, errno.EIO, errno.EACCES])
@pytest.mark.parametrize(
    ("step", "failing_call"),
    [
        ("open", 1),
        ("fsync", 1),
        ("link", 1),
        ("replace", 1),
        ("replace", 2),
        ("open", 2),
        ("fsync", 2),
    ],
)
def test_error_at_any_step_leaves_an_intact_file_and_no_litter(
    step, failing_call, error_number, saved_model, monkeypatch
):
    """The steps: temporary file, fsync, hard link in two steps, rename, fsync of the folder."""
    if (step, failing_call) == ("link", 2):
        failing_call = 1  # os.link is called only once
    path, model = saved_model
    before = read_folder(path)
    fail = make_failing(getattr(os, step), failing_call, error_number)
    monkeypatch.setattr(atomic.os, step, fail)
    with pytest.raises(OSError, match=os.strerror(error_number)):
        save(model, path)
    after = read_folder(path)

    assert failing_call == fail.calls
    assert after.keys() == before.keys()
    if failing_call == 2 and step != "replace":
        # The new file is already in place, but perhaps not on disk.
        assert load(path).model.n_seen == 4
    else:
        assert after["model.npz"] == before["model.npz"]
    assert load(f"{path}.prev").model.n_seen in (2, 3)


@pytest.mark.parametrize("error_number", [errno.ENOSPC, errno.EIO])
def test_error_in_the_middle_of_a_write_leaves_the_old_checkpoint(
    error_number, saved_model, monkeypatch
):
    path, model = saved_model
    before = read_folder(path)

    class FailingFile:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            self.file.close()

        def fileno(self):
            return self.file.fileno()

        def write(self, data):
            self.file.write(data[: len(data) // 2])
            self.file.flush()
            raise OSError(error_number, os.strerror(error_number))

    real_open = open
    monkeypatch.setattr(atomic, "open", lambda *args: FailingFile(real_open(*args)), raising=False)
    with pytest.raises(OSError, match=os.strerror(error_number)):
        write_checkpoint(path, *encode_model(model))
    assert read_folder(path) == before


def test_file_system_without_hard_links_saves_the_model(saved_model, monkeypatch):
    path, model = saved_model

    def reject_link(*args):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(atomic.os, "link", reject_link)
    save(model, path)

    assert load(path).model.n_seen == 4


def test_save_after_a_kill_between_link_and_rename_leaves_no_litter(saved_model):
    """The run was killed after it linked the old file and before it renamed the new one."""
    path, model = saved_model
    previous = path.with_name("model.npz.prev")
    previous.unlink()
    os.link(path, previous)
    save(model, path)

    assert read_folder(path).keys() == {"model.npz", "model.npz.prev", "model.npz.lock"}
    assert (load(path).model.n_seen, load(previous).model.n_seen) == (4, 3)


def test_full_file_system_leaves_the_old_checkpoint(mnist_files, tmp_path):
    """The tmpfs has room for one checkpoint, but not for two."""
    script = f"""
set -e
mount -t tmpfs -o size=120k tmpfs {tmp_path}
cd {tmp_path}
{COMMAND} learn {mnist_files["test"]} -m model.npz --limit 1000 --quiet
sha256sum model.npz
set +e
{COMMAND} learn {mnist_files["test"]} -m model.npz --quiet
echo exit $?
sha256sum model.npz
ls -A
"""
    result = subprocess.run(
        ["unshare", "-rm", "bash", "-c", script], capture_output=True, text=True
    )
    first, code, second, *left = result.stdout.splitlines()

    assert result.returncode == 0, result.stderr
    assert code == "exit 1"
    assert first == second
    assert left == ["model.npz", "model.npz.lock"]
    assert result.stderr.splitlines()[-1] == "Error: model.npz: No space left on device"


def test_read_only_folder_leaves_the_old_checkpoint(tmp_path):
    """The test runs as an ordinary user, as root may write anywhere."""
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "model.npz"
    save(SGDPerceptron(classes=["a"], seed=0), path)
    before = read_folder(path)
    folder.chmod(0o555)
    script = (
        "import os, sys\n"
        "from stream_perceptron import SGDPerceptron, save\n"
        "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        f"save(SGDPerceptron(seed=0), {str(path)!r})"
    )
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_uid == os.getuid() and parent.name.startswith(("pytest", "test")):
            parent.chmod(0o755)
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    folder.chmod(0o755)

    assert result.returncode != 0
    assert "Permission denied" in result.stderr
    assert read_folder(path) == before


def test_symbolic_link_to_a_checkpoint_stays_a_link(tmp_path):
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "model.npz").symlink_to(real / "model.npz")
    model = SGDPerceptron(classes=["a"], seed=0)
    for _ in range(2):
        save(model, tmp_path / "model.npz")
        model.learn_one({"x": 1}, "a")

    assert (tmp_path / "model.npz").is_symlink()
    assert {p.name for p in real.iterdir()} == {"model.npz", "model.npz.prev", "model.npz.lock"}
    assert {p.name for p in tmp_path.iterdir()} == {"model.npz", "real"}


def test_planted_temporary_link_is_not_followed(tmp_path, monkeypatch):
    """Otherwise a link with a guessed name could overwrite another file."""
    monkeypatch.setattr(atomic.os, "urandom", lambda n: bytes(n))
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = tmp_path / "folder" / "model.npz"
    path.parent.mkdir()
    (path.parent / ".model.npz.0000000000000000.tmp").symlink_to(victim)
    with pytest.raises(FileExistsError):
        write_checkpoint(path, *encode_model(SGDPerceptron(seed=0)))

    assert victim.read_text() == "precious"
    assert not path.exists()


def test_only_one_of_eight_writers_of_a_checkpoint_continues(mnist_files, tmp_path, report_figure):
    """The others end with an error, and the file is intact."""
    path = tmp_path / "model.npz"
    command = [COMMAND, "learn", mnist_files["test"], "-m", path, "--save-every", "500", "--quiet"]
    processes = [
        subprocess.Popen([*command, "--passes", "1000"], stderr=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    losers = []
    while len(losers) < 7:
        losers = [process for process in processes if process.poll() is not None]
    (winner,) = set(processes) - set(losers)
    while not path.exists():
        assert winner.poll() is None
    winner.terminate()
    winner.communicate(timeout=60)

    report_figure(f"writers: {len(processes)}, rejected: {len(losers)}")
    for loser in losers:
        message = f"Error: {path}: another process is writing it\n"
        assert (loser.returncode, loser.communicate()[1]) == (1, message)
    assert winner.returncode == 143
    assert load(path).model.n_seen > 0
    assert {"model.npz", "model.npz.prev", "model.npz.lock"} >= {p.name for p in tmp_path.iterdir()}


@pytest.mark.parametrize("name", ["model.npz", "model[1].npz"])
def test_only_temporary_files_of_killed_writers_are_removed(name, tmp_path):
    temporary_file = tmp_path / f".{name}.{'0f' * 8}.tmp"
    other_files = [tmp_path / f".{name}.old.{'0f' * 8}.tmp", tmp_path / f".{name}.mine.tmp"]
    for path in (temporary_file, *other_files):
        path.touch()
    save(SGDPerceptron(seed=0), tmp_path / name)

    assert {path.name for path in tmp_path.iterdir()} == {
        name,
        f"{name}.lock",
        *(path.name for path in other_files),
    }


def test_lock_is_released(tmp_path):
    path = tmp_path / "model.npz"
    with (
        atomic.lock_file(path),
        pytest.raises(CheckpointError, match="another process is writing it"),
    ):
        save(SGDPerceptron(seed=0), path)
    save(SGDPerceptron(seed=0), path)

    assert path.exists()
