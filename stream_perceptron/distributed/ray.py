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
from stream_perceptron.distributed.rounds import (
    Outcome,
    RowRange,
    average_outcomes,
    count_rounds,
    learn_first_sample,
    learn_row_ranges,
    plan_round,
)
from stream_perceptron.errors import ClusterError
from stream_perceptron.live.history import ROUNDS, Entry, Run, try_encode_lr
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
        raise ClusterError("Ray is missing; to install it:\n  pip install ray") from None
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
    """Check that all machines have the same package version; results must be bit-identical."""
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
    """Test and train a model on shards of files, from where a run stands; yield after each round.

    A new model first learns the rows up to the first labeled row. In each round, all shards start
    from the same model and test each sample before learning from it; then their models are
    averaged. At each yield, all parts of the model are consistent and may be saved. Interrupting a
    source ends the run.
    """
    if run.shards is None:
        raise ValueError("the run has no shards: pass them to LiveModel.plan_run")
    files = tuple(
        FilePosition(
            file.position.name,
            file.position.start_digest,
            file.position.end_digest,
            offset=source.n_rows,
            rows=source.n_rows,
        )
        for file, source in zip(run.given, sources, strict=True)
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
        learner = outcome.live
        run.read, run.rejected = learner.progress.rows, learner.progress.skipped
        run.shards = replace(run.shards, first_rows=run.read)
        live.model, live.schema, live.progress = learner.model, learner.schema, learner.progress
        live.string_columns = learner.string_columns
        live.history.entries = learner.history.entries
        yield Round(outcome.rejected, [*outcome.notices])
    shards, n_rounds, notices = run.shards, count_rounds(files, run.shards), list[str]()
    first = run.passes * n_rounds + shards.rounds
    for number in range(first, passes * n_rounds):
        row_ranges = plan_round(files, shards, number)
        if not row_ranges:
            continue
        factor = float(len(row_ranges)) if scale_lr else 1.0
        if number == first and factor > 1:
            notices.append(_describe_lr(live, len(row_ranges)))
        is_repeated = number >= n_rounds
        outcomes = _learn_round(live, sources, row_ranges, factor, skip_rejected, is_repeated)
        if outcomes is None:
            return
        mean = average_outcomes(live, outcomes)
        if run.read == 0:
            notices += outcomes[0].notices
        next_report = find_next_report(run.read)
        run.passes, run.shards = number // n_rounds, replace(shards, rounds=number % n_rounds + 1)
        skipped = mean.progress.skipped - live.progress.skipped
        run.read += mean.progress.rows - live.progress.rows
        run.rejected += skipped
        entry = Entry(
            files, ROUNDS, number, number + 1, rejected=skipped,
            lr=try_encode_lr(live.model.lr), epsilon=float(live.model.epsilon),
            shards=replace(shards, rounds=0), kept_lr=not scale_lr,
        )  # fmt: skip
        live.history.add(entry, *files)
        live.model, live.schema, live.progress = mean.model, mean.schema, mean.progress
        live.string_columns = mean.string_columns
        if run.shards.rounds == n_rounds:
            live.history.mark_learned(run, [replace(f, is_finished=True) for f in files if f.rows])
        rejected = [text for outcome in outcomes for text in outcome.rejected]
        yield Round(rejected, notices, run.read >= next_report)
        notices = []
    run.is_finished = True


def _describe_lr(live: LiveModel, n: int) -> str:
    """Return a notice about the learning rate of n shards."""
    lr = live.model.lr
    shown = f"{lr * n:g}, {n} times {lr:g}" if isinstance(lr, float | int) else f"{n} times lr"
    return f"shards learn at {shown}, because averaging divides steps by {n}"


def _learn_round(
    live: LiveModel,
    sources: Sequence[ParquetSource],
    row_ranges: Sequence[Sequence[RowRange]],
    factor: float,
    skip_rejected: bool,
    is_repeated: bool,
) -> list[Outcome] | None:
    """Learn the rows of each shard in a task; return None after an interrupt."""
    import ray

    learn: Any = ray.remote(num_cpus=1, max_retries=_MAX_RETRIES)(learn_row_ranges)
    try:
        state = ray.put(live)
        tasks = [
            learn.remote(state, ranges_of_shard, factor, skip_rejected, is_repeated)
            for ranges_of_shard in row_ranges
        ]
        unfinished = tasks
        while unfinished:
            if is_any_interrupted(sources):
                return None
            _, unfinished = ray.wait(unfinished, num_returns=len(unfinished), timeout=_POLL_SECONDS)
        return list(ray.get(tasks))
    except (ray.exceptions.RayError, OSError) as error:
        raise ClusterError(f"Ray could not run a shard: {first_line(error)}") from None
