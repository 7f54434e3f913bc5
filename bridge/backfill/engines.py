"""Who carries out the tasks: threads of this process, or a Dask cluster; and shares of a scheduler.

None of them is ours. Each is a `concurrent.futures.Executor`; the work is in worker processes of
ours either way, so that threads are enough here and daemonic workers are no hindrance there.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from bridge.backfill.child import close_children
from bridge.backfill.plan import Shard
from bridge.backfill.task import Outcome, Task, Watch, perform
from bridge.errors import CommandLineError, OfflineError

INDEX_VARIABLES = ("JOB_COMPLETION_INDEX", "AWS_BATCH_JOB_ARRAY_INDEX", "SLURM_ARRAY_TASK_ID")
"""Where Kubernetes, AWS Batch and Slurm say which of their jobs this is, from 0."""

FIRST_VARIABLES = {"SLURM_ARRAY_TASK_ID": "SLURM_ARRAY_TASK_MIN"}
"""Where it is said which number is the first, if that is not 0."""

CONNECT_TIMEOUT_S = 30

SHARD_HINT = "--shard 0/8 is the first of eight, 7/8 the last"


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Something that carries out tasks.

    Attributes:
        executor: Takes them.
        call: What it is to call with each.
        in_flight_max: How many it is given at a time.
        name: What it is, for people.
        is_remote: Whether its jobs may be on other machines, which know by themselves whether the
            platform is away.
    """

    executor: Executor
    call: Callable[[Task], Outcome]
    in_flight_max: int
    name: str
    is_remote: bool = False


@contextlib.contextmanager
def this_machine(jobs: int, watch: Watch) -> Iterator[Engine]:
    """Carry out tasks here, so many at a time, each with a worker process of its own."""
    with ThreadPoolExecutor(max_workers=jobs, thread_name_prefix="backfill") as executor:
        try:
            yield Engine(
                executor=executor,
                call=partial(perform, watch=watch),
                in_flight_max=jobs,
                name=f"{jobs} jobs on this machine" if jobs > 1 else "1 job on this machine",
            )
        except BaseException:
            watch.stopped.set()
            executor.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            executor.shutdown(wait=True)
            close_children()


@contextlib.contextmanager
def dask_cluster(address: str, *, in_flight_max: int) -> Iterator[Engine]:
    """Carry out tasks on a Dask cluster.

    Args:
        address: The scheduler's, such as tcp://scheduler:8786.
        in_flight_max: How many it is given at a time, over all its workers.

    Raises:
        CommandLineError: `distributed` is not installed.
        OfflineError: The scheduler does not answer.
    """
    try:
        from distributed import Client  # noqa: PLC0415 - an extra, and slow to import
        from distributed.comm.addressing import get_address_host_port  # noqa: PLC0415
    except ImportError as error:
        raise CommandLineError(
            "--dask needs the package distributed",
            hint="pip install 'mosaico-bridge[dask]', here and on the workers",
        ) from error
    try:
        # Its client takes a minute to give up an address that is none.
        get_address_host_port(address)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise CommandLineError(
            f"{address} is no address of a Dask scheduler: {error}",
            hint="it is like tcp://scheduler:8786",
        ) from error
    try:
        client: Any = Client(  # type: ignore[no-untyped-call] # it has no types
            address, timeout=CONNECT_TIMEOUT_S, set_as_default=False
        )
    except (OSError, TimeoutError, ValueError) as error:
        raise OfflineError(
            f"the Dask scheduler at {address} does not answer: {error}",
            address=address,
            hint="--dask takes the address that the scheduler logs when it starts, as tcp://host:8786",
        ) from error
    with client, client.get_executor(pure=False) as executor:
        yield Engine(
            executor=executor,
            call=perform,
            in_flight_max=in_flight_max,
            name=f"Dask at {address}",
            is_remote=True,
        )


def shard_of(text: str, environment: Mapping[str, str]) -> Shard:
    """Read which share of an archive is this run's.

    Args:
        text: `INDEX/COUNT` with an index from 0, or `COUNT` where a scheduler says the index.
        environment: Where it says so.

    Raises:
        CommandLineError: It is neither, or no scheduler says an index.
    """
    given, slash, last = text.rpartition("/")
    try:
        count = int(last)
        index = int(given) if slash and given else _index_in(environment)
    except ValueError as error:
        raise CommandLineError(f"{text} is no shard", hint=SHARD_HINT) from error
    if not 0 <= index < count:
        raise CommandLineError(
            f"there is no shard {index} of {count}",
            hint=f"the first is 0/{count}, the last {count - 1}/{count}"
            if count > 0
            else SHARD_HINT,
        )
    return Shard(index=index, count=count)


def _index_in(environment: Mapping[str, str]) -> int:
    for variable in INDEX_VARIABLES:
        if value := environment.get(variable):
            first = environment.get(FIRST_VARIABLES.get(variable, "")) or "0"
            try:
                return int(value) - int(first)
            except ValueError as error:
                raise CommandLineError(
                    f"{variable} is {value!r}, and a scheduler's index is a number",
                    hint=f"{SHARD_HINT}; given so, no variable is read",
                ) from error
    raise CommandLineError(
        "no scheduler says which shard this is",
        hint=f"give it as --shard INDEX/COUNT, or set one of {', '.join(INDEX_VARIABLES)}",
    )
