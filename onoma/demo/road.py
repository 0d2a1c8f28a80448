"""The road from pictures to a study that waits to be named, step by step, over the client."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onoma.cli.output import bar, bar_of_stages, console, wait
from onoma.cli.xnns import print_table_1
from onoma.client import Addresses, AlreadyExists, Client, JobFailed, NotFound, RunningJob
from onoma.demo import simulated
from onoma.report.study import write_study_report
from onoma.v1 import inference_pb2, jobs_pb2, naming_pb2


@dataclass(frozen=True)
class Road:
    """What differs between the two roads of the demo.

    Attributes:
        name: of the data set, model, set of xNNs and study.
        data: folder to import.
        max_train: training images a class that are imported; 0 for all.
        network: makes the `.pt2` program, given a progress function.
        map_images: images a category in the study.
        settings: of the xNNs.
        listing: tells the files of `data` from others, where they may be others at the next run; else empty.
    """

    name: str
    data: Path
    max_train: int
    network: Callable[[Callable[[int, int], None]], bytes]
    map_images: int
    settings: inference_pb2.XnnSettings
    listing: str = ""


def run(
    folder: Path,
    *,
    photographs: Path | None,
    port: int,
    serve: Callable[[], None] | None,
    simulated_annotators: int = 0,
) -> None:
    """Does the main job and prints where to look.

    Args:
        folder: everything the demo makes; a second run reuses what is there.
        photographs: an ImageFolder with train and test parts; Fashion-MNIST without it.
        port: of the page, while serving.
        serve: returns when serving is to end; None ends at once.
        simulated_annotators: name the maps by where they lie, so that the results have something to show.
    Raises:
        ValueError: the photographs have no two parts, or the folder holds what was made of others of their name.
    """
    from services.up import local_settings, start_all

    started = time.monotonic()
    road = _photographs(photographs) if photographs else _fashion(folder)
    settings = local_settings(folder / "data", free_ports=serve is None)
    running = start_all(settings, http_port=port if serve else None)
    try:
        with Client(Addresses(**running.addresses)) as client:
            study, report = _walk(client, road, folder, simulated_annotators)
            minutes, seconds = divmod(round(time.monotonic() - started), 60)
            console.print(f"\nDone in {minutes} min {seconds} s.")
            console.print(f"report: {report}")
            if serve:
                token = _invitation(client, study, folder)
                console.print(f"name the maps: {running.page_url}/name#{token}", soft_wrap=True)
                console.print(f"owner's page:  {running.page_url}/")
                console.print("Ctrl-C ends the server; `onoma demo` again goes on where you stopped.")
        if serve:
            serve()
    finally:
        running.stop()


def _walk(
    client: Client, road: Road, folder: Path, simulated_annotators: int
) -> tuple[naming_pb2.Study, Path]:
    with _said_with_the_way_out(road, folder):
        content = _import(client, road)
        program = _program(road, folder, content)
        network = client.register_model(road.name, program, request_id=f"demo-{_hash(program)}")
        _finish(network, "register the network")
        request_id = _request(road, program, content, "xnn")
        xnns = client.train_xnn(
            road.name, road.name, road.name, settings=road.settings, request_id=request_id
        )
        _finish(xnns, "train xNNs")
    xnn_set = client.get_xnn_set(road.name)
    study = client.create_study(
        road.name,
        road.name,
        road.name,
        road.name,
        [xnn.class_name for xnn in xnn_set.xnns],
        settings=naming_pb2.StudySettings(max_images_per_category=road.map_images),
        request_id=_request(road, program, content, "study"),
    )
    request_id = _request(road, program, content, "maps")
    _finish(client.compute_maps(study.study_id, request_id=request_id), "compute maps")
    study = client.get_study(study.study_id)
    if study.state == naming_pb2.STUDY_STATE_DRAFT:
        study = client.open_study(study.study_id)
    if simulated_annotators:
        with bar("simulated annotators name") as progress:
            simulated.name_by_place(client, study, simulated_annotators, progress)
        console.print(
            f"{simulated_annotators} simulated annotators named the maps by where they lie: the report shows what "
            "results look like, not what people see"
        )
    with bar_of_stages("report") as progress:
        report = write_study_report(client, study, folder / "report", progress)
    console.print()
    print_table_1(xnn_set)
    console.print(
        f"study '{study.name}': {len(study.categories)} categories, {study.activation_count} maps to name",
    )
    return study, report


@contextmanager
def _said_with_the_way_out(road: Road, folder: Path) -> Iterator[None]:
    """Where servers refuse other content under a name, a demo's user has a way out that is not another name."""
    try:
        yield
    except (AlreadyExists, JobFailed) as error:
        if not road.listing or "give this one another name" not in str(error):
            raise
        raise ValueError(
            f"{folder} holds what was made of other photographs of the name '{road.name}' than are in {road.data} now; "
            "give these a folder of their own with --folder (make demo: DEMO_FOLDER=...)"
        ) from error


def _import(client: Client, road: Road) -> str:
    """Imports the pictures; what tells their content from what else may lie there at another run."""

    def ended(request_id: str) -> dict[str, Any]:
        job = client.import_dataset(
            road.name,
            str(road.data.resolve()),
            max_train_images_per_class=road.max_train,
            request_id=request_id,
        )
        return _finish(job, f"import {road.name}")

    which = (str(road.data.resolve()), str(road.max_train), *filter(None, [road.listing]))
    imported = ended(f"demo-import-{'-'.join(which)}")
    dataset = client.get_dataset(road.name)
    if imported["content_hash"] != dataset.content_hash:  # another import has come since
        ended("")
        dataset = client.get_dataset(road.name)
    console.print(
        f"{sum(dataset.train_counts)} training and {sum(dataset.test_counts)} test pictures in "
        f"{len(dataset.classes)} classes, {dataset.skipped_count} files skipped",
    )
    return dataset.content_hash if road.listing else ""


def _program(road: Road, folder: Path, content: str) -> Path:
    """The network's file, trained if it is not there yet."""
    path = folder / f"{'-'.join(filter(None, [road.name, content[:16]]))}.pt2"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with bar("train the network") as progress:
            made = road.network(progress)
        partial = path.with_suffix(".partial")
        partial.write_bytes(made)
        partial.replace(path)
    return path


def _finish(job: RunningJob, description: str) -> dict[str, Any]:
    """Waits for a job, and gives what it made; one that an earlier run left failed or cancelled goes on."""
    if job.message.state in (jobs_pb2.JOB_STATE_FAILED, jobs_pb2.JOB_STATE_CANCELLED):
        job.resume()
    return wait(job, description)


def _invitation(client: Client, study: naming_pb2.Study, folder: Path) -> str:
    """The token of the demo's annotator, kept beside the data so that a second run has the same link."""
    kept = folder / f"{study.study_id}.token"
    if kept.is_file():
        token = kept.read_text(encoding="utf-8")
        try:
            client.accept_invitation(token)
        except NotFound:
            pass
        else:
            return token
    token = client.invite_annotator(study.study_id, "you", request_id=f"demo-you-{study.study_id}").token
    kept.touch(mode=0o600)
    kept.write_text(token, encoding="utf-8")
    return token


def _request(road: Road, program: Path, content: str, what: str) -> str:
    settings = road.settings.SerializeToString(deterministic=True)
    key = f"{_hash(program)} {road.max_train} {road.map_images} {settings!r}{content}"
    return f"demo-{what}-{hashlib.sha256(key.encode()).hexdigest()[:32]}"


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def _fashion(folder: Path) -> Road:
    from onoma.demo import fashion

    data = fashion.find_data(folder / "fashion-mnist")
    return Road(
        name="fashion-mnist",
        data=data,
        max_train=3000,
        network=lambda progress: fashion.train_network(data, progress=progress),
        map_images=60,
        settings=inference_pb2.XnnSettings(negatives_per_positive=4),
    )


def _photographs(data: Path) -> Road:
    from onoma.demo import photographs

    if not (data / "train").is_dir() or not (data / "test").is_dir():
        raise ValueError(f"{data} needs a folder 'train' and a folder 'test', each with a folder a class")
    return Road(
        name=name_of(data),
        data=data,
        max_train=0,
        network=lambda progress: photographs.train_network(data, progress),
        map_images=60,
        settings=inference_pb2.XnnSettings(),
        listing=listing_of(data),
    )


def listing_of(photographs: Path) -> str:
    """Tells whether files were added, removed or replaced: a digest of their paths, sizes and times of change."""
    parts = (photographs.glob(f"{part}/*/**/*") for part in ("train", "test"))
    files = sorted(path for part in parts for path in part if path.is_file())
    lines = [
        f"{path.relative_to(photographs)} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files
    ]
    return hashlib.sha256(os.fsencode("\n".join(lines))).hexdigest()[:16]


def name_of(photographs: Path) -> str:
    """What all that is made of a folder of photographs is called: like it, in the letters that servers take."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", photographs.resolve().name)[:64].strip("-")
    return name if re.search(r"[A-Za-z0-9]", name) else "photographs"
