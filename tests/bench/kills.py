"""kill -9 at random over the main job: python -m tests.bench.kills (or `make soak-kills`).

All services and the gateway run as processes, over SQLite or PostgreSQL (which is killed too), and the main job is
done over and over: import, register, train, draw maps, name. At random moments one of the processes is killed and
started again. In the end every write that was acknowledged has to be there, once, every job to have succeeded, every
map to be that of the first round, which nobody disturbed, but for its last digit, and every stored object to have its
hash. Exit code 1 where one is not.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from rich.console import Console

from deploy.local.postgresql import PostgresqlServer, running_postgresql
from onoma.client import Addresses, Client, Conflict, FailedPrecondition, JobFailed, ServerUnavailable
from onoma.client.columns import map_arrays
from onoma.client.jobs import RunningJob
from onoma.v1 import inference_pb2, jobs_pb2
from services.runtime.errors import DataLoss
from services.runtime.objects import open_object_store
from services.runtime.settings import RuntimeSettings
from tests.bench.machine import machine_name
from tests.bench.naming_load import some_command
from tests.bench.supervised import Supervised
from tests.ports import free_port
from tests.synthetic import CLASSES, tiny_program, write_image_folder

SERVICES = ("inference", "naming", "attribution", "analytics")
GIVE_UP_S = 1800.0  # on a busy machine what is killed every few seconds comes back slowly
ACTS = 30  # of an annotator in each category
console = Console(stderr=True)
Answer = TypeVar("Answer")


@dataclass
class Found:
    """What the run saw.

    Attributes:
        acknowledged: acts: (study, annotator, category, request id).
        resumed: jobs that were given up, having met too many kills, and were put back by hand.
        rounded_otherwise: studies some of whose maps have another last digit than the first's.
    """

    rounds: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    sent_again: int = 0
    resumed: int = 0
    rounded_otherwise: set[str] = field(default_factory=set)
    jobs: list[tuple[str, str]] = field(default_factory=list)
    studies: list[str] = field(default_factory=list)
    acknowledged: list[tuple[str, str, str, str]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def main() -> None:
    """Runs it and prints JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--database", choices=("postgresql", "sqlite"), default="postgresql")
    parser.add_argument("--pause", type=float, nargs=2, default=(1.0, 6.0), help="seconds between two kills")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    found = run(asked.kills, asked.database, tuple(asked.pause), asked.seed)
    print(
        json.dumps(
            {
                "machine": machine_name("cpu"),
                "database": asked.database,
                "kills": dict(found.kills),
                "rounds": found.rounds,
                "jobs": len(found.jobs),
                "jobs_resumed_by_hand": found.resumed,
                "studies_rounded_otherwise": len(found.rounded_otherwise),
                "acts_acknowledged": len(found.acknowledged),
                "calls_sent_again": found.sent_again,
                "wrong": found.wrong,
            }
        )
    )
    sys.exit(1 if found.wrong else 0)


def run(kills: int, database: str, pause_s: tuple[float, float], seed: int) -> Found:
    """Kills so many times while the main job is done over and over; a round that began is ended."""
    found = Found()
    with running_stack(database) as (stack, postgresql, addresses, settings), Client(addresses) as client:
        images = write_image_folder(settings.data_dir.parent / "shapes")
        job = MainJob(client, images, tiny_program(images), found)
        job.round()
        over = threading.Event()
        killer = threading.Thread(
            target=kill_at_random, args=(stack, postgresql, kills, pause_s, seed, found, over)
        )
        killer.start()
        try:
            while not over.is_set():
                job.round()
        finally:
            over.set()
            killer.join()
        job.check_all()
        check_objects(settings, found)
    return found


@contextlib.contextmanager
def running_stack(
    database: str,
) -> Iterator[tuple[Supervised, PostgresqlServer | None, Addresses, RuntimeSettings]]:
    """All services and the gateway, each on a port of its own."""
    with contextlib.ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="onoma-kills-")))
        postgresql = None
        if database == "postgresql":
            postgresql = opened.enter_context(running_postgresql(is_durable=True))
        addresses = {service: f"127.0.0.1:{free_port()}" for service in SERVICES}
        # Pictures lie beside the data folder: what lies in it is left out of imports.
        settings = RuntimeSettings(
            data_dir=folder / "data", database_url=postgresql.url if postgresql else ""
        )
        stack = Supervised(
            folder / "log",
            {f"ONOMA_{name.upper()}_ADDRESS": address for name, address in addresses.items()}
            | {
                "ONOMA_DATA_DIR": str(settings.data_dir),
                "ONOMA_DATABASE_URL": settings.database_url,
                "ONOMA_IMPORT_ROOTS": json.dumps([str(folder)]),
                "ONOMA_HTTP_PORT": str(free_port()),
                "ONOMA_LOG_LEVEL": "WARNING",
                "ONOMA_DRAIN_S": "1",
            },
        )
        opened.callback(stack.stop)
        stack.start([*SERVICES, "gateway"])
        yield stack, postgresql, Addresses(**addresses), settings


def kill_at_random(
    stack: Supervised,
    postgresql: PostgresqlServer | None,
    count: int,
    pause_s: tuple[float, float],
    seed: int,
    found: Found,
    over: threading.Event,
) -> None:
    """Kills one of the processes again and again; sets `over` in the end."""
    chance = random.Random(seed)
    victims = [*SERVICES, "gateway", *(["database"] if postgresql else [])]
    for number in range(count):
        if over.wait(chance.uniform(*pause_s)):
            return
        victim = chance.choice(victims)
        found.kills[victim] += 1
        console.print(f"kill {number + 1} of {count}: {victim}")
        if victim == "database":
            assert postgresql is not None
            postgresql.kill()
            time.sleep(chance.uniform(0, 1))
            postgresql.start()
        else:
            stack.kill(victim)
    over.set()


class MainJob:
    """The main job, by a user who asks again, under the same request id, until somebody answers."""

    def __init__(self, client: Client, images: Path, program: bytes, found: Found) -> None:
        self._client = client
        self._images = images
        self._program = program
        self._found = found
        self._chance = random.Random(1)
        self._maps: dict[tuple[str, str, int], npt.NDArray[np.float32]] = {}

    def round(self) -> None:
        """Once, under names of its own."""
        client, name = self._client, f"round{self._found.rounds}"
        settings = inference_pb2.XnnSettings(epochs=4, batch_size=24)
        self._job("inference", lambda id_: client.import_dataset(name, str(self._images), request_id=id_))
        self._job("inference", lambda id_: client.register_model(name, self._program, request_id=id_))
        self._job(
            "inference", lambda id_: client.train_xnn(name, name, name, settings=settings, request_id=id_)
        )
        study = self._asked(lambda id_: client.create_study(name, name, name, name, CLASSES, request_id=id_))
        self._found.studies.append(study.study_id)
        self._job("attribution", lambda id_: client.compute_maps(study.study_id, request_id=id_))
        self._check_maps(study.study_id)
        self._asked(lambda _: client.open_study(study.study_id))
        annotator = self._asked(
            lambda id_: client.invite_annotator(study.study_id, "somebody", request_id=id_)
        ).annotator
        for category in CLASSES:
            self._name(study.study_id, annotator.annotator_id, category)
        self._found.rounds += 1
        console.print(f"round {self._found.rounds} is done")

    def check_all(self) -> None:
        """Whether everything that was acknowledged is there, once, and right."""
        found, client = self._found, self._client
        for service, job_id in found.jobs:
            state = self._asked(lambda _, at=(service, job_id): client.get_job(*at)).message.state
            self._expect(state == jobs_pb2.JOB_STATE_SUCCEEDED, f"{service} job {job_id} is in state {state}")
        kept = {study.study_id for study in self._asked(lambda _: list(client.list_studies()))}
        self._expect(kept == set(found.studies), "there are other studies than those acknowledged")
        for study_id in found.studies:
            self._check_maps(study_id)
        logged: Counter[tuple[str, str, str, str]] = Counter()
        for key in sorted({act[:3] for act in found.acknowledged}):
            acts = self._asked(lambda _, key=key: list(client.list_acts(*key)))
            logged.update((*key, act.request_id) for act in acts)
            revisions = [act.revision for act in acts]
            self._expect(revisions == list(range(1, len(acts) + 1)), f"the log of {key} has a hole")
        for act in found.acknowledged:
            self._expect(logged[act] == 1, f"act {act} is {logged[act]} times in the log")

    def _name(self, study_id: str, annotator_id: str, category: str) -> None:
        """Some acts; what was acknowledged is kept for the check."""
        client, chance = self._client, self._chance
        naming = self._asked(lambda _: client.get_naming(study_id, annotator_id, category))
        for _ in range(ACTS):
            command = some_command(chance, naming)
            request_id = uuid.UUID(int=chance.getrandbits(128)).hex
            try:
                naming = self._asked(
                    lambda _, now=(naming, command, request_id): client.act(now[0], now[1], request_id=now[2])
                )
                self._found.acknowledged.append((study_id, annotator_id, category, request_id))
            except Conflict:  # nobody else names here: an act that was done would have been acknowledged
                self._found.wrong.append(f"act {request_id} of {category} met another's")
                naming = self._asked(lambda _: client.get_naming(study_id, annotator_id, category))

    def _check_maps(self, study_id: str) -> None:
        """Whether a study's maps are those of the first, but for float16's last digit.

        A shard whose process was killed twice is drawn picture by picture, and sums over a smaller batch round to
        either side: such studies are counted.
        """
        client = self._client

        def read(_: str) -> dict[tuple[str, str, int], npt.NDArray[np.float32]]:
            of = client.list_activations(study_id)
            keys = dict(
                zip(of.activation_id, zip(of.category, of.image_id, of.x_feature, strict=True), strict=True)
            )
            return {
                keys[activation_id]: array
                for columns in client.get_maps(study_id, list(keys))
                for activation_id, array in zip(columns.activation_id, map_arrays(columns), strict=True)
            }

        maps = self._asked(read)
        self._maps = self._maps or maps
        self._expect(
            maps.keys() == self._maps.keys()
            and all(np.allclose(one, self._maps[key], atol=1e-5, rtol=2**-10) for key, one in maps.items()),
            f"the {len(maps)} maps of study {study_id} are not the {len(self._maps)} of the first",
        )
        if any((one != self._maps[key]).any() for key, one in maps.items() if key in self._maps):
            self._found.rounded_otherwise.add(study_id)

    def _job(self, service: str, start: Callable[[str], RunningJob]) -> None:
        """Starts a job and waits for it; one that was given up is put back, as its owner would."""
        job = self._asked(start)
        self._found.jobs.append((service, job.job_id))
        until = time.monotonic() + GIVE_UP_S
        while time.monotonic() < until:
            try:
                self._asked(lambda _: job.wait())
                return
            except JobFailed as error:
                if "given up" not in str(error):
                    raise
                self._found.resumed += 1
                with contextlib.suppress(FailedPrecondition):  # an answer that was lost: it waits already
                    self._asked(lambda _: job.resume())
        raise RuntimeError(f"{service} job {job.job_id} has not ended in {GIVE_UP_S} s")

    def _asked(self, ask: Callable[[str], Answer]) -> Answer:
        """The answer, asked for again until there is one."""
        request_id, until = uuid.uuid4().hex, time.monotonic() + GIVE_UP_S
        while True:
            try:
                return ask(request_id)
            except ServerUnavailable:
                if time.monotonic() > until:
                    raise
                self._found.sent_again += 1
                time.sleep(0.3)

    def _expect(self, is_right: bool, otherwise: str) -> None:
        if not is_right:
            self._found.wrong.append(otherwise)


def check_objects(settings: RuntimeSettings, found: Found) -> None:
    """Whether every stored object has its hash."""
    store = open_object_store(settings)
    keys = store.keys()
    for key in keys:
        try:
            store.get(key)
        except DataLoss as error:
            found.wrong.append(str(error))


if __name__ == "__main__":
    main()
