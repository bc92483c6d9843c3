"""Train on a Ray cluster: models learn shards in parallel and are averaged every round."""

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
from stream_perceptron.data.byte_input import first_line, format_reason
from stream_perceptron.data.position import FilePosition
from stream_perceptron.data.source import is_any_interrupted
from stream_perceptron.distributed.shards import (
    Outcome,
    RowRange,
    average_outcomes,
    count_rounds,
    learn_first_sample,
    learn_row_ranges,
    plan_round,
)
from stream_perceptron.errors import ClusterError
from stream_perceptron.live.history import ROUNDS, Entry, Run, Shards, try_encode_lr
from stream_perceptron.live.loop import find_next_report
from stream_perceptron.live.model import LiveModel

_MAX_RETRIES = 10  # for a task whose worker was lost
_POLL_SECONDS = 0.1  # between two checks for an interrupt
_CONNECT_SECONDS = 10.0  # for a cluster to accept a connection


@dataclass
class Round:
    """The result of one round."""

    # The location of each rejected row and the reason for the rejection.
    rejected: list[Rejection] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)  # messages for the user, one line each
    is_report_due: bool = False  # whether progress should be reported


@contextmanager
def connect_cluster(address: str | None = None) -> Generator[None, None, None]:
    """Connect to a Ray cluster, or start one on this machine if there is no address."""
    # Send no usage statistics.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # With more retries, a connection to a wrong address takes minutes to fail.
    os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")
    # Otherwise, Ray writes to stderr when it recomputes results that a lost machine held.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
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
            where = f"at {address}" if address else "on this machine"
            reason = " ".join(str(error).split())
            raise ClusterError(f"cannot use the Ray cluster {where}: {reason}") from None
        yield
    finally:
        ray.shutdown()


def _require_reachable(address: str) -> None:
    """Check that a program listens on HOST:PORT; Ray takes forty seconds to notice if none does."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # Ray accepts other addresses, such as "auto"
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:  # a port may be above 65,535
        raise ClusterError(
            f"cannot use the Ray cluster at {address}: {format_reason(error)}"
        ) from None


def require_same_version() -> None:
    """Check that all machines have the same version; results must be bit-identical."""
    import ray

    describe_remotely = ray.remote(num_cpus=1, max_retries=_MAX_RETRIES)(_describe_version)
    processors = int(ray.cluster_resources().get("CPU", 1))
    try:
        versions = set(ray.get([describe_remotely.remote() for _ in range(processors)]))
    except ray.exceptions.RayError as error:
        raise ClusterError(f"a machine in the cluster cannot learn: {first_line(error)}") from None
    if other_versions := versions - {_describe_version()}:
        raise ClusterError(
            f"a machine in the cluster has {min(other_versions)}, "
            f"but this one has {_describe_version()}"
        )


def _describe_version() -> str:
    return f"stream-perceptron {version('stream-perceptron')}"


def run(
    live: LiveModel,
    sources: Sequence[ParquetSource],
    run: Run,
    passes: int = 1,
    skip_rejected: bool = False,
    scale_lr: bool = True,
) -> Generator[Round, None, None]:
    """Test and train a model on shards of files, where a run stands; yield after each round.

    A new model first learns the rows up to the first labeled row. In each round, all shards start
    from the same model and test each sample before learning it; then their models are averaged. At
    each yield, all parts of the model are consistent and may be saved. Interrupting a source ends
    the run.
    """
    if run.shards is None:
        raise ValueError("the run has no shards: pass them to LiveModel.plan_run")
    files = tuple(
        FilePosition(file.position.name, file.position.start_digest, file.position.end_digest)
        for file in run.given
    )
    if (run.passes or run.shards.rounds) and not live.history.ends_in(files):
        run.passes, run.shards = 0, replace(run.shards, rounds=0)  # the files have other rows now
        run.read = run.rejected = 0
    live.history.adopt(run)
    run.is_finished = False
    if live.model.n_seen == 0 and run.read == 0:
        outcome = learn_first_sample(live, sources, run, skip_rejected)
        if outcome is None:
            return
        yield _adopt_first_sample(live, outcome, run)
    tasks = _Tasks(sources, passes, skip_rejected, scale_lr, run.is_again)
    next_round = tasks.find_next_round(run.passes, run.shards)
    notices = [] if next_round is None else tasks.describe_lr(live, next_round)
    running_tasks = tasks.start_round(live, next_round)
    while next_round is not None:
        outcomes = tasks.wait(running_tasks)
        if outcomes is None:
            return
        mean = average_outcomes(live, outcomes)
        n_passes, shards = next_round[0], replace(next_round[1], rounds=next_round[1].rounds + 1)
        # Start the next round before this one is reported and saved.
        next_round = tasks.find_next_round(n_passes, shards)
        running_tasks = tasks.start_round(mean, next_round)
        if run.read == 0:
            notices += outcomes[0].notices
        next_report = find_next_report(run.read)
        run.passes, run.shards = n_passes, shards
        skipped = mean.progress.skipped - live.progress.skipped
        run.read += mean.progress.rows - live.progress.rows
        run.rejected += skipped
        n_rounds_done = n_passes * tasks.n_rounds(shards) + shards.rounds
        entry = Entry(
            files, ROUNDS, n_rounds_done - 1, n_rounds_done, rejected=skipped,
            lr=try_encode_lr(live.model.lr), epsilon=float(live.model.epsilon),
            is_repeated=run.is_again, shards=replace(shards, rounds=0), kept_lr=not scale_lr,
        )  # fmt: skip
        live.history.add(entry, *files)
        live.model, live.schema, live.progress = mean.model, mean.schema, mean.progress
        if shards.rounds == tasks.n_rounds(shards):
            ends = [
                replace(file, offset=source.n_rows, rows=source.n_rows, is_finished=True)
                for file, source in zip(files, sources, strict=True)
            ]
            live.history.mark_learned(run, [end for end in ends if end.rows])
        rejected = [text for outcome in outcomes for text in outcome.rejected]
        yield Round(rejected, notices, run.read >= next_report)
        notices = []
    run.is_finished = True


def _adopt_first_sample(live: LiveModel, outcome: Outcome, run: Run) -> Round:
    """Adopt a model that has learned its first sample, and move the run past its row."""
    assert run.shards is not None
    learner = outcome.live
    run.read, run.rejected = learner.progress.rows, learner.progress.skipped
    run.shards = replace(run.shards, first_rows=run.read)
    live.model, live.schema, live.progress = learner.model, learner.schema, learner.progress
    live.history.entries = learner.history.entries
    return Round(outcome.rejected, [*outcome.notices])


class _Tasks:
    """The tasks that run rounds on Ray.

    A round is identified by the number of complete passes and by its shards, whose `rounds` is the
    number of earlier rounds.
    """

    def __init__(
        self,
        sources: Sequence[ParquetSource],
        passes: int,
        skip_rejected: bool,
        scale_lr: bool,
        is_again: bool,
    ) -> None:
        import ray

        self._learn: Any = ray.remote(num_cpus=1, max_retries=_MAX_RETRIES)(learn_row_ranges)
        self._is_again = is_again
        self._sources = sources
        self._groups = [source.groups for source in sources]
        self._paths = [_make_absolute(source.path) for source in sources]
        self._passes = passes
        self._skip_rejected = skip_rejected
        self._scale_lr = scale_lr

    def n_rounds(self, shards: Shards) -> int:
        """Return the number of rounds in a pass."""
        return count_rounds(self._groups, shards)

    def find_next_round(self, n_passes: int, shards: Shards) -> tuple[int, Shards] | None:
        """Return the next round in which a shard has rows, or None if there is none."""
        n_rounds = self.n_rounds(shards)
        while n_rounds:
            if shards.rounds >= n_rounds:
                n_passes, shards = n_passes + 1, replace(shards, rounds=0)
            if n_passes >= self._passes:
                return None
            if self._plan_round((n_passes, shards))[0]:
                return n_passes, shards
            shards = replace(shards, rounds=shards.rounds + 1)
        return None

    def describe_lr(self, live: LiveModel, next_round: tuple[int, Shards]) -> list[str]:
        """Return a notice about the shards' learning rate, if it differs from lr."""
        ranges_by_shard, factor = self._plan_round(next_round)
        n = len(ranges_by_shard)
        if factor == 1.0:
            return []
        lr = live.model.lr
        shown = f"{lr * n:g}, {n} times {lr:g}" if isinstance(lr, float | int) else f"{n} times lr"
        return [f"shards learn at {shown}, because averaging divides steps by {n}"]

    def _plan_round(self, next_round: tuple[int, Shards]) -> tuple[list[list[RowRange]], float]:
        n_passes, shards = next_round
        return plan_round(self._groups, shards, not self._scale_lr, is_first_pass=n_passes == 0)

    def start_round(self, live: LiveModel, next_round: tuple[int, Shards] | None) -> list[object]:
        """Start a round: a task for each shard that has rows left."""
        if next_round is None:
            return []
        import ray

        ranges_by_shard, factor = self._plan_round(next_round)
        is_repeated = self._is_again or next_round[0] > 0
        with _translate_errors():
            state = ray.put(live)
            return [
                self._learn.remote(
                    state, self._paths, row_ranges, factor, self._skip_rejected, is_repeated
                )
                for row_ranges in ranges_by_shard
            ]

    def wait(self, running_tasks: list[object]) -> list[Outcome] | None:
        """Wait for a round; return its outcomes in shard order, or None after an interrupt."""
        import ray

        unfinished = running_tasks
        with _translate_errors():
            while unfinished:
                if is_any_interrupted(self._sources):
                    return None
                _, unfinished = ray.wait(
                    unfinished, num_returns=len(unfinished), timeout=_POLL_SECONDS
                )
            return list(ray.get(running_tasks))


@contextmanager
def _translate_errors() -> Generator[None, None, None]:
    """Turn an error from Ray, or from the connection to its node, into a ClusterError."""
    import ray

    try:
        yield
    except (ray.exceptions.RayError, OSError) as error:
        raise ClusterError(f"Ray could not run a shard: {first_line(error)}") from None


def _make_absolute(path: str) -> str:
    return path if "://" in path else os.path.abspath(path)
