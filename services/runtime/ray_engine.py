"""Shards on Ray: workers that hold a model, a shard at a time each. Ray holds no state: the ledger does.

Results come back as return values, so a worker needs the object store and no database. A worker that dies, or whose
machine does, costs the shard that it was at; another is started in its place. Ray ends the process that uses it where a
machine of its own dies at the wrong moment: that is not the service's, but one started for the job, which it asks for
shards.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from importlib.metadata import version
from multiprocessing.connection import Connection, Pipe
from types import ModuleType
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

import grpc
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.runtime.errors import FailedPrecondition, ServiceError, Unavailable
from services.runtime.settings import read_settings
from services.runtime.shard_ledger import Span

ANSWER_S = 10.0  # for a cluster to answer: Ray itself would wait for minutes
_TICK_S = 1.0  # between two looks at whether the job is to stop
_FAILED_STARTS = 5  # of workers one after another before the job gives up
_CONNECTIONS = 3  # tries: Ray gives its processes 30 s to start, however busy the machine is
_END_S = 30.0  # for Ray to end what it started
_USE_RAY = """
import sys
from multiprocessing.connection import Connection
from services.runtime.ray_engine import use_ray
use_ray(Connection(int(sys.argv[1])))
"""
_OVER = "over"  # what Ray's process says last
_OBJECT_STORE_BYTES = 256 * 2**20  # of a Ray that is started here: results are rows alone
_ASKED_FIRST = {  # of a cluster's head, by the scheme of its address
    "": "/ray.rpc.NodeInfoGcsService/CheckAlive",
    "ray": "/ray.rpc.RayletDriver/ClusterInfo",
}
_log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


class RaySettings(BaseSettings):
    """Where Ray is, and how much of it is taken."""

    model_config = SettingsConfigDict(env_prefix="ONOMA_", env_ignore_empty=True)

    ray_address: str = Field(
        "",
        description="Ray's cluster: ray://HOST:10001 from outside it, HOST:6379 on one of its machines; empty: a Ray "
        "of this machine alone, started for the job.",
    )
    ray_workers: int = Field(
        0,
        ge=0,
        description="Workers at once; 0: one a GPU of the cluster, or, where it has none, one a CPU but one.",
    )
    ray_stall_s: float = Field(
        900.0, gt=0, description="Seconds without a shard done or a worker started after which a job fails."
    )


@dataclass(frozen=True, eq=False)
class Shards(Generic[Item, Result]):
    """What the job says about shards.

    Attributes:
        take: the next one, now this job's; None where none waits.
        items_of: its items.
        write: takes its result.
        worker_ended: a worker died over it; the ledger says what becomes of it.
        check: a safe point; raises where the job is to stop.
    """

    take: Callable[[], Span | None]
    items_of: Callable[[Span], Sequence[Item]]
    write: Callable[[Span, Result], None]
    worker_ended: Callable[[Span, str], None]
    check: Callable[[], None]


class _Worker:
    """Lives in a process of Ray's."""

    def __init__(self) -> None:
        self._work: Callable[[Any], Any] | None = None

    def make(self, make_worker: Callable[[], Callable[[Any], Any]]) -> str:
        """Loads what it takes; returns its version of Onoma."""
        self._work = make_worker()
        return version("onoma")

    def work(self, items: Any) -> Any:
        """Does a shard."""
        assert self._work is not None
        return self._work(items)


def check_installed() -> None:
    """Raises FailedPrecondition where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise FailedPrecondition(
            "--engine ray needs Ray where the service runs: pip install 'WHEEL[ray]' there, of the wheel that Onoma "
            "was installed from, or take --engine local, which does the same work",
            "NO_RAY",
        )


def work_through(
    make_worker: Callable[[], Callable[[Sequence[Item]], Result]], shards: Shards[Item, Result]
) -> None:
    """Does shards until none waits and none is in hand.

    Args:
        make_worker: see `ShardWork`.
    Raises:
        FailedPrecondition: Ray is not installed, its machines have another version of Onoma, or ONOMA_RAY_ADDRESS is
            no address of a cluster.
        Unavailable: the cluster does not answer, workers die at their start, Ray ended its process, or nothing has
            moved for ONOMA_RAY_STALL_S; the error says what the cluster has and what of it is free.
        ServiceError, ValueError: what a worker raised.
        RuntimeError: what else was raised there, in words.
    """
    check_installed()
    settings = read_settings(RaySettings)
    if settings.ray_address:
        _check_answers(settings.ray_address)
    for tries_left in reversed(range(_CONNECTIONS)):
        try:
            _in_a_process_of_its_own(settings, make_worker, shards)
            return
        except Unavailable as error:
            if error.reason != "NO_RAY_CLUSTER" or not tries_left:
                raise
            _log.warning("tried again: %s", error)


def _in_a_process_of_its_own(
    settings: RaySettings, make_worker: Callable[[], Any], shards: Shards[Any, Any]
) -> None:
    here, there = Pipe()
    with there:
        process = subprocess.Popen(  # noqa: S603  the command is ours
            [sys.executable, "-c", _USE_RAY, str(there.fileno())], pass_fds=[there.fileno()]
        )
    answered = False
    try:
        with contextlib.suppress(ConnectionError):  # it ended already, as the next lines find
            here.send((settings, make_worker))
        while True:
            try:
                while not here.poll(_TICK_S):
                    shards.check()  # a job may be stopped before Ray is there
                asked, arguments = here.recv()
            except (EOFError, ConnectionError):
                ended = f"the process that uses it ended (exit status {process.wait(_END_S)})"
                if not answered:
                    raise _no_cluster(settings, ended) from None
                raise Unavailable(
                    f"Ray does not get on: {ended}, as it does where the machine that it is on dies; resuming the job "
                    "goes on where it is",
                    "RAY_ENDED",
                ) from None
            if asked == _OVER:
                [error] = arguments
                if error is not None:
                    raise error
                return
            answer = getattr(shards, asked)(*arguments)
            with contextlib.suppress(ConnectionError):
                here.send(answer)
            answered = True
    finally:
        here.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_S)
        process.kill()
        process.wait()


def use_ray(there: Connection) -> None:
    """What that process does: it works, asking for all that `Shards` has."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all, and the job says when to stop
    settings, make_worker = there.recv()

    def ask(what: str, *arguments: Any) -> Any:
        try:
            there.send((what, arguments))
            return there.recv()
        except (EOFError, ConnectionError):
            raise SystemExit from None  # the job is over, and wants no more

    shards: Shards[Any, Any] = Shards(**{field.name: partial(ask, field.name) for field in fields(Shards)})
    error: Exception | None = None
    try:
        with _cluster(settings) as ray:
            resources = _resources(ray)
            count = settings.ray_workers or _workers_that_fit(ray)
            workers = _Workers(ray, ray.remote(_Worker).options(**resources), make_worker, shards, count)
            try:
                workers.work_through(settings.ray_stall_s)
            finally:
                workers.stop()
    except (ServiceError, ValueError) as raised:
        error = raised
    except Exception as raised:  # noqa: BLE001  goes to the job in words, as what Ray raises is read with Ray alone
        error = RuntimeError(f"{type(raised).__name__}: {raised}")
    with contextlib.suppress(ConnectionError):
        there.send((_OVER, (error,)))


class _Workers(Generic[Item, Result]):
    """Workers and what each is at: a shard in hand, or None while it is started, or idle."""

    def __init__(
        self,
        ray: ModuleType,
        actor: Any,
        make_worker: Callable[[], Any],
        shards: Shards[Item, Result],
        count: int,
    ) -> None:
        self._ray = ray
        self._actor = actor
        self._make_worker = make_worker
        self._shards = shards
        self._count = count
        self._at: dict[Any, tuple[Any, Span | None]] = {}  # by the reference to what will come
        self._idle: list[Any] = []
        self._failed_starts = 0
        for _ in range(count):
            self._start_one()

    def work_through(self, stall_s: float) -> None:
        moved_at = time.monotonic()
        while True:
            self._hand_out()
            if self._idle and not self._in_hand():
                return
            self._shards.check()
            came, _ = self._ray.wait(list(self._at), timeout=_TICK_S)
            for reference in came:
                self._receive(reference)
                moved_at = time.monotonic()
            if time.monotonic() - moved_at > stall_s:
                raise Unavailable(f"Ray has not got on for {stall_s:g} s: {self._standing()}", "RAY_STALLED")

    def stop(self) -> None:
        for worker in [*self._idle, *(worker for worker, _ in self._at.values())]:
            with contextlib.suppress(Exception):  # one that is gone cannot be stopped, and need not be
                self._ray.kill(worker)

    def _start_one(self) -> None:
        worker = self._actor.remote()
        self._at[worker.make.remote(self._make_worker)] = (worker, None)

    def _hand_out(self) -> None:
        while self._idle and (span := self._shards.take()) is not None:
            worker = self._idle.pop()
            self._at[worker.work.remote(self._shards.items_of(span))] = (worker, span)

    def _in_hand(self) -> int:
        return sum(span is not None for _, span in self._at.values())

    def _receive(self, reference: Any) -> None:
        errors = self._ray.exceptions
        worker, span = self._at.pop(reference)
        try:
            result = self._ray.get(reference)
        except errors.RayTaskError as error:
            self._idle.append(worker)
            if isinstance(error.cause, ServiceError | ValueError):
                raise error.cause from error
            raise
        except errors.RayError as error:  # the worker or its machine is gone, or its result with them
            reason = f"a worker on Ray ended ({type(error).__name__}: {error})"
            with contextlib.suppress(Exception):
                self._ray.kill(worker)
            if span is not None:
                self._shards.worker_ended(span, reason)
            else:
                self._failed_starts += 1
                if self._failed_starts >= _FAILED_STARTS:
                    raise Unavailable(
                        f"{self._failed_starts} workers ended at their start, the last: {reason}; {self._standing()}",
                        "RAY_WORKERS_DIE",
                    ) from error
            self._start_one()
            return
        self._idle.append(worker)
        if span is not None:
            self._shards.write(span, result)
            return
        self._failed_starts = 0
        if result != version("onoma"):
            raise FailedPrecondition(
                f"a machine of the Ray cluster has Onoma {result}, this service {version('onoma')}; give both the same"
            )

    def _standing(self) -> str:
        ray, in_hand = self._ray, self._in_hand()
        starting = len(self._at) - in_hand
        nodes = ray.nodes()
        alive = sum(node["Alive"] for node in nodes)
        has, free = ray.cluster_resources(), ray.available_resources()
        kinds = sorted(kind for kind in has if not kind.startswith("node:"))
        table = ", ".join(f"{kind} {free.get(kind, 0):g} of {has[kind]:g}" for kind in kinds)
        return (
            f"{in_hand} shards are in hand, {starting} of {self._count} workers wait for their start; {alive} of "
            f"{len(nodes)} machines are alive; free: {table or 'nothing'} (ONOMA_RAY_WORKERS asks for fewer workers, "
            "ONOMA_RAY_STALL_S for more patience; resuming the job goes on where it is)"
        )


@contextlib.contextmanager
def _cluster(settings: RaySettings) -> Iterator[ModuleType]:
    """Ray, connected, of a cluster or of this machine alone: then on loopback, with a token that nobody else has."""
    defaults = {"RAY_USAGE_STATS_ENABLED": "0"}
    if not settings.ray_address:
        defaults |= {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # or 127.0.0.1 is taken for another interface
        }
    os.environ.update(defaults | os.environ)  # Ray reads them where it is imported and starts its processes
    import ray

    quiet = {"configure_logging": False, "log_to_driver": False}
    try:
        if settings.ray_address:
            ray.init(address=settings.ray_address, **quiet)
        else:
            # One CPU more than workers: Ray stalls, and does not say so, where all are taken.
            ray.init(
                address="local",
                num_cpus=(settings.ray_workers or os.cpu_count() or 1) + 1,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                _node_ip_address="127.0.0.1",
                **quiet,
            )
    except Exception as error:  # what Ray raises where a machine does not start is no narrower
        raise _no_cluster(settings, str(error)) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _no_cluster(settings: RaySettings, why: str) -> Unavailable:
    where = settings.ray_address or "this machine"
    return Unavailable(f"no Ray to be had at {where}: {why} (ONOMA_RAY_ADDRESS)", "NO_RAY_CLUSTER")


def _check_answers(address: str) -> None:
    """Asks the server at a cluster's address for what Ray asks first; Ray itself asks for minutes, and says nothing.

    Raises:
        Unavailable: nobody answers.
        FailedPrecondition: it is no address, or who answers there is not what it says.
    """
    parts = urlsplit(address if "://" in address else f"//{address}")
    kind = "ray" if parts.scheme == "ray" else ""
    try:
        host, port = parts.hostname, parts.port or (10001 if kind else None)
    except ValueError as error:
        raise FailedPrecondition(
            f"ONOMA_RAY_ADDRESS={address} is no address: HOST:6379 or ray://HOST:10001 is ({error})"
        ) from error
    if host is None or port is None:
        return  # "auto" and the like: Ray looks for it
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        # With TLS the certificates are Ray's own matter, and this asks only whether anyone is there.
        if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
            socket.create_connection((host, port), timeout=ANSWER_S).close()
            return
        # As Ray's own: past any proxy, which leads out.
        with grpc.insecure_channel(place, [("grpc.enable_http_proxy", 0)]) as channel:
            if _knows(channel, kind):
                return
            is_other = _knows(channel, "" if kind else "ray")
    except (OSError, grpc.RpcError) as error:
        raise Unavailable(
            f"no Ray answers at {address} within {ANSWER_S:g} s: start the cluster or correct ONOMA_RAY_ADDRESS, then "
            "resume the job; or take --engine local, which does the same work",
            "NO_RAY_CLUSTER",
        ) from error
    other = (
        f"that is the port of {place if kind else f'ray://{place}'}" if is_other else "no Ray listens there"
    )
    raise FailedPrecondition(
        f"ONOMA_RAY_ADDRESS={address}: {other}; HOST:6379 is a cluster from one of its machines, ray://HOST:10001 from "
        "outside"
    )


def _knows(channel: grpc.Channel, kind: str) -> bool:
    """Whether a server has the method that tells a port of Ray's from others; a token need not be shown for that."""
    ask = channel.unary_unary(_ASKED_FIRST[kind])
    try:
        ask(b"", timeout=ANSWER_S, wait_for_ready=True)
    except grpc.RpcError as error:
        if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            raise
        return error.code() != grpc.StatusCode.UNIMPLEMENTED
    return True


def _resources(ray: ModuleType) -> dict[str, int]:
    """What a worker takes: a GPU, or a CPU where the cluster has none."""
    gpus = ray.cluster_resources().get("GPU", 0)
    return {"num_cpus": 1, "num_gpus": 1} if gpus >= 1 else {"num_cpus": 1}


def _workers_that_fit(ray: ModuleType) -> int:
    has = ray.cluster_resources()
    return max(1, int(has.get("GPU", 0)) or int(has.get("CPU", 1)) - 1)
