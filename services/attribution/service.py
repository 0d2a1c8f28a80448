"""The attribution servicer: each method checks, translates, calls and translates back."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import numpy as np
from sqlalchemy import Engine, text

from onoma.science.pictures import BrokenPicture
from onoma.v1 import attribution_pb2 as pb
from onoma.v1 import attribution_pb2_grpc, inference_pb2, jobs_pb2_grpc, types_pb2
from onoma.v1.inference_pb2_grpc import InferenceServiceStub
from onoma.v1.naming_pb2_grpc import NamingServiceStub
from services.attribution import computing, reading
from services.attribution.explainers import Explained, Explainers
from services.attribution.shards import pack
from services.runtime.channels import open_channel
from services.runtime.database import open_database
from services.runtime.errors import InvalidArgument, Unimplemented
from services.runtime.jobs import Jobs, JobServicer, job_message
from services.runtime.objects import ObjectStore, open_object_store
from services.runtime.peers import asking
from services.runtime.server import Service
from services.runtime.settings import RuntimeSettings

_TIMEOUT_S = 30.0
Context = grpc.ServicerContext


class AttributionServicer(attribution_pb2_grpc.AttributionServiceServicer):
    """onoma.v1.AttributionService."""

    def __init__(
        self,
        engine: Engine,
        store: ObjectStore,
        jobs: Jobs,
        explainers: Explainers,
        inference: InferenceServiceStub,
        naming: NamingServiceStub,
    ) -> None:
        self._engine = engine
        self._store = store
        self._jobs = jobs
        self._explainers = explainers
        self._inference = inference
        self._naming = naming

    def ComputeMaps(self, request: pb.ComputeMapsRequest, context: Context) -> pb.ComputeMapsResponse:
        study = computing.fetch_plan(self._inference, self._naming, request.study_id).study
        job = self._jobs.start("compute_maps", {"study_id": study.study_id}, request.request_id)
        return pb.ComputeMapsResponse(job=job_message(job))

    def ImportMaps(self, request: pb.ImportMapsRequest, context: Context) -> pb.ImportMapsResponse:
        raise Unimplemented("maps made elsewhere cannot be imported yet; ComputeMaps draws our own")

    def ListActivations(
        self, request: pb.ListActivationsRequest, context: Context
    ) -> Iterator[pb.ListActivationsResponse]:
        for columns in reading.activations(self._engine, request.study_id, request.category):
            yield pb.ListActivationsResponse(activations=columns)

    def ListExplainedImages(
        self, request: pb.ListExplainedImagesRequest, context: Context
    ) -> Iterator[pb.ListExplainedImagesResponse]:
        for columns in reading.explained_images(self._engine, request.study_id, request.category):
            yield pb.ListExplainedImagesResponse(images=columns)

    def GetMaps(self, request: pb.GetMapsRequest, context: Context) -> Iterator[pb.GetMapsResponse]:
        for columns in reading.maps(self._engine, self._store, request.study_id, request.activation_ids):
            yield pb.GetMapsResponse(maps=columns)

    def Attribute(self, request: pb.AttributeRequest, context: Context) -> pb.AttributeResponse:
        with asking("inference"):
            model = self._inference.GetModel(
                inference_pb2.GetModelRequest(name=request.model), timeout=_TIMEOUT_S
            ).model
            xnn_set = self._inference.GetXnnSet(
                inference_pb2.GetXnnSetRequest(name=request.xnn_set), timeout=_TIMEOUT_S
            ).xnn_set
        if xnn_set.model != model.name:
            raise InvalidArgument(
                f"set '{xnn_set.name}' explains model '{xnn_set.model}', not '{model.name}'"
            )
        if request.category and request.category not in model.classes:
            raise InvalidArgument(f"model '{model.name}' has no class '{request.category[:80]}'")
        share = xnn_set.settings.significant_share
        try:
            category = (
                request.category
                or model.classes[int(np.argmax(self._explainers.scores(model, request.content)))]
            )
            found = self._explainers.explain(model, xnn_set, category, [request.content], share)
        except BrokenPicture as error:
            raise InvalidArgument(f"the picture cannot be read: {error}") from error
        return _attributed(found, category, model)


def build(settings: RuntimeSettings) -> Service:
    """The attribution service over the database and the object store that `settings` name."""
    engine = open_database(settings, "attribution")
    store = open_object_store(settings)
    channels = [
        open_channel(address, settings) for address in (settings.inference_address, settings.naming_address)
    ]
    inference, naming = InferenceServiceStub(channels[0]), NamingServiceStub(channels[1])
    explainers = Explainers(store)
    jobs = Jobs(
        engine,
        {
            "compute_maps": lambda context: computing.compute(
                context, engine, store, explainers, inference, naming
            )
        },
    )
    servicer = AttributionServicer(engine, store, jobs, explainers, inference, naming)

    def add_to(server: grpc.Server) -> None:
        attribution_pb2_grpc.add_AttributionServiceServicer_to_server(servicer, server)
        jobs_pb2_grpc.add_JobServiceServicer_to_server(JobServicer(jobs), server)

    def close() -> None:
        jobs.close()
        for channel in channels:
            channel.close()
        engine.dispose()

    def ready() -> None:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))

    return Service(
        name="attribution",
        add_to=add_to,
        service_names=("onoma.v1.AttributionService", "onoma.v1.JobService"),
        close=close,
        ready=ready,
    )


def _attributed(found: Explained, category: str, model: inference_pb2.Model) -> pb.AttributeResponse:
    """One picture's answer, its activations in order of contribution."""
    order = np.argsort(-found.contributions, kind="stable")
    count = len(order)
    values, scales, _ = pack(found.maps[order]) if count else (b"", np.zeros(0, np.float32), [])
    ids = [str(i) for i in range(count)]
    return pb.AttributeResponse(
        activations=types_pb2.ActivationColumns(
            activation_id=ids,
            image_id=[""] * count,
            category=[category] * count,
            x_feature=found.x_features[order].tolist(),
            x=found.values[order].tolist(),
            contribution=found.contributions[order].tolist(),
            share=found.shares[order].tolist(),
            map_sum=found.map_sums[order].tolist(),
        ),
        maps=types_pb2.MapColumns(
            activation_id=ids,
            height=model.map_height,
            width=model.map_width,
            scale=scales.tolist(),
            values=values,
        ),
        image=types_pb2.ExplainedImageColumns(
            image_id=[""],
            category=[category],
            dnn_score=found.dnn_scores.tolist(),
            xnn_score=found.xnn_scores.tolist(),
            predicted_class=[model.classes[int(found.predicted[0])]],
            significant_count=[count],
        ),
    )
