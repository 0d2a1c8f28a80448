"""Stand-ins for inference, attribution and naming that hold the worked example."""
# ruff: noqa: N802  (RPCs bear the names of their proto)

import hashlib
import io
import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from PIL import Image

from onoma.v1 import (
    attribution_pb2,
    attribution_pb2_grpc,
    inference_pb2,
    inference_pb2_grpc,
    naming_pb2,
    naming_pb2_grpc,
    types_pb2,
)

EXAMPLE = json.loads((Path(__file__).parents[2] / "data" / "worked_example.json").read_text())
STUDY_ID = "study1"
MAP_SIDE = 2


def picture(name: str) -> bytes:
    """A file for an image of the example, a different one for each name."""
    grey = int.from_bytes(hashlib.sha256(name.encode()).digest()[:1], "big")
    buffer = io.BytesIO()
    Image.new("L", (6, 4), grey).save(buffer, "BMP")
    return buffer.getvalue() + name.encode()


def image_id(name: str) -> str:
    return hashlib.sha256(picture(name)).hexdigest()


@dataclass
class World:
    """What the stand-ins hold; tests change it."""

    namings: dict[str, Any] = field(default_factory=dict)
    annotators: list[str] = field(default_factory=list)
    categories: dict[str, Any] = field(default_factory=dict)
    live_x_features: list[int] = field(default_factory=lambda: [0, 2])
    live_category: str = "p"
    significant_share: float = 0.9
    attributed: list[attribution_pb2.AttributeRequest] = field(default_factory=list)
    is_attribution_down: bool = False
    method: str = "Excitation Backprop"
    boxes: dict[str, tuple[float, float, float, float]] = field(default_factory=dict)
    points: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    maps: dict[str, np.ndarray] = field(default_factory=dict)
    predicted: dict[str, str] = field(default_factory=dict)
    overrulings: bool = True
    image_ids: dict[str, str] = field(default_factory=dict)

    def image_id(self, name: str) -> str:
        """Id of an image, of its file where no other is given."""
        return self.image_ids.get(name) or image_id(name)


def worked_example() -> World:
    """The example's input in the form of the services."""
    example = deepcopy(EXAMPLE["input"])  # tests change it
    namings = {
        annotator: {
            category: {
                "concepts": [{"name": name, "activations": ids} for name, ids in naming["clusters"].items()],
                "discarded": naming["discarded"],
            }
            for category, naming in by_category.items()
        }
        for annotator, by_category in example["namings"].items()
    }
    return World(namings, list(example["annotators"]), example["categories"])


class StandInInference(inference_pb2_grpc.InferenceServiceServicer):
    def __init__(self, world: World) -> None:
        self._world = world

    def GetImage(self, request: Any, context: grpc.ServicerContext) -> inference_pb2.GetImageResponse:
        names = [name for c in self._world.categories.values() for name in c["images"]] + ["stored"]
        for name in names:
            if image_id(name) == request.image_id:
                if request.view == inference_pb2.IMAGE_VIEW_MODEL_INPUT:
                    return inference_pb2.GetImageResponse(content=b"PNG of " + name.encode())
                return inference_pb2.GetImageResponse(content=picture(name))
        return context.abort(grpc.StatusCode.NOT_FOUND, f"there is no image '{request.image_id}'")

    def ListImages(self, request: Any, context: grpc.ServicerContext) -> inference_pb2.ListImagesResponse:
        images = [
            inference_pb2.Image(
                image_id=image_id(name),
                class_name=category,
                width=6,
                height=4,
                bounding_box=self._world.boxes.get(name, ()),
                part_points=[
                    inference_pb2.PartPoint(name="part", x=x, y=y)
                    for x, y in self._world.points.get(name, ())
                ],
            )
            for category, content in self._world.categories.items()
            for name in content["images"]
            if request.class_name in ("", category)
        ]
        return inference_pb2.ListImagesResponse(images=images[: request.page_size])

    def GetModel(self, request: Any, context: grpc.ServicerContext) -> inference_pb2.GetModelResponse:
        preprocessing = types_pb2.Preprocessing(channels=1, height=4, width=4)
        return inference_pb2.GetModelResponse(
            model=inference_pb2.Model(
                name=request.name, classes=self._world.categories, preprocessing=preprocessing
            )
        )

    def GetDataset(self, request: Any, context: grpc.ServicerContext) -> inference_pb2.GetDatasetResponse:
        dataset = inference_pb2.Dataset(name=request.name, classes=self._world.categories)
        return inference_pb2.GetDatasetResponse(dataset=dataset)

    def GetXnnSet(self, request: Any, context: grpc.ServicerContext) -> inference_pb2.GetXnnSetResponse:
        xnns = [inference_pb2.Xnn(class_name=category) for category in self._world.categories]
        return inference_pb2.GetXnnSetResponse(
            xnn_set=inference_pb2.XnnSet(name=request.name, model="m", xnns=xnns)
        )


class StandInAttribution(attribution_pb2_grpc.AttributionServiceServicer):
    def __init__(self, world: World) -> None:
        self._world = world

    def ListExplainedImages(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        if self._world.is_attribution_down:
            context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        for category, content in self._world.categories.items():
            if request.category in ("", category):
                names = content["images"]
                yield attribution_pb2.ListExplainedImagesResponse(
                    images=types_pb2.ExplainedImageColumns(
                        image_id=map(self._world.image_id, names),
                        category=[category] * len(names),
                        predicted_class=[
                            self._world.predicted.get(name, "seen as " + name) for name in names
                        ],
                    )
                )

    def ListActivations(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        for category, content in self._world.categories.items():
            if request.category in ("", category):
                for activation_id, (image, x_feature) in content["activations"].items():
                    yield attribution_pb2.ListActivationsResponse(
                        activations=types_pb2.ActivationColumns(
                            activation_id=[activation_id],
                            image_id=[self._world.image_id(image)],
                            category=[category],
                            x_feature=[int(x_feature[1:])],
                            share=[0.3 + 0.3 * int(x_feature[1:])],
                        )
                    )

    def GetMaps(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        for i, activation_id in enumerate(request.activation_ids):
            values = self._world.maps.get(activation_id, np.full((MAP_SIDE, MAP_SIDE), i))
            yield attribution_pb2.GetMapsResponse(maps=a_map(activation_id, values))

    def GetMapProvenance(
        self, request: Any, context: grpc.ServicerContext
    ) -> attribution_pb2.GetMapProvenanceResponse:
        provenance = attribution_pb2.MapProvenance(
            method=self._world.method, archive_hash="ab" * 32 if self._world.method == "Grad-CAM" else ""
        )
        return attribution_pb2.GetMapProvenanceResponse(provenance=provenance)

    def Attribute(self, request: Any, context: grpc.ServicerContext) -> attribution_pb2.AttributeResponse:
        self._world.attributed.append(request)
        x_features = self._world.live_x_features
        response = attribution_pb2.AttributeResponse(
            activations=types_pb2.ActivationColumns(
                activation_id=map(str, range(len(x_features))),
                x_feature=x_features,
                share=[0.6, 0.4][: len(x_features)],
            ),
            image=types_pb2.ExplainedImageColumns(
                category=list(request.categories) or [self._world.live_category],
                predicted_class=[self._world.live_category],
            ),
            provenance=attribution_pb2.MapProvenance(method="drawn on the spot"),
        )
        for i in range(len(x_features)):
            response.maps.MergeFrom(a_map(str(i), np.full((MAP_SIDE, MAP_SIDE), i)))
        return response


class StandInNaming(naming_pb2_grpc.NamingServiceServicer):
    def __init__(self, world: World, dataset: str = "") -> None:
        self._world = world
        self._dataset = dataset

    def GetStudy(self, request: Any, context: grpc.ServicerContext) -> naming_pb2.GetStudyResponse:
        if request.study_id not in (STUDY_ID, "worked example"):
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no study '{request.study_id}'")
        return naming_pb2.GetStudyResponse(
            study=naming_pb2.Study(
                study_id=STUDY_ID,
                name="worked example",
                model="m",
                dataset=self._dataset,
                part=types_pb2.DATASET_PART_TEST,
                xnn_set="x",
                categories=self._world.categories,
                settings=naming_pb2.StudySettings(
                    min_concept_images=3, significant_share=self._world.significant_share
                ),
            )
        )

    def ListAnnotators(self, request: Any, context: grpc.ServicerContext) -> Any:
        return naming_pb2.ListAnnotatorsResponse(
            annotators=[
                naming_pb2.Annotator(annotator_id=a, display_name="name of " + a)
                for a in self._world.annotators
            ]
        )

    def GetVocabulary(self, request: Any, context: grpc.ServicerContext) -> Any:
        judged = EXAMPLE["input"]["label_judgements"]
        overrulings = [
            naming_pb2.Overruling(first=first, second=second, outcome=outcome, decided_by="Ada")
            for key, outcome in (
                ("exact", naming_pb2.LABEL_OUTCOME_EXACT),
                ("subset_only", naming_pb2.LABEL_OUTCOME_SUBSET),
            )
            for first, second in judged[key]
            if self._world.overrulings
        ]
        return naming_pb2.GetVocabularyResponse(vocabulary=naming_pb2.Vocabulary(overrulings=overrulings))

    def ExportNamings(self, request: Any, context: grpc.ServicerContext) -> Any:
        wanted = list(request.annotator_ids) or self._world.annotators
        namings = {a: self._world.namings[a] for a in wanted if a in self._world.namings}
        document = {"format": "onoma-namings", "version": 1, "study": STUDY_ID, "namings": namings}
        yield naming_pb2.ExportNamingsResponse(text=json.dumps(document))


def a_map(activation_id: str, values: np.ndarray) -> types_pb2.MapColumns:
    return types_pb2.MapColumns(
        activation_id=[activation_id],
        height=values.shape[0],
        width=values.shape[1],
        scale=[1.0],
        values=values.astype("<f2").tobytes(),
    )


def add_all(world: World, server: grpc.Server) -> None:
    """Serves all three stand-ins."""
    inference_pb2_grpc.add_InferenceServiceServicer_to_server(StandInInference(world), server)
    attribution_pb2_grpc.add_AttributionServiceServicer_to_server(StandInAttribution(world), server)
    naming_pb2_grpc.add_NamingServiceServicer_to_server(StandInNaming(world), server)
