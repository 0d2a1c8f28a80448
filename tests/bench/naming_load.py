"""Many annotators at once on one naming service: python -m tests.bench.naming_load.

Each annotator is simulated: one act every 100 ms, random but sensible, in a study of synthetic activations with a
stand-in for inference behind it. Printed are the acts that were acknowledged, the time from sending one to its answer,
and what the log says of them: each has to be there once.

With --kills N the acts go over the gateway, and N times, at random moments, one of the naming service, the gateway and
the database is killed (kill -9) and started again; an annotator sends an act again, under the same request id, until
it is acknowledged.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import queue
import random
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx2
import numpy as np
from google.protobuf.json_format import MessageToDict, ParseDict
from rich.console import Console

from deploy.local.postgresql import PostgresqlServer, running_postgresql
from onoma.client import namings
from onoma.v1 import inference_pb2_grpc, types_pb2
from onoma.v1 import naming_pb2 as pb
from onoma.v1.naming_pb2_grpc import NamingServiceStub
from services.runtime.memory import leave_out_of_collections
from tests.bench.machine import machine_name
from tests.bench.supervised import Supervised
from tests.ports import free_port
from tests.services.naming.conftest import StandInInference

PERIOD_S = 0.1
CATEGORIES, ACTIVATIONS = ["boat", "shoe"], 100  # of each
GIVE_UP_S = 120.0
console = Console(stderr=True)


def main() -> None:
    """Runs it and prints a table, or JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--database", choices=("postgresql", "sqlite"), default="postgresql")
    parser.add_argument("--annotators", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with running_stack(asked.database, with_gateway=asked.kills > 0) as stack:
        invited = make_study(stack, asked.annotators)
        context = multiprocessing.get_context("spawn")
        done = context.Event()
        seconds = GIVE_UP_S * 100 if asked.kills else asked.seconds
        answers: Any = context.Queue()
        target = stack.page_url if asked.kills else stack.naming_address
        callers = context.Process(target=call, args=(target, invited, seconds, done, answers))
        callers.start()
        if asked.kills:
            kill_at_random(stack, asked.kills)
            done.set()
        acknowledged, times = answered(answers, callers)
        figures = check_log(stack, invited, acknowledged)
    times_ms = 1000 * np.array(times)
    figures |= {
        "machine": machine_name("cpu"),
        "database": asked.database,
        "annotators": asked.annotators,
        "kills": asked.kills,
        "acts_acknowledged": len(acknowledged),
        "median_ms": round(float(np.median(times_ms)), 1),
        "p99_ms": round(float(np.quantile(times_ms, 0.99)), 1),
        "largest_ms": round(float(times_ms.max()), 1),
    }
    if asked.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name.replace('_', ' ')}: {value}")
    sys.exit(1 if figures["lost"] or figures["doubled"] else 0)


def answered(answers: Any, callers: Any) -> tuple[list[tuple[str, str]], list[float]]:
    """What the callers' process put; an error where it ended without."""
    while True:
        try:
            found = answers.get(timeout=1)
        except queue.Empty:
            if not callers.is_alive():
                sys.exit(f"the callers ended with exit code {callers.exitcode} and no answer; see above")
        else:
            callers.join()
            return found


class Stack:
    """The processes under test, each on a port of its own."""

    def __init__(self, folder: Path, inference_address: str, postgresql: PostgresqlServer | None) -> None:
        self.folder = folder
        self.postgresql = postgresql
        ports = [free_port() for _ in range(2)]
        self.naming_address, self.page_url = f"127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}"
        self.services = Supervised(
            folder / "log",
            {
                "ONOMA_DATA_DIR": str(folder),
                "ONOMA_DATABASE_URL": postgresql.url if postgresql else "",
                "ONOMA_INFERENCE_ADDRESS": inference_address,
                "ONOMA_NAMING_ADDRESS": self.naming_address,
                "ONOMA_HTTP_PORT": str(ports[1]),
                "ONOMA_LOG_LEVEL": "WARNING",
                "ONOMA_DRAIN_S": "1",
            },
        )

    def calls(self) -> NamingServiceStub:
        """A stub of the naming service, once it is ready."""
        channel = grpc.insecure_channel(self.naming_address)
        grpc.channel_ready_future(channel).result(timeout=60)
        return NamingServiceStub(channel)


@contextlib.contextmanager
def running_stack(database: str, *, with_gateway: bool) -> Iterator[Stack]:
    """The naming service over a database that waits for the disk, and the gateway before it."""
    inference = grpc.server(ThreadPoolExecutor(4))
    inference_pb2_grpc.add_InferenceServiceServicer_to_server(StandInInference(), inference)
    address = f"127.0.0.1:{inference.add_insecure_port('127.0.0.1:0')}"
    inference.start()
    with contextlib.ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="onoma-load-")))
        postgresql = None
        if database == "postgresql":
            postgresql = opened.enter_context(running_postgresql(is_durable=True))
        stack = Stack(folder, address, postgresql)
        opened.callback(inference.stop, None)
        opened.callback(stack.services.stop)
        stack.services.start(["naming", "gateway"] if with_gateway else ["naming"])
        yield stack


@dataclass(frozen=True)
class Invited:
    """An annotator of the study, with the token of the link."""

    study_id: str
    annotator_id: str
    token: str
    category: str


def make_study(stack: Stack, annotators: int) -> list[Invited]:
    """An open study and its annotators, each at one of its categories."""
    calls = stack.calls()
    request = pb.CreateStudyRequest(
        name="load", model="net", dataset="photos", xnn_set="xnns", categories=CATEGORIES
    )
    study_id = calls.CreateStudy(request).study.study_id
    columns = types_pb2.ActivationColumns()
    for category in CATEGORIES:
        for number in range(ACTIVATIONS):
            columns.activation_id.append(f"{category}{number}")
            columns.category.append(category)
            columns.image_id.append(f"image{number // 2}")
    calls.PublishActivations(iter([pb.PublishActivationsRequest(study_id=study_id, activations=columns)]))
    calls.OpenStudy(pb.OpenStudyRequest(study_id=study_id))
    invited = []
    for number in range(annotators):
        answer = calls.InviteAnnotator(
            pb.InviteAnnotatorRequest(study_id=study_id, display_name=f"simulated {number}")
        )
        category = CATEGORIES[number % len(CATEGORIES)]
        invited.append(Invited(study_id, answer.annotator.annotator_id, answer.token, category))
    return invited


def kill_at_random(stack: Stack, count: int) -> None:
    """Kills one of the processes again and again, and starts it again a little later."""
    chance = random.Random(0)
    killed: Counter[str] = Counter()
    time.sleep(5)
    for number in range(count):
        time.sleep(chance.uniform(0.5, 3))
        victims = ["naming", "gateway", *(["database"] if stack.postgresql else [])]
        victim = chance.choice(victims)
        killed[victim] += 1
        console.print(f"kill {number + 1} of {count}: {victim}")
        if victim == "database":
            assert stack.postgresql is not None
            stack.postgresql.kill()
            time.sleep(chance.uniform(0, 1))
            stack.postgresql.start()
        else:
            stack.services.kill(victim)
    time.sleep(10)
    console.print(f"killed {dict(killed)}")


def check_log(stack: Stack, invited: list[Invited], acknowledged: list[tuple[str, str]]) -> dict[str, Any]:
    """Acts that were acknowledged against those in the log, by (annotator, request id)."""
    calls = stack.calls()
    logged: Counter[tuple[str, str]] = Counter()
    for one in invited:
        key = {"study_id": one.study_id, "annotator_id": one.annotator_id, "category": one.category}
        revisions, token = [], ""
        while True:
            page = calls.ListActs(pb.ListActsRequest(**key, page_size=10_000, page_token=token))
            logged.update((one.annotator_id, act.request_id) for act in page.acts)
            revisions += [act.revision for act in page.acts]
            token = page.next_page_token
            if not token:
                break
        assert revisions == list(range(1, len(revisions) + 1)), "the log has a hole"
    return {
        "acts_in_the_log": logged.total(),
        "lost": sum(act not in logged for act in acknowledged),
        "doubled": sum(times > 1 for times in logged.values()),
    }


def call(
    target: str, invited: list[Invited], seconds: float, done: Any, answers: Any
) -> None:  # in a process of its own
    """All annotators, until the time is over or `done` is set; puts acknowledged acts and the seconds of each."""
    leave_out_of_collections()
    answers.put(asyncio.run(_call_all(target, invited, seconds, done)))


async def _call_all(
    target: str, invited: list[Invited], seconds: float, done: Any
) -> tuple[list[tuple[str, str]], list[float]]:
    acknowledged: list[tuple[str, str]] = []
    times: list[float] = []
    async with contextlib.AsyncExitStack() as opened:
        if target.startswith("http"):
            desks: list[Any] = [
                _OverHttp(
                    await opened.enter_async_context(httpx2.AsyncClient(base_url=target, timeout=30)), one
                )
                for one in invited
            ]
        else:
            channel = await opened.enter_async_context(grpc.aio.insecure_channel(target))
            desks = [_OverGrpc(NamingServiceStub(channel), one) for one in invited]
        until = time.monotonic() + seconds
        await asyncio.gather(
            *(_annotate(desk, number, until, done, acknowledged, times) for number, desk in enumerate(desks))
        )
    return acknowledged, times


async def _annotate(
    desk: Any, seed: int, until: float, done: Any, acknowledged: list[tuple[str, str]], times: list[float]
) -> None:
    chance = random.Random(seed)
    naming = await desk.naming()
    due = time.monotonic() + chance.uniform(0, PERIOD_S)
    while due < until and not done.is_set():
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        request_id, command = uuid.UUID(int=chance.getrandbits(128)).hex, some_command(chance, naming)
        begin = time.monotonic()
        naming, is_done = await desk.act(request_id, naming, command)
        if is_done:
            times.append(time.monotonic() - begin)
            acknowledged.append((desk.invited.annotator_id, request_id))
        due = max(due + PERIOD_S, time.monotonic())


def some_command(chance: random.Random, naming: pb.Naming) -> pb.Command:
    """What an annotator might do next."""
    some = chance.sample(list(naming.pool), min(len(naming.pool), chance.randint(1, 5)))
    concepts = list(naming.concepts)
    kind = chance.random()
    if some and (len(concepts) < 5 or (kind < 0.1 and len(concepts) < 12)):
        new = uuid.UUID(int=chance.getrandbits(128)).hex
        return pb.Command(
            create=pb.CreateConcept(concept_id=new, name=f"concept {new[:4]}", activation_ids=some)
        )
    if kind < 0.2 and naming.undo_count:
        return pb.Command(undo=pb.UndoAct())
    if some and kind < 0.7:
        return pb.Command(
            assign=pb.AssignActivations(concept_id=chance.choice(concepts).concept_id, activation_ids=some)
        )
    if some and kind < 0.75:
        return pb.Command(discard=pb.DiscardActivations(activation_ids=some))
    full = [concept for concept in concepts if concept.activation_ids]
    if full and kind < 0.95:
        back = chance.choice(full).activation_ids[:20]
        return pb.Command(unassign=pb.UnassignActivations(activation_ids=back))
    concept_id = chance.choice(concepts).concept_id
    return pb.Command(rename=pb.RenameConcept(concept_id=concept_id, name=f"name {chance.random():.3f}"))


class _OverGrpc:
    def __init__(self, calls: Any, invited: Invited) -> None:
        self.invited = invited
        self._calls = calls
        self._metadata = (("authorization", f"Bearer {invited.token}"),)
        self._key = {
            "study_id": invited.study_id,
            "annotator_id": invited.annotator_id,
            "category": invited.category,
        }

    async def naming(self) -> pb.Naming:
        answer = await self._calls.GetNaming(pb.GetNamingRequest(**self._key), metadata=self._metadata)
        return answer.naming

    async def act(self, request_id: str, naming: pb.Naming, command: pb.Command) -> tuple[pb.Naming, bool]:
        request = pb.ActRequest(
            **self._key, request_id=request_id, base_revision=naming.revision, command=command
        )
        answer = await self._calls.Act(request, metadata=self._metadata, timeout=30)
        return _naming_after(naming, answer), True


class _OverHttp:
    """As the page does: an act is sent again until somebody answers."""

    def __init__(self, client: httpx2.AsyncClient, invited: Invited) -> None:
        self.invited = invited
        self._client = client
        self._path = f"/api/studies/{invited.study_id}/annotators/{invited.annotator_id}"

    async def naming(self) -> pb.Naming:
        await self._until_answered("POST", "/api/invitations", {"token": self.invited.token})
        return await self._present()

    async def _present(self) -> pb.Naming:
        path = f"{self._path}/naming?category={self.invited.category}"
        return _message((await self._until_answered("GET", path)).json()["naming"])

    async def act(self, request_id: str, naming: pb.Naming, command: pb.Command) -> tuple[pb.Naming, bool]:
        body = {
            "category": self.invited.category,
            "request_id": request_id,
            "base_revision": str(naming.revision),
            "command": MessageToDict(command, preserving_proto_field_name=True),
        }
        answer = await self._until_answered("POST", f"{self._path}/acts", body)
        if answer.status_code == httpx2.codes.OK:
            return _naming_after(naming, ParseDict(answer.json(), pb.ActResponse())), True
        return await self._present(), False

    async def _until_answered(self, method: str, path: str, body: Any = None) -> httpx2.Response:
        until = time.monotonic() + GIVE_UP_S
        last = ""
        while time.monotonic() < until:
            try:
                answer = await self._client.request(method, path, json=body)
                if answer.status_code < httpx2.codes.INTERNAL_SERVER_ERROR:
                    return answer
                last = answer.text
            except httpx2.TransportError as error:
                last = repr(error)
            await asyncio.sleep(0.2)
        raise RuntimeError(f"{method} {path}: for {GIVE_UP_S} s nothing but {last}")


def _naming_after(seen: pb.Naming, answer: pb.ActResponse) -> pb.Naming:
    return answer.naming if answer.HasField("naming") else namings.after(seen, answer.change)


def _message(naming: dict[str, Any]) -> pb.Naming:
    return ParseDict(naming, pb.Naming())


if __name__ == "__main__":
    main()
