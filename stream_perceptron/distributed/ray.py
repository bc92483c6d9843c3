"""Runs on a Ray cluster: shards learn in parallel and are averaged every round."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any

from stream_perceptron.data.arrow.parquet import ParquetSource
from stream_perceptron.data.batch import Rejection
from stream_perceptron.data.byte_stream import first_line, reason_of
from stream_perceptron.data.source import are_interrupted
from stream_perceptron.distributed.shards import (
    Outcome,
    Piece,
    learn_first_sample,
    learn_pieces,
    mean_of,
    parts_of_round,
    rounds_in,
)
from stream_perceptron.errors import ClusterError
from stream_perceptron.live.cursor import Cursor, Shards
from stream_perceptron.live.ledger import Ledger
from stream_perceptron.live.lineage import ROUNDS, Entry, saved_class_weight, saved_lr
from stream_perceptron.live.model import LiveModel
from stream_perceptron.model.kernel import NAME as KERNEL

_RETRIES = 10  # of a task whose worker was lost
_PATIENCE = 0.1  # seconds between checks whether the run should end
_CONNECT_SECONDS = 10.0  # for a cluster to accept a connection


@dataclass
class Round:
    """The result of one round."""

    # Place and reason of each rejected row.
    rejected: list[Rejection] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # messages to the user, one line each


@contextmanager
def cluster(address: str | None = None) -> Generator[None, None, None]:
    """Connect to a Ray cluster; without an address start one on this machine."""
    # Send no usage statistics.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")  # or a wrong address takes minutes
    try:
        import ray
    except ImportError:
        raise ClusterError("Ray is missing: pip install 'stream-perceptron[ray]'") from None
    if address is not None:
        _require_reachable(address)
    try:
        try:
            ray.init(
                address or "local",
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (
            ConnectionError, ValueError, RuntimeError, ray.exceptions.AuthenticationError,
        ) as error:  # fmt: skip
            where = f"at {address}" if address else "here"
            reason = " ".join(str(error).split())
            raise ClusterError(f"cannot use the Ray cluster {where}: {reason}") from None
        yield
    finally:
        ray.shutdown()


def _require_reachable(address: str) -> None:
    """Check that something listens at HOST:PORT, which takes Ray forty seconds to find out."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # Ray knows other addresses, such as auto
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:  # a port may be beyond 65,535
        raise ClusterError(f"cannot use the Ray cluster at {address}: {reason_of(error)}") from None


def require_alike() -> None:
    """Check that all machines have this version and kernel, for bit-identical results."""
    import ray

    kernel_of = ray.remote(num_cpus=1, max_retries=_RETRIES)(_kernel)
    processors = int(ray.cluster_resources().get("CPU", 1))
    try:
        kernels = set(ray.get([kernel_of.remote() for _ in range(processors)]))
    except ray.exceptions.RayError as error:
        raise ClusterError(f"a machine in the cluster cannot learn: {first_line(error)}") from None
    if others := kernels - {_kernel()}:
        raise ClusterError(f"machines of the cluster have {min(others)}, but this one {_kernel()}")


def _kernel() -> str:
    return f"stream-perceptron {version('stream-perceptron')} with the kernel {KERNEL}"


def run(
    live: LiveModel,
    sources: Sequence[ParquetSource],
    cursor: Cursor | None = None,
    epochs: int = 1,
    skip_rejected: bool = False,
    scale_lr: bool = True,
) -> Generator[Round, None, None]:
    """Test and train on files in shards, from the model's cursor on; yield after every round.

    A new model first learns the rows up to the first labeled one. In a round all shards start from
    the same model, test each sample before learning it, and are averaged. At each yield the model,
    its progress and its cursor are consistent and may be saved. An interrupt of a source ends the
    run.
    """
    here = replace(live.cursor if cursor is None else cursor, finished=False)
    if here.shards is None:
        raise ValueError("the cursor has no shards: call resume with some")
    if live.model.n_seen == 0 and here.read == 0:
        outcome = learn_first_sample(live, sources, here.sources, skip_rejected)
        if outcome is None:
            return
        yield _adopt_first_sample(live, outcome, here)
    tasks = _Tasks(sources, epochs, skip_rejected, scale_lr, here.is_again)
    coming = tasks.following(here.epoch, here.shards)
    notes = [] if coming is None else tasks.notes(live, coming)
    pending = tasks.begin(live, coming)
    while coming is not None:
        outcomes = tasks.wait(pending)
        if outcomes is None:
            return
        mean = mean_of(live, outcomes)
        epoch, shards = coming[0], replace(coming[1], rounds=coming[1].rounds + 1)
        # The next round runs while this one is reported and saved.
        coming = tasks.following(epoch, shards)
        pending = tasks.begin(mean, coming)
        if here.read == 0:
            notes += outcomes[0].notes
        here.epoch, here.shards = epoch, shards
        skipped = mean.progress.skipped - live.progress.skipped
        here.read += mean.progress.rows - live.progress.rows
        here.rejected += skipped
        done = epoch * tasks.n_rounds(shards) + shards.rounds
        entry = Entry(
            saved_lr(live.model.lr), float(live.model.epsilon), tuple(here.sources), ROUNDS,
            done - 1, done, skipped, 0, shards.n, shards.rows, shards.first_rows,
            kept_lr=not scale_lr, is_again=here.is_again,
            class_weight=saved_class_weight(live.model.class_weight),
        )  # fmt: skip
        live.lineage.add(entry, here.sources)
        live.model, live.schema = mean.model, mean.schema
        live.ledger = Ledger(mean.progress, here, live.lineage, live.ledger.marks)
        if shards.rounds == tasks.n_rounds(shards):
            counts = [source.n_rows for source in sources]
            live.ledger.mark_whole(sources, here.sources, counts)
        yield Round([text for outcome in outcomes for text in outcome.rejected], notes)
        notes = []
    here.finished = True
    live.ledger.cursor = here


def _adopt_first_sample(live: LiveModel, outcome: Outcome, cursor: Cursor) -> Round:
    """Adopt a model that has learned its first sample, and set the cursor behind its row."""
    assert cursor.shards is not None
    learner = outcome.live
    cursor.read, cursor.rejected = learner.cursor.read, learner.cursor.rejected
    cursor.shards = replace(cursor.shards, first_rows=cursor.read)
    live.model, live.schema = learner.model, learner.schema
    live.ledger = Ledger(learner.progress, cursor, learner.lineage, live.ledger.marks)
    return Round(outcome.rejected, [*outcome.notes])


class _Tasks:
    """Rounds as tasks of Ray.

    A coming round is given by its epoch and the shards, with the rounds done in that epoch.
    """

    def __init__(
        self,
        sources: Sequence[ParquetSource],
        epochs: int,
        skip_rejected: bool,
        scale_lr: bool,
        is_again: bool,
    ) -> None:
        import ray

        self._learn: Any = ray.remote(num_cpus=1, max_retries=_RETRIES)(learn_pieces)
        self._is_again = is_again
        self._sources = sources
        self._groups = [source.groups for source in sources]
        self._paths = [_absolute(source.path) for source in sources]
        self._epochs = epochs
        self._skip_rejected = skip_rejected
        self._scale_lr = scale_lr

    def n_rounds(self, shards: Shards) -> int:
        """Return the number of rounds in an epoch."""
        return rounds_in(self._groups, shards)

    def following(self, epoch: int, shards: Shards) -> tuple[int, Shards] | None:
        """Return the next round in which a shard has rows, or None after the last."""
        n_rounds = self.n_rounds(shards)
        while n_rounds:
            if shards.rounds >= n_rounds:
                epoch, shards = epoch + 1, replace(shards, rounds=0)
            if epoch >= self._epochs:
                return None
            if self._parts((epoch, shards))[0]:
                return epoch, shards
            shards = replace(shards, rounds=shards.rounds + 1)
        return None

    def notes(self, live: LiveModel, coming: tuple[int, Shards]) -> list[str]:
        """Return a note on the shards' learning rate, if it differs from lr."""
        dealt, factor = self._parts(coming)
        n = len(dealt)
        if factor == 1.0:
            return []
        lr = live.model.lr
        shown = f"{lr * n:g}, {n} times {lr:g}" if isinstance(lr, float | int) else f"{n} times lr"
        return [f"shards learn at {shown}, because averaging divides steps by {n}"]

    def _parts(self, coming: tuple[int, Shards]) -> tuple[list[list[Piece]], float]:
        epoch, shards = coming
        return parts_of_round(self._groups, shards, not self._scale_lr, is_first_pass=epoch == 0)

    def begin(self, live: LiveModel, coming: tuple[int, Shards] | None) -> list[Any]:
        """Begin a round with a task for each shard that has rows left."""
        if coming is None:
            return []
        import ray

        state = ray.put(live)
        dealt, factor = self._parts(coming)
        is_repeated = self._is_again or coming[0] > 0
        return [
            self._learn.remote(state, self._paths, pieces, factor, self._skip_rejected, is_repeated)
            for pieces in dealt
        ]

    def wait(self, pending: list[Any]) -> list[Outcome] | None:
        """Return a round's outcomes in the order of the shards; None after an interrupt."""
        import ray

        rest = pending
        while rest:
            if are_interrupted(self._sources):
                return None
            _, rest = ray.wait(rest, num_returns=len(rest), timeout=_PATIENCE)
        try:
            return list(ray.get(pending))
        except ray.exceptions.RayError as error:
            raise ClusterError(f"Ray could not run a shard: {first_line(error)}") from None


def _absolute(path: str) -> str:
    return path if "://" in path else os.path.abspath(path)
