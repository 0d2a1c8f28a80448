"""Stand-ins for inference and naming: one tiny network, random xNNs, synthetic pictures, one study."""
# ruff: noqa: N802  (RPCs bear the names of their proto)

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache

import grpc
import numpy as np
import torch
from safetensors.torch import save as save_tensors

from onoma.science.excitation import prepare
from onoma.science.nodes import shape_of
from onoma.science.pictures import Preprocessing
from onoma.science.program import find_attachment, find_map_layer, load, save
from onoma.science.xnn import Xnn, to_tensors
from onoma.v1 import inference_pb2, inference_pb2_grpc, naming_pb2, naming_pb2_grpc, types_pb2
from services.runtime.directory_store import DirectoryStore
from tests.networks import SHAPE, images, vgg_like
from tests.synthetic import CLASSES, draw

STUDY_ID = "study1"
ALL_CLASSES = (*CLASSES, "nothing")  # the network has four scores; no picture is of the last class
PREPROCESSING = Preprocessing(channels=3, height=32, width=32, mean=(0.4, 0.4, 0.4), std=(0.2, 0.2, 0.2))


@dataclass
class World:
    """What the stand-ins hold; tests change it.

    Attributes:
        images: path and id of each class's test images.
        published: activation id to (image id, category), as naming was told.
        cells_keys: of images whose activations at the map layer are kept.
    """

    program: bytes
    model: inference_pb2.Model
    xnns: dict[str, Xnn]
    xnn_set: inference_pb2.XnnSet
    dataset: inference_pb2.Dataset
    images: dict[str, list[tuple[str, str]]]
    study: naming_pb2.Study
    published: dict[str, tuple[str, str]] = field(default_factory=dict)
    publish_count: int = 0
    cells_keys: dict[str, str] = field(default_factory=dict)


def make_world(store: DirectoryStore, *, pictures_a_class: int = 6, seed: int = 0) -> World:
    """A world whose objects are in the store."""
    program_bytes = tiny_program(seed)
    program = load(program_bytes)
    attachment = find_attachment(program)
    map_layer = find_map_layer(program, attachment)
    prepare(program, attachment, map_layer, "strict")
    _, _, height, width = shape_of(program.node(map_layer))
    feature_count = shape_of(program.node(attachment))[1]
    xnns = {name: random_xnn(feature_count, index) for index, name in enumerate(ALL_CLASSES)}
    rng = np.random.default_rng(seed)
    pictures = {
        name: [
            (f"test/{name}/{index}.png", store.put(png(draw(name, rng)))) for index in range(pictures_a_class)
        ]
        for name in CLASSES
    }
    model = inference_pb2.Model(
        name="net",
        model_hash=store.put(program_bytes),
        classes=ALL_CLASSES,
        preprocessing=types_pb2.Preprocessing(
            channels=3, height=32, width=32, mean=PREPROCESSING.mean, std=PREPROCESSING.std
        ),
        attachment_layer=attachment,
        feature_count=feature_count,
        map_layer=map_layer,
        map_height=height,
        map_width=width,
        mode=types_pb2.EXCITATION_MODE_LOCAL,
    )
    return World(
        program=program_bytes,
        model=model,
        xnns=xnns,
        xnn_set=inference_pb2.XnnSet(
            name="xnns",
            model="net",
            dataset="shapes",
            settings=inference_pb2.XnnSettings(significant_share=0.9),
            xnns=[stored_xnn(store, name, xnn) for name, xnn in xnns.items()],
        ),
        dataset=inference_pb2.Dataset(name="shapes", classes=ALL_CLASSES, content_hash="first"),
        images={**pictures, "nothing": []},
        study=naming_pb2.Study(
            study_id=STUDY_ID,
            name="shapes",
            model="net",
            dataset="shapes",
            part=types_pb2.DATASET_PART_TEST,
            xnn_set="xnns",
            categories=CLASSES,
            settings=naming_pb2.StudySettings(significant_share=0.9, contrastive=True),
        ),
    )


@cache
def tiny_program(seed: int) -> bytes:
    return save(vgg_like(seed), images(2, SHAPE), {})


def random_xnn(feature_count: int, seed: int) -> Xnn:
    """An xNN with random weights whose X-features are mostly active, read out with both signs."""
    generator = torch.Generator().manual_seed(seed)

    def layer(above: int, below: int) -> tuple[torch.Tensor, torch.Tensor]:
        weight = torch.randn(above, below, generator=generator) / below**0.5 + 0.3 / below**0.5
        return weight, torch.zeros(above)

    encoder = (layer(12, feature_count), layer(8, 12), layer(5, 8))
    return Xnn(encoder, torch.tensor([2.0, 1.0, 1.5, -1.0, 1.0]), torch.tensor(0.25))


def stored_xnn(store: DirectoryStore, class_name: str, xnn: Xnn) -> inference_pb2.Xnn:
    key = store.put(save_tensors(to_tensors(xnn)))
    return inference_pb2.Xnn(class_name=class_name, weights_key=key)


def png(picture) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


class StandInInference(inference_pb2_grpc.InferenceServiceServicer):
    def __init__(self, world: World) -> None:
        self._world = world

    def GetModel(self, request, context):
        if request.name != self._world.model.name:
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no model '{request.name}'")
        return inference_pb2.GetModelResponse(model=self._world.model)

    def GetXnnSet(self, request, context):
        return inference_pb2.GetXnnSetResponse(xnn_set=self._world.xnn_set)

    def GetDataset(self, request, context):
        return inference_pb2.GetDatasetResponse(dataset=self._world.dataset)

    def ListImages(self, request, context):
        """Two images a page."""
        assert request.part == types_pb2.DATASET_PART_TEST
        start = int(request.page_token or "0")
        found = self._world.images[request.class_name]
        cells_keys = self._world.cells_keys if request.model == self._world.model.name else {}
        return inference_pb2.ListImagesResponse(
            images=[
                inference_pb2.Image(path=path, image_id=id_, cells_key=cells_keys.get(id_, ""))
                for path, id_ in found[start : start + 2]
            ],
            next_page_token=str(start + 2) if start + 2 < len(found) else "",
        )


class StandInNaming(naming_pb2_grpc.NamingServiceServicer):
    def __init__(self, world: World) -> None:
        self._world = world

    def GetStudy(self, request, context):
        if request.study_id not in (STUDY_ID, self._world.study.name):
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no study '{request.study_id}'")
        return naming_pb2.GetStudyResponse(study=self._world.study)

    def PublishActivations(self, request_iterator, context):
        self._world.publish_count += 1
        self._world.published = {}
        for message in request_iterator:
            columns = message.activations
            assert message.study_id == STUDY_ID
            assert not columns.x_feature
            for row in zip(columns.activation_id, columns.image_id, columns.category, strict=True):
                self._world.published[row[0]] = row[1:]
        return naming_pb2.PublishActivationsResponse(activation_count=len(self._world.published))


def serve(world: World) -> tuple[grpc.Server, str]:
    """Both stand-ins on one free port."""
    server = grpc.server(ThreadPoolExecutor(4))
    inference_pb2_grpc.add_InferenceServiceServicer_to_server(StandInInference(world), server)
    naming_pb2_grpc.add_NamingServiceServicer_to_server(StandInNaming(world), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, f"127.0.0.1:{port}"
