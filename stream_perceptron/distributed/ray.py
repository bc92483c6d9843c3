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
from stream_perceptron.data.input.bytes import first_line, format_reason
from stream_perceptron.data.source import is_any_interrupted
from stream_perceptron.distributed.rounds import (
    RowRange,
    ShardResult,
    average_shard_results,
    count_rounds,
    learn_first_sample,
    learn_row_ranges,
    plan_round,
    require_parquet,
    scale_lr,
)
from stream_perceptron.errors import ClusterError
from stream_perceptron.live.files import GivenFile
from stream_perceptron.live.history import ROUNDS, Entry, Shards, try_encode_lr
from stream_perceptron.live.model import LiveModel
from stream_perceptron.live.segments import find_next_report
from stream_perceptron.model.rates import FallingRate, format_lr

_MAX_RETRIES = 10  # for a task whose worker was lost
_POLL_SECONDS = 0.1  # between two checks for an interrupt
_CONNECT_SECONDS = 10.0  # for a cluster to accept a connection


@dataclass
class Round:
    """The result of one round."""

    # The location of each rejected row and the reason for the rejection.
    rejected: list[Rejection] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)  # messages for the user, one line each
    is_repeated: bool = False  # whether the rows were learned before
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
        raise ClusterError("Ray is missing; to install it", ["pip install ray"]) from None
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


def count_processors() -> int:
    """Return the number of processors in the cluster."""
    import ray

    return int(ray.cluster_resources().get("CPU", 1))


def require_same_version() -> None:
    """Check that all machines have the same package version; results must be bit-identical."""
    import ray

    describe_remotely = ray.remote(num_cpus=1, max_retries=_MAX_RETRIES)(_format_package_version)
    try:
        versions = set(ray.get([describe_remotely.remote() for _ in range(count_processors())]))
    except ray.exceptions.RayError as error:
        raise ClusterError(f"a machine in the cluster cannot learn: {first_line(error)}") from None
    if other_versions := versions - {_format_package_version()}:
        raise ClusterError(
            f"a machine in the cluster has {min(other_versions)}, "
            f"but this one has {_format_package_version()}"
        )


def _format_package_version() -> str:
    return f"stream-perceptron {version('stream-perceptron')}"


def distribute(
    live: LiveModel,
    files: Sequence[GivenFile],
    shards: Shards,
    passes: int = 1,
    skip_rejected: bool = False,
) -> Generator[Round, None, None]:
    """Test and train a model on shards of Parquet files; yield after each round.

    A new model first learns the rows up to the first labeled row. In each round, all shards start
    from the same model and test each sample before learning from it; then their models are
    averaged. At each yield, all parts of the model are consistent and may be saved. The entries of
    the model say which rounds are left. Interrupting a source ends the run.

    Parameters
    ----------
    live
        The model.
    files
        The files, as returned by `identify_files`. Those with the fewest complete passes are read
        first, from the first row on.
    shards
        The number of shards, and of rows of each shard in a round.
    passes
        The number of times to read each file.
    skip_rejected
        Whether rows that cannot be used are left out, instead of ending the run.

    Raises
    ------
    SourceError
        If a source is not a Parquet file.
    CheckpointError
        If a run in other shards, or over other files, has left a pass over a file unfinished.
    SampleError, DivergedError
        If a row cannot be used, or a model diverges. The model is that of the last round.
    ClusterError
        If Ray cannot run a shard.

    """
    for n_complete in range(min((file.progress.passes for file in files), default=passes), passes):
        group = [file for file in files if file.progress.passes == n_complete]
        yield from _learn_pass(live, group, shards, n_complete, passes, skip_rejected)
        if is_any_interrupted([file.source for file in group]):
            return


def _learn_pass(
    live: LiveModel,
    files: Sequence[GivenFile],
    shards: Shards,
    n_complete: int,
    passes: int,
    skip_rejected: bool,
) -> Generator[Round, None, None]:
    """Learn the rest of a pass in rounds, and record it."""
    sources = require_parquet([file.source for file in files])
    ends = tuple(
        replace(source.content.get_start_position(), offset=source.n_rows, rows=source.n_rows)
        for source in sources
    )
    n_rounds, entry = count_rounds(ends, shards), live.history.find_rounds_entry(ends, shards)
    first = n_complete * n_rounds
    if entry is None:
        live.history.require_no_open_round(files)
    elif entry.shards is not None:
        shards, first = entry.shards, max(first, entry.end)
    for number in range(first, (n_complete + 1) * n_rounds):
        base, done = live, Round()
        if live.model.n_seen == 0 and number == 0:
            result = learn_first_sample(live, sources, skip_rejected)
            base, n_first = result.live, result.live.progress.rows - live.progress.rows
            shards = replace(shards, first_rows=n_first)
            done = Round(result.rejected, [*result.notices])
        row_ranges = plan_round(ends, shards, number)
        lr_factor, is_repeated = len(row_ranges), n_complete > 0
        results = _learn_round(base, sources, row_ranges, lr_factor, skip_rejected, is_repeated)
        if results is None or is_any_interrupted(sources):
            return
        mean = average_shard_results(base, results)
        done.is_repeated = is_repeated
        done.rejected += [text for result in results for text in result.rejected]
        if number == first and results:
            done.notices = done.notices or [*results[0].notices]
            if lr_factor > 1:
                done.notices.append(_describe_lr(live, lr_factor))
            if number == 0:
                seconds = passes * n_rounds * sum(result.seconds for result in results)
                done.notices += _suggest_single_process(seconds)
        history = replace(live.history, entries=base.history.entries)
        done.is_report_due = mean.progress.rows >= find_next_report(live.progress.rows)
        history.add(
            Entry(
                ends, ROUNDS, number, number + 1,
                rejected=mean.progress.skipped - base.progress.skipped,
                lr=try_encode_lr(live.model.lr_), epsilon=float(live.model.epsilon), shards=shards,
            ),
            *ends,
        )  # fmt: skip
        if number + 1 == (n_complete + 1) * n_rounds:
            for file, end in zip(files, ends, strict=True):
                file.progress.position = end
                file.progress.n_repeated_rows = n_complete * end.rows
                file.progress.finish_pass(n_complete + 1, 0)
                if end.rows:
                    history.set_last_file(file.progress)
        live.replace_with(LiveModel(mean.model, replace(mean.state, history=history)))
        yield done


def _describe_lr(live: LiveModel, n: int) -> str:
    """Return a notice about the learning rate of n shards."""
    lr = live.model.lr_
    if isinstance(lr, FallingRate | float | int):
        shown = f"{format_lr(scale_lr(lr, n))} instead of {format_lr(lr)}"
    else:
        shown = f"{n} times lr"
    return f"shards learn at {shown}, because averaging divides steps by {n}"


def _suggest_single_process(seconds: float) -> list[str]:
    """Return a notice if one process learns all rows in less than a second."""
    if seconds >= 1:
        return []
    return [f"learn is faster: these rows take one process about {seconds:.1f} s"]


def _learn_round(
    live: LiveModel,
    sources: Sequence[ParquetSource],
    row_ranges: Sequence[Sequence[RowRange]],
    lr_factor: int,
    skip_rejected: bool,
    is_repeated: bool,
) -> list[ShardResult] | None:
    """Learn the rows of each shard in a task; return None after an interrupt."""
    import ray

    learn: Any = ray.remote(num_cpus=1, max_retries=_MAX_RETRIES)(learn_row_ranges)
    try:
        state = ray.put(live)
        tasks = [
            learn.remote(state, ranges_of_shard, lr_factor, skip_rejected, is_repeated)
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
