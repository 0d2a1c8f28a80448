"""How long a study's report takes, and how much memory: python -m tests.bench.report [--categories N ...] [--out DIR].

A synthetic study, the real analytics service over stand-ins for the others in a process of its own, and the report over
the client in this one. The stand-ins answer at once, so that what is measured is the analysis and the report.
"""
# ruff: noqa: N802  (RPCs bear the names of their proto)

from __future__ import annotations

import argparse
import io
import itertools
import json
import resource
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from onoma.client import Addresses, AnalysisOptions, Client
from onoma.report.study import STAGES, write_study_report
from onoma.science.study_file import StudyFile
from onoma.v1 import attribution_pb2 as maps_pb
from onoma.v1 import (
    attribution_pb2_grpc,
    inference_pb2,
    inference_pb2_grpc,
    naming_pb2,
    naming_pb2_grpc,
    types_pb2,
)
from services.analytics.service import build
from services.runtime.memory import keep_freed_memory
from services.runtime.server import start
from services.runtime.settings import RuntimeSettings
from tests.bench.machine import machine_name
from tests.studies import synthetic_study
from tests.synthetic import CLASSES, draw

PICTURE_PX = 224
MAP_SIDE = 14


class StandInInference(inference_pb2_grpc.InferenceServiceServicer):
    """Pictures of shapes, and a set of xNNs whose figures nobody measured."""

    def __init__(self, file: StudyFile) -> None:
        self._categories = file.study.categories

    def GetImage(self, request: Any, context: grpc.ServicerContext) -> inference_pb2.GetImageResponse:
        rng = np.random.default_rng(list(request.image_id.encode()))
        buffer = io.BytesIO()
        shape = CLASSES[int(rng.integers(len(CLASSES)))]
        draw(shape, rng).resize((PICTURE_PX, PICTURE_PX)).save(buffer, "PNG", compress_level=1)
        return inference_pb2.GetImageResponse(content=buffer.getvalue())

    def GetModel(self, request: Any, context: grpc.ServicerContext) -> inference_pb2.GetModelResponse:
        preprocessing = types_pb2.Preprocessing(channels=3, height=PICTURE_PX, width=PICTURE_PX)
        model = inference_pb2.Model(name="stand-in", classes=self._categories, preprocessing=preprocessing)
        return inference_pb2.GetModelResponse(model=model)

    def GetXnnSet(self, request: Any, context: grpc.ServicerContext) -> inference_pb2.GetXnnSetResponse:
        xnns = [
            inference_pb2.Xnn(
                class_name=name,
                image_count=len(category.image_ids),
                significant_count=len(category.activation_ids),
                significant_mean=len(category.activation_ids) / max(len(category.image_ids), 1),
                dnn_accuracy=0.9,
                xnn_accuracy=0.9,
                rmse=0.1,
                score_max=10,
                mattering_count=3,
                accepted=True,
            )
            for name, category in self._categories.items()
        ]
        settings = inference_pb2.XnnSettings(x_feature_count=8)
        found = inference_pb2.XnnSet(
            name="stand-in", xnns=xnns, settings=settings, test_image_count=len(xnns)
        )
        return inference_pb2.GetXnnSetResponse(xnn_set=found)

    def ListImages(self, request: Any, context: grpc.ServicerContext) -> inference_pb2.ListImagesResponse:
        category = self._categories[request.class_name]
        images = [
            inference_pb2.Image(image_id=id_, width=200, height=200, bounding_box=(50, 50, 100, 100))
            for id_ in category.image_ids
        ]
        return inference_pb2.ListImagesResponse(images=images)


class StandInAttribution(attribution_pb2_grpc.AttributionServiceServicer):
    """The study's activations, each with a blot for a map."""

    def __init__(self, file: StudyFile) -> None:
        self._file = file

    def ListExplainedImages(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        for name, category in self._asked(request):
            n = len(category.image_ids)
            scores = np.random.default_rng(n).normal(5, 1, n).tolist()
            right = self._file.correct[name].tolist()
            yield maps_pb.ListExplainedImagesResponse(
                images=types_pb2.ExplainedImageColumns(
                    image_id=category.image_ids,
                    category=[name] * n,
                    dnn_score=scores,
                    xnn_score=scores,
                    predicted_class=[name if is_right else "another" for is_right in right],
                )
            )

    def ListActivations(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        for name, category in self._asked(request):
            n = len(category.activation_ids)
            yield maps_pb.ListActivationsResponse(
                activations=types_pb2.ActivationColumns(
                    activation_id=category.activation_ids,
                    image_id=[category.image_ids[i] for i in category.image.tolist()],
                    category=[name] * n,
                    x_feature=category.x_feature.tolist(),
                    contribution=np.random.default_rng(n).random(n).tolist(),
                    share=[0.5] * n,
                )
            )

    def GetMaps(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        ids = list(request.activation_ids)
        y, x = np.mgrid[0:MAP_SIDE, 0:MAP_SIDE]
        middles = [[hash(id_) % MAP_SIDE, hash(id_[::-1]) % MAP_SIDE] for id_ in ids]
        values = np.stack([np.exp(-((x - a) ** 2 + (y - b) ** 2) / 8.0) for a, b in middles])
        yield maps_pb.GetMapsResponse(
            maps=types_pb2.MapColumns(
                activation_id=ids,
                height=MAP_SIDE,
                width=MAP_SIDE,
                scale=[1.0] * len(ids),
                values=values.astype("<f2").tobytes(),
            )
        )

    def GetMapProvenance(
        self, request: Any, context: grpc.ServicerContext
    ) -> maps_pb.GetMapProvenanceResponse:
        provenance = maps_pb.MapProvenance(
            method="stand-in", map_height=MAP_SIDE, map_width=MAP_SIDE, significant_share=0.9
        )
        return maps_pb.GetMapProvenanceResponse(provenance=provenance)

    def _asked(self, request: Any) -> list[tuple[str, Any]]:
        categories = self._file.study.categories
        return [(name, categories[name]) for name in ([request.category] if request.category else categories)]


class StandInNaming(naming_pb2_grpc.NamingServiceServicer):
    """The study's namings."""

    def __init__(self, file: StudyFile) -> None:
        self._file = file

    def GetStudy(self, request: Any, context: grpc.ServicerContext) -> naming_pb2.GetStudyResponse:
        study = naming_pb2.Study(
            study_id="s",
            name="synthetic",
            model="stand-in",
            dataset="stand-in",
            part=types_pb2.DATASET_PART_TEST,
            xnn_set="stand-in",
            categories=self._file.study.categories,
            settings=naming_pb2.StudySettings(min_concept_images=self._file.study.min_concept_images),
        )
        return naming_pb2.GetStudyResponse(study=study)

    def ListAnnotators(
        self, request: Any, context: grpc.ServicerContext
    ) -> naming_pb2.ListAnnotatorsResponse:
        people = [
            naming_pb2.Annotator(annotator_id=one, display_name=one, role=naming_pb2.ROLE_ANNOTATOR)
            for one in self._file.study.annotators
        ]
        return naming_pb2.ListAnnotatorsResponse(annotators=people)

    def GetVocabulary(self, request: Any, context: grpc.ServicerContext) -> naming_pb2.GetVocabularyResponse:
        synonyms = [naming_pb2.SynonymGroup(words=group) for group in self._file.vocabulary.synonyms]
        return naming_pb2.GetVocabularyResponse(vocabulary=naming_pb2.Vocabulary(synonyms=synonyms))

    def ExportNamings(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        study = self._file.study
        namings: dict[str, Any] = {}
        for annotator in request.annotator_ids or study.annotators:
            for name, category in study.categories.items():
                naming = study.namings[name][annotator]
                concepts: list[dict[str, Any]] = [
                    {"name": one, "activations": []} for one in naming.concept_names
                ]
                for activation_id, concept in zip(
                    category.activation_ids, naming.concept.tolist(), strict=True
                ):
                    if concept >= 0:
                        concepts[concept]["activations"].append(activation_id)
                namings.setdefault(annotator, {})[name] = {"concepts": concepts, "discarded": []}
        yield naming_pb2.ExportNamingsResponse(text=json.dumps({"namings": namings}))


@contextmanager
def served(file: StudyFile) -> Iterator[Addresses]:
    """The study behind the real analytics service and the stand-ins, until the end of the block."""
    peers = grpc.server(ThreadPoolExecutor(8), options=[("grpc.max_send_message_length", -1)])
    inference_pb2_grpc.add_InferenceServiceServicer_to_server(StandInInference(file), peers)
    attribution_pb2_grpc.add_AttributionServiceServicer_to_server(StandInAttribution(file), peers)
    naming_pb2_grpc.add_NamingServiceServicer_to_server(StandInNaming(file), peers)
    address = f"127.0.0.1:{peers.add_insecure_port('127.0.0.1:0')}"
    peers.start()
    settings = RuntimeSettings(inference_address=address, attribution_address=address, naming_address=address)
    server = start(build(settings), "127.0.0.1:0", settings)
    try:
        yield Addresses(inference=address, attribution=address, naming=address, analytics=server.address)
    finally:
        server.stop()
        peers.stop(None)


def serve(file: StudyFile, pipe: Connection) -> None:
    """Serves the study until the pipe says to stop; answers with the addresses, then with the memory used."""
    keep_freed_memory()
    with served(file) as addresses:
        pipe.send(addresses)
        pipe.recv()
        pipe.send(_memory_gb(resource.RUSAGE_SELF) + _memory_gb(resource.RUSAGE_CHILDREN))


def _memory_gb(whose: int) -> float:
    return resource.getrusage(whose).ru_maxrss / 1e6


def main() -> None:
    """Measures one report and prints what it took as JSON."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--categories", type=int, default=50)
    arguments.add_argument("--annotators", type=int, default=10)
    arguments.add_argument("--activations", type=int, default=20_000)
    arguments.add_argument("--shuffles", type=int, default=100)
    arguments.add_argument("--out", type=Path, help="keep the report in this folder")
    given = arguments.parse_args()
    file = synthetic_study(given.categories, given.annotators, given.activations)
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=serve, args=(file, theirs))
    server.start()
    addresses = ours.recv()
    before_gb = _memory_gb(resource.RUSAGE_SELF)
    told: list[tuple[float, str]] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        Client(addresses) as client,
    ):
        out = given.out or Path(folder)
        began = time.monotonic()
        write_study_report(
            client,
            client.get_study("s"),
            out,
            lambda stage, _done, _total: told.append((time.monotonic() - began, stage)),
            AnalysisOptions(shuffles=given.shuffles),
        )
        seconds = time.monotonic() - began
        files = [path for path in out.rglob("*") if path.is_file()]
        page_mb = (out / "index.html").stat().st_size / 1e6
        folder_mb = sum(path.stat().st_size for path in files) / 1e6
    ours.send("stop")
    service_gb = ours.recv()
    server.join()
    ends = {stage: at for at, stage in told}
    maps, analysis, drawn = (ends[stage] for stage in STAGES)
    found = {
        "categories": given.categories,
        "annotators": given.annotators,
        "activations": given.activations,
        "seconds": round(seconds, 1),
        "seconds_maps": round(maps, 1),
        "seconds_analysis": round(analysis - maps, 1),
        "seconds_files": round(drawn - analysis, 1),
        "longest_without_progress_s": round(max(b - a for (a, _), (b, _) in itertools.pairwise(told)), 1),
        "report_gb": round(_memory_gb(resource.RUSAGE_SELF), 2),
        "report_gb_before": round(before_gb, 2),
        "service_gb": round(service_gb, 2),
        "files": len(files),
        "page_mb": round(page_mb, 1),
        "folder_mb": round(folder_mb, 1),
        "machine": machine_name("cpu"),
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
